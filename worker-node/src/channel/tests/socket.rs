//! WebSockets over pipes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use sentinel_inference::wire::{Frame, FromClient, FromWorker, Limits, Upload, UploadChunk};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::worker::{MODEL, Setup, Worker, error, infer, infer_with, output, said, scale};
use crate::channel::websocket::serve;
use crate::memory::Memory;

const PIPE_BYTES: usize = 16 << 10;

struct Client {
    socket: WebSocketStream<DuplexStream>,
}

#[derive(Debug)]
enum Heard {
    Message(Box<(FromWorker, Bytes)>),
    Closed(u16),
    Gone,
}

impl Client {
    /// After `hello`.
    async fn connect(worker: &Worker) -> Client {
        let mut client = Client::open(worker).await;
        let (hello, _) = client.message().await;
        assert!(matches!(hello, FromWorker::Hello(_)), "{hello:?}");
        client
    }

    async fn open(worker: &Worker) -> Client {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(serve(worker.context.clone(), far));
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        Client { socket }
    }

    async fn say(&mut self, message: &FromClient) {
        self.send(Frame::write(message, &[])).await;
    }

    async fn send(&mut self, frame: Bytes) {
        // Who has been closed on hears of it.
        let _ = self.socket.send(Message::Binary(frame)).await;
    }

    async fn hear(&mut self) -> Heard {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(message))) => {
                    return Heard::Message(Box::new(said(message)));
                }
                Some(Ok(Message::Close(Some(frame)))) => return Heard::Closed(frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Gone,
            }
        }
    }

    async fn message(&mut self) -> (FromWorker, Bytes) {
        match self.hear().await {
            Heard::Message(message) => *message,
            other => panic!("expected a message, given {other:?}"),
        }
    }

    async fn closed(&mut self) -> u16 {
        match self.hear().await {
            Heard::Closed(code) => code,
            other => panic!("expected the end, given {other:?}"),
        }
    }

    /// Everything said before it has been heard when its answer is here.
    async fn ping(&mut self) -> usize {
        let id = "ping".to_owned();
        self.say(&FromClient::Ping { id }).await;
        match self.message().await.0 {
            FromWorker::Pong { id, queue_depth } if id == "ping" => queue_depth,
            other => panic!("expected a pong, given {other:?}"),
        }
    }

    async fn cancel(&mut self, id: &str) {
        self.say(&FromClient::Cancel { id: id.to_owned() }).await;
    }
}

/// Requests wait until they are let go.
fn waiting() -> Setup {
    Setup {
        credits: 2,
        is_gated: true,
        ..Setup::default()
    }
}

#[tokio::test]
async fn hello_tells_what_the_worker_takes_and_has() {
    let worker = Worker::start(Setup::default()).await;
    let mut client = Client::open(&worker).await;
    let FromWorker::Hello(hello) = client.message().await.0 else {
        panic!("hello is the first message");
    };
    assert_eq!((hello.protocol, hello.credits), (1, 4));
    assert_eq!(hello.worker_id, worker.context.worker_id);
    assert_eq!(hello.heartbeat_ms, 3_600_000);
    let models: Vec<_> = hello.models.iter().map(|x| (&*x.name, &*x.state)).collect();
    assert_eq!(models, [(MODEL, "READY")]);
}

#[tokio::test]
async fn a_request_is_answered_with_its_outputs_and_what_they_took() {
    let worker = Worker::start(Setup::default()).await;
    let mut client = Client::connect(&worker).await;
    client.send(infer("a", &[1.0, 2.0, -0.5, 4.0])).await;
    let answer = client.message().await;
    let FromWorker::Output(response) = &answer.0 else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (&*response.model_name, &*response.model_version),
        (MODEL, "1")
    );
    assert_eq!(response.parameters["provider"], "cpu");
    assert_eq!(response.parameters["batch_size"], 1);
    for time in ["queue_ms", "compute_ms"] {
        assert!(response.parameters[time].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(output("a", answer), [3.0, 6.0, -1.5, 12.0]);
}

#[tokio::test]
async fn an_answer_larger_than_any_buffer_arrives_whole() {
    let worker = Worker::start(Setup::default()).await;
    let client = Client::connect(&worker).await;
    let x: Vec<f32> = (0..1 << 20).map(|i| i as f32).collect();
    let (mut sink, source) = client.socket.split();
    let sent = async {
        sink.send(Message::Binary(infer("a", &x))).await.unwrap();
        sink
    };
    let heard = async {
        let mut source = source;
        let message = source.next().await.unwrap().unwrap();
        (source, message)
    };
    let (_sink, (_source, message)) = tokio::join!(sent, heard);
    let y = output("a", said(message.into_data()));
    assert!(x.iter().zip(&y).all(|(x, y)| x * 3.0 == *y) && x.len() == y.len());
}

#[tokio::test]
async fn an_answer_gives_its_credit_back_before_it_arrives() {
    let setup = Setup {
        credits: 1,
        ..Setup::default()
    };
    let worker = Worker::start(setup).await;
    let mut client = Client::connect(&worker).await;
    for i in 0..100 {
        let id = i.to_string();
        client.send(infer(&id, &[i as f32, 0.0])).await;
        assert_eq!(output(&id, client.message().await)[0], 3.0 * i as f32);
    }
}

#[tokio::test]
async fn one_request_more_than_credits_is_refused_until_one_is_cancelled() {
    let worker = Worker::start(waiting()).await;
    let mut client = Client::connect(&worker).await;
    for id in ["a", "b", "c"] {
        client.send(infer(id, &[1.0, 2.0])).await;
    }
    let refused = client.message().await;
    let FromWorker::Error(failure) = &refused.0 else {
        panic!("{refused:?}");
    };
    assert!(failure.retry_after_ms.is_some());
    assert_eq!(error("c", refused), "QUEUE_FULL");
    until(|| worker.n_waiting() == 2).await;
    client.cancel("a").await;
    client.send(infer("d", &[1.0, 2.0])).await;
    client.send(infer("e", &[1.0, 2.0])).await;
    assert_eq!(error("e", client.message().await), "QUEUE_FULL");
}

#[tokio::test]
async fn a_request_waits_for_no_memory_that_others_have_taken() {
    let memory = Memory::of(64 << 10);
    let setup = Setup {
        memory,
        ..waiting()
    };
    let worker = Worker::start(setup).await;
    let mut first = Client::connect(&worker).await;
    first.send(infer("a", &[1.0, 2.0])).await;
    until(|| worker.n_waiting() == 1).await;
    let mut second = Client::connect(&worker).await;
    second.send(infer("b", &[1.0, 2.0])).await;
    assert_eq!(error("b", second.message().await), "QUEUE_FULL");
    worker.open_gate();
    assert_eq!(output("a", first.message().await), [3.0, 6.0]);
    second.send(infer("c", &[1.0, 2.0])).await;
    assert_eq!(output("c", second.message().await), [3.0, 6.0]);
}

#[tokio::test]
async fn a_second_request_of_an_id_is_refused_and_the_first_is_answered() {
    let worker = Worker::start(waiting()).await;
    let mut client = Client::connect(&worker).await;
    client.send(infer("a", &[1.0, 2.0])).await;
    client.send(infer("a", &[3.0, 4.0])).await;
    assert_eq!(error("a", client.message().await), "INVALID_INPUT");
    worker.open_gate();
    assert_eq!(output("a", client.message().await), [3.0, 6.0]);
    assert_eq!(client.ping().await, 0);
}

#[tokio::test]
async fn requests_end_with_their_connection() {
    let worker = Worker::start(waiting()).await;
    let mut client = Client::connect(&worker).await;
    client.send(infer("a", &[1.0, 2.0])).await;
    until(|| worker.n_waiting() == 1).await;
    drop(client);
    until(|| worker.n_waiting() == 0).await;
}

#[tokio::test]
async fn a_deadline_and_wrong_inputs_are_answers_of_their_own() {
    let worker = Worker::start(Setup::default()).await;
    let mut client = Client::connect(&worker).await;
    let late = infer_with("a", &[1.0, 2.0], |x| x.deadline_ms = Some(0.0));
    client.send(late).await;
    assert_eq!(error("a", client.message().await), "TIMEOUT");
    let unknown = infer_with("b", &[1.0, 2.0], |x| x.model_name = "none".into());
    client.send(unknown).await;
    assert_eq!(error("b", client.message().await), "NOT_FOUND");
    let short = infer_with("c", &[1.0, 2.0], |x| x.inputs[0].shape = vec![2, 2]);
    client.send(short).await;
    assert_eq!(error("c", client.message().await), "SHAPE_MISMATCH");
    let wrong = infer_with("d", &[1.0, 2.0], |x| x.deadline_ms = Some(-1.0));
    client.send(wrong).await;
    assert_eq!(error("d", client.message().await), "INVALID_INPUT");
}

#[tokio::test]
async fn changes_of_models_are_told() {
    let worker = Worker::start(Setup::default()).await;
    let mut client = Client::connect(&worker).await;
    worker.load("second", 5.0).await;
    loop {
        let FromWorker::Models { models } = client.message().await.0 else {
            panic!("nothing else has happened");
        };
        let ready = models.iter().filter(|model| model.state == "READY");
        if ready.count() == 2 {
            return;
        }
    }
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection_and_say_why() {
    let header = |json: &str| {
        let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        Bytes::from(bytes)
    };
    let mut damaged = infer("a", &[1.0, 2.0]).to_vec();
    damaged[60] ^= 1;
    let part = FromClient::Part {
        id: "a".into(),
        index: 0,
        count: 1,
    };
    let cases = [
        (Bytes::new(), 1002),
        (Bytes::from_static(&[0xff; 64]), 1009),
        (damaged.into(), 1002),
        (header("{"), 1002),
        (header("[]"), 1002),
        (header("{\"type\": \"shutdown\"}"), 1002),
        (header("{\"type\": \"ping\"}"), 1002),
        (Frame::write(&part, &[]), 1002),
        (infer("", &[1.0, 2.0]), 1002),
        (infer(&"a".repeat(257), &[1.0, 2.0]), 1002),
    ];
    let worker = Worker::start(Setup::default()).await;
    for (frame, code) in cases {
        let mut client = Client::connect(&worker).await;
        client.send(frame.clone()).await;
        let told = error("", client.message().await);
        assert!(["INVALID_INPUT", "TOO_LARGE"].contains(&&*told), "{told}");
        assert_eq!(client.closed().await, code, "{frame:?}");
    }
    let mut client = Client::connect(&worker).await;
    client.socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(client.closed().await, 1002);
    assert_eq!(worker.context.counters.refused.load(Ordering::Relaxed), 11);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_not_read_and_its_sender_hears_why() {
    let setup = Setup {
        limits: Limits {
            max_message_bytes: 1 << 10,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let worker = Worker::start(setup).await;
    for n_bytes in [(1 << 10) + 1, 1 << 20] {
        let client = Client::connect(&worker).await;
        let (mut sink, source) = client.socket.split();
        let send = async {
            // It is cut off on the way.
            let _ = sink.send(Message::Binary(vec![0; n_bytes].into())).await;
        };
        let mut source = source;
        let heard = async {
            match source.next().await {
                Some(Ok(Message::Close(Some(frame)))) => u16::from(frame.code),
                other => panic!("expected the end, given {other:?}"),
            }
        };
        let ((), code) = tokio::join!(send, heard);
        assert_eq!(code, 1009);
    }
}

#[tokio::test]
async fn a_worker_that_drains_answers_what_it_has_and_goes() {
    let worker = Worker::start(waiting()).await;
    let mut client = Client::connect(&worker).await;
    client.send(infer("a", &[1.0, 2.0])).await;
    until(|| worker.n_waiting() == 1).await;
    worker.context.draining.cancel();
    let told = client.message().await;
    assert!(matches!(told.0, FromWorker::Draining {}), "{told:?}");
    client.send(infer("b", &[1.0, 2.0])).await;
    assert_eq!(error("b", client.message().await), "WORKER_UNAVAILABLE");
    worker.open_gate();
    assert_eq!(output("a", client.message().await), [3.0, 6.0]);
    assert_eq!(client.closed().await, 1001);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_request_is_not() {
    let setup = Setup {
        idle_timeout: Duration::from_millis(50),
        ..waiting()
    };
    let worker = Worker::start(setup).await;
    let mut idle = Client::connect(&worker).await;
    let mut busy = Client::connect(&worker).await;
    busy.send(infer("a", &[1.0, 2.0])).await;
    assert_eq!(idle.closed().await, 1000);
    until(|| worker.n_waiting() == 1).await;
    worker.open_gate();
    assert_eq!(output("a", busy.message().await), [3.0, 6.0]);
}

#[tokio::test]
async fn a_client_that_shows_no_life_is_closed_and_one_that_reads_is_not() {
    let setup = Setup {
        heartbeat: Duration::from_millis(500),
        ..Setup::default()
    };
    let worker = Worker::start(setup).await;
    let mut silent = Client::connect(&worker).await;
    until(|| open(&worker) == 0).await;
    // A client that reads now would answer the pings first, and there is nobody to take that.
    let mut bytes = Vec::new();
    let pipe = silent.socket.get_mut();
    pipe.read_to_end(&mut bytes).await.unwrap();
    let [first, second] = 1008_u16.to_be_bytes();
    let is_close = |at: &[u8]| at[0] == 0x88 && at[2..] == [first, second];
    assert!(bytes.windows(4).any(is_close), "{bytes:?}");
    let mut alive = Client::connect(&worker).await;
    // For longer than the other one had, it only answers the worker's pings.
    for _ in 0..4 {
        let ping = alive.socket.next().await.unwrap();
        assert!(matches!(ping, Ok(Message::Ping(_))), "{ping:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_given_up() {
    let setup = Setup {
        heartbeat: Duration::from_millis(100),
        ..Setup::default()
    };
    let worker = Worker::start(setup).await;
    let mut client = Client::connect(&worker).await;
    let x = vec![1.0; 8 << 10];
    for i in 0..4 {
        client.send(infer(&i.to_string(), &x)).await;
    }
    until(|| open(&worker) == 0).await;
    assert_eq!(worker.in_flight(), 0);
    loop {
        match client.hear().await {
            Heard::Message(_) => {}
            Heard::Closed(code) => break assert_eq!(code, 1008),
            Heard::Gone => break,
        }
    }
}

#[tokio::test]
async fn an_upload_goes_on_over_another_connection() {
    let worker = Worker::start(Setup::default()).await;
    let bytes = scale(7.0);
    let hash = Sha256::digest(&bytes);
    let upload = Upload {
        id: "u".into(),
        model_name: "sent".into(),
        model_version: "1".into(),
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        size_bytes: bytes.len() as u64,
    };
    let bytes = Bytes::from(bytes);
    let half = bytes.len() as u64 / 2;
    let mut offset = 0;
    for end in [half, upload.size_bytes] {
        let mut client = Client::connect(&worker).await;
        client.say(&FromClient::Upload(upload.clone())).await;
        let told = client.message().await.0;
        assert!(
            matches!(&told, FromWorker::UploadState { id, offset: at } if id == "u" && *at == offset),
            "{told:?}"
        );
        let chunk = FromClient::UploadChunk(UploadChunk {
            id: "u".into(),
            offset,
        });
        let part = bytes.slice(offset as usize..end as usize);
        client.send(Frame::write(&chunk, &[part])).await;
        loop {
            match client.message().await.0 {
                FromWorker::UploadState { offset: at, .. } => {
                    assert_eq!((at, end), (half, half));
                    break;
                }
                FromWorker::Uploaded { model, .. } => {
                    assert_eq!((&*model.state, end), ("READY", upload.size_bytes));
                    break;
                }
                FromWorker::Models { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        offset = end;
    }
    let mut client = Client::connect(&worker).await;
    let sent = infer_with("a", &[1.0, 2.0], |x| x.model_name = "sent".into());
    client.send(sent).await;
    assert_eq!(output("a", client.message().await), [7.0, 14.0]);
    let chunk = FromClient::UploadChunk(UploadChunk {
        id: "x".into(),
        offset: 0,
    });
    client.say(&chunk).await;
    assert_eq!(error("x", client.message().await), "INVALID_INPUT");
}

#[test]
fn whatever_bytes_come_the_connection_goes_on_or_says_why_not() {
    let runtime = tokio::runtime::Runtime::new().expect("threads are there");
    let worker = Arc::new(runtime.block_on(Worker::start(Setup::default())));
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        // A request with one byte changed, and without its checksum.
        (0..150_usize, any::<u8>()).prop_map(|(at, byte)| {
            let mut bytes = infer("a", &[1.0, 2.0]).to_vec();
            bytes[3] &= 0x7f;
            let n_bytes = bytes.len();
            bytes[at % n_bytes] = byte;
            bytes
        }),
    ];
    proptest!(|(bytes in bytes)| {
        runtime.block_on(async {
            let mut client = Client::connect(&worker).await;
            client.send(bytes.into()).await;
            client.say(&FromClient::Ping { id: "after".into() }).await;
            loop {
                match client.hear().await {
                    Heard::Message(message) if is_pong(&message.0, "after") => break,
                    Heard::Message(_) => {}
                    Heard::Closed(code) => break assert!(code == 1002 || code == 1009, "{code}"),
                    Heard::Gone => panic!("it ended without a word"),
                }
            }
        });
    });
}

fn is_pong(said: &FromWorker, expected: &str) -> bool {
    matches!(said, FromWorker::Pong { id, .. } if id == expected)
}

fn open(worker: &Worker) -> usize {
    worker.context.counters.websockets.load(Ordering::Relaxed)
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
