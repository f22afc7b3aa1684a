//! The bench against workers that the tests make up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser;
use sentinel_inference::wire::{
    Failure, Frame, FromClient, FromWorker, HEADER_LENGTH, Hello, InferRequest, InferResponse,
    Limits, LimitsOf, PROTOCOL, PortOf, write_body,
};
use tokio::sync::Notify;

use super::*;

/// What a made up worker does, and what it saw.
#[derive(Default)]
struct Stub {
    /// Requests by their number that are refused.
    refused: Option<fn(usize) -> bool>,
    /// The connection of this request ends instead of an answer.
    hangs_up_at: Option<usize>,
    /// Nothing is answered before this many requests of one connection were there at once.
    answers_after: usize,
    /// The first request is read, and nothing after it, until this is told.
    holds_first: Option<Arc<Notify>>,
    n_requests: AtomicUsize,
    n_connections: AtomicUsize,
    n_pings: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// How often each id was asked while it had no answer.
    asked_twice: AtomicUsize,
    headers: Mutex<Vec<HeaderMap>>,
}

const HEARTBEAT_MS: u64 = 100;

fn model() -> ModelOf {
    let port = |name: &str| PortOf {
        name: name.into(),
        datatype: "FP32".into(),
        shape: vec![-1, 4],
    };
    ModelOf {
        name: "m".into(),
        version: "3".into(),
        sha256: String::new(),
        state: "READY".into(),
        reason: String::new(),
        provider: "cpu".into(),
        inputs: vec![port("x")],
        outputs: vec![port("y")],
    }
}

fn answer(request: &InferRequest, payload: bytes::Bytes) -> (InferResponse, Vec<bytes::Bytes>) {
    let inputs = request.tensors(payload, &Limits::default()).unwrap();
    let mut response = InferResponse {
        id: request.id.clone(),
        model_name: "m".into(),
        ..InferResponse::default()
    };
    for (name, value) in [("queue_ms", 0.5), ("compute_ms", 2.0), ("batch_size", 4.0)] {
        response.parameters.insert(name.into(), value.into());
    }
    let outputs = [("y".to_owned(), inputs[0].1.clone())];
    let payload = response.set_outputs(&outputs, |_| true).unwrap();
    (response, payload)
}

async fn socket(stub: Arc<Stub>, mut socket: WebSocket) {
    stub.n_connections.fetch_add(1, Ordering::SeqCst);
    let limits = Limits::default();
    let hello = FromWorker::Hello(Hello {
        protocol: PROTOCOL,
        server: "stub".into(),
        version: "0".into(),
        worker_id: "stub".into(),
        limits: LimitsOf {
            max_message_bytes: limits.max_message_bytes,
            max_header_bytes: limits.max_header_bytes,
            max_tensors: limits.max_tensors,
            max_elements: limits.max_elements,
        },
        credits: 64,
        heartbeat_ms: HEARTBEAT_MS,
        allows_upload: false,
        models: vec![model()],
    });
    let mut waiting = HashMap::new();
    let mut to_send = vec![Frame::write(&hello, &[])];
    loop {
        for message in to_send.drain(..) {
            if socket.send(Message::Binary(message)).await.is_err() {
                return;
            }
        }
        let Some(Ok(Message::Binary(message))) = socket.recv().await else {
            return;
        };
        let frame = Frame::read(message, &limits).unwrap();
        match FromClient::read(&frame, &limits).unwrap() {
            FromClient::Infer(request) => {
                let at = stub.n_requests.fetch_add(1, Ordering::SeqCst);
                if stub.hangs_up_at == Some(at) {
                    return;
                }
                if let (0, Some(notify)) = (at, &stub.holds_first) {
                    notify.notified().await;
                }
                let message = match stub.refused.is_some_and(|is_refused| is_refused(at)) {
                    true => {
                        let full = Error::new(ErrorKind::QueueFull, "queue", "it is full");
                        Frame::write(&FromWorker::Error(Failure::new(&request.id, &full)), &[])
                    }
                    false => {
                        let (response, payload) = answer(&request, frame.payload);
                        Frame::write(&FromWorker::Output(response), &payload)
                    }
                };
                if waiting.insert(request.id, message).is_some() {
                    stub.asked_twice.fetch_add(1, Ordering::SeqCst);
                }
                stub.most_in_flight
                    .fetch_max(waiting.len(), Ordering::SeqCst);
                if waiting.len() >= stub.answers_after {
                    to_send.extend(waiting.drain().map(|(_, message)| message));
                }
            }
            FromClient::Ping { id } => {
                stub.n_pings.fetch_add(1, Ordering::SeqCst);
                let queue_depth = 0;
                to_send.push(Frame::write(&FromWorker::Pong { id, queue_depth }, &[]));
            }
            other => panic!("{other:?} is not of the bench"),
        }
    }
}

async fn infer(State(stub): State<Arc<Stub>>, headers: HeaderMap, body: Bytes) -> Response {
    let at = stub.n_requests.fetch_add(1, Ordering::SeqCst);
    if stub.refused.is_some_and(|is_refused| is_refused(at)) {
        let body = r#"{"error": "full", "code": "QUEUE_FULL"}"#;
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    let length = headers
        .get(HEADER_LENGTH)
        .map(|value| value.to_str().unwrap());
    let read = InferRequest::from_body(length, body, &Limits::default());
    let (request, payload) = read.unwrap();
    assert!(request.wants_binary("y"));
    let (response, payload) = answer(&request, payload);
    let (length, body) = write_body(&response, &payload);
    stub.headers.lock().unwrap().push(headers);
    ([(HEADER_LENGTH, length.unwrap().to_string())], body).into_response()
}

/// A worker, and its address.
async fn start(stub: Stub) -> (Arc<Stub>, String) {
    let stub = Arc::new(stub);
    let metadata = || async {
        r#"{"name": "m", "versions": ["3"], "platform": "onnx", "parameters": {"provider": "cpu"},
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]}"#
    };
    let upgrade = |State(stub): State<Arc<Stub>>, upgrade: WebSocketUpgrade| async move {
        let upgrade = upgrade.protocols(["sentinel.v1"]);
        upgrade.on_upgrade(move |opened| socket(stub, opened))
    };
    let router = Router::new()
        .route("/v2/ws", get(upgrade))
        .route("/v2/models/m", get(metadata))
        .route("/v2/models/m/infer", post(infer))
        .route(
            "/metrics",
            get(|| async { "process_resident_memory_bytes 1048576\n" }),
        )
        .with_state(stub.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (stub, format!("ws://{address}"))
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    bench: BenchArguments,
}

async fn bench(url: &str, more: &str) -> Result<Report> {
    let fixed = ["bench", "--url", url, "--model", "m", "--warmup-s", "0"];
    let arguments = fixed.into_iter().chain(more.split_whitespace());
    let arguments = Arguments::try_parse_from(arguments).unwrap().bench;
    let bench = Bench::open(&arguments, CancellationToken::new()).await?;
    bench.measure().await
}

#[tokio::test]
async fn each_connection_keeps_its_places_filled() {
    let (stub, url) = start(Stub {
        answers_after: 3,
        ..Stub::default()
    })
    .await;
    let report = bench(&url, "--concurrency 2 --per-connection 3 --duration-s 0.2").await;
    let row = &report.unwrap().rows[0];
    assert_eq!(stub.most_in_flight.load(Ordering::SeqCst), 3);
    assert_eq!(stub.asked_twice.load(Ordering::SeqCst), 0);
    // One connection more was opened to ask for the model.
    assert_eq!(stub.n_connections.load(Ordering::SeqCst), 3);
    // At the end fewer than three may be left on a connection, and then the stub keeps them.
    let unanswered = stub.n_requests.load(Ordering::SeqCst) as u64 - row.n_requests;
    assert!(unanswered <= 2 * 2, "{unanswered} without an answer");
    assert_eq!(row.avg_batch_size, 4.0);
    assert!((row.compute_ms.p50 - 2.0).abs() < 0.02);
    assert!((row.queue_ms.p50 - 0.5).abs() < 0.01);
}

#[tokio::test]
async fn http_and_websockets_are_measured_alike() {
    let (stub, url) = start(Stub::default()).await;
    for more in ["", "--http"] {
        let more = format!("--concurrency 2 --duration-s 0.1 --token secret {more}");
        let report = bench(&url, &more).await.unwrap();
        assert_eq!((&*report.model_version, &*report.provider), ("3", "cpu"));
        let row = &report.rows[0];
        assert!(row.n_requests > 0 && row.errors.is_empty(), "{row:?}");
        assert_eq!(row.avg_batch_size, 4.0);
    }
    let headers = stub.headers.lock().unwrap();
    assert_eq!(headers[0]["authorization"], "Bearer secret");
}

#[tokio::test]
async fn refusals_are_counted_by_code_and_are_no_latencies() {
    for more in ["", "--http"] {
        let (stub, url) = start(Stub {
            refused: Some(|at| at % 2 == 0),
            ..Stub::default()
        })
        .await;
        let more = format!("--concurrency 1 --duration-s 0.1 {more}");
        let row = bench(&url, &more).await.unwrap().rows.remove(0);
        let n_requests = stub.n_requests.load(Ordering::SeqCst) as u64;
        assert_eq!(row.errors["QUEUE_FULL"], n_requests.div_ceil(2));
        assert_eq!(row.n_requests, n_requests / 2);
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_counted_and_opened_again() {
    let (stub, url) = start(Stub {
        hangs_up_at: Some(3),
        ..Stub::default()
    })
    .await;
    let report = bench(&url, "--concurrency 1 --duration-s 0.5").await;
    let row = &report.unwrap().rows[0];
    assert_eq!(row.errors["WORKER_UNAVAILABLE"], 1);
    assert_eq!(stub.n_connections.load(Ordering::SeqCst), 3);
    assert!(row.n_requests > 3);
}

#[tokio::test]
async fn a_stall_is_in_the_latencies_of_all_that_were_due() {
    let held = Arc::new(Notify::new());
    let (_, url) = start(Stub {
        holds_first: Some(held.clone()),
        ..Stub::default()
    })
    .await;
    let release = async {
        sleep(Duration::from_millis(200)).await;
        held.notify_one();
    };
    let measured = bench(&url, "--concurrency 1 --duration-s 0.4 --request-rate 100");
    let (report, ()) = tokio::join!(measured, release);
    let row = &report.unwrap().rows[0];
    // Some twenty were due in the stall; a closed loop would have seen one.
    let n_requests = row.n_requests + row.errors.get("NOT_SENT").copied().unwrap_or_default();
    assert!((20..=41).contains(&n_requests), "{row:?}");
    assert!(row.latency_ms.max >= 150.0, "{row:?}");
    assert!(row.latency_ms.p90 >= 50.0, "{row:?}");
}

#[tokio::test]
async fn idle_connections_ping_while_others_are_measured() {
    let (stub, url) = start(Stub::default()).await;
    let report = bench(&url, "--concurrency 1 --duration-s 0.3 --idle 5")
        .await
        .unwrap();
    let idle = report.idle.unwrap();
    assert_eq!((idle.connections, idle.lost), (5, 0));
    assert_eq!(idle.resident_bytes_after, f64::from(1 << 20));
    let idle: Vec<_> = report.rows.iter().map(|row| row.idle).collect();
    assert_eq!(idle, [0, 5]);
    assert!(stub.n_pings.load(Ordering::SeqCst) >= 5);
}

#[tokio::test]
async fn a_stop_ends_with_what_is_there() {
    let (_, url) = start(Stub::default()).await;
    let arguments = [
        "bench",
        "--url",
        &url,
        "--model",
        "m",
        "--duration-s",
        "3600",
    ];
    let arguments = Arguments::try_parse_from(arguments).unwrap().bench;
    let stop = CancellationToken::new();
    let bench = Bench::open(&arguments, stop.clone()).await.unwrap();
    let ending = async {
        sleep(Duration::from_millis(1200)).await;
        stop.cancel();
    };
    let (report, ()) = tokio::join!(bench.measure(), ending);
    let report = report.unwrap();
    assert_eq!(report.rows.len(), 1);
    assert!(report.rows[0].n_requests > 0);
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused() {
    let (_, url) = start(Stub::default()).await;
    for (more, kind) in [
        ("--concurrency 0", ErrorKind::InvalidInput),
        ("--per-connection 0", ErrorKind::InvalidInput),
        ("--duration-s 0", ErrorKind::InvalidInput),
        ("--request-rate 0", ErrorKind::InvalidInput),
        ("--request-rate NaN", ErrorKind::InvalidInput),
        ("--shape other:1", ErrorKind::InvalidInput),
        ("--model-version 2", ErrorKind::NotFound),
        ("--http --model-version 2", ErrorKind::WorkerUnavailable),
        ("--inputs /nowhere/x.npz", ErrorKind::Io),
    ] {
        let error = bench(&url, more).await.unwrap_err();
        assert_eq!(error.kind, kind, "{more}: {error}");
    }
    let error = bench("ws://127.0.0.1:1", "").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::WorkerUnavailable);
}
