//! Requests through a real nats-server.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use sentinel_inference::wire::{Frame, FromClient, FromWorker};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::worker::{Setup, Worker, error, infer, infer_with, output, said};
use crate::channel::nats::{Address, serve};

/// Small, so that parts are.
const MAX_PAYLOAD: usize = 64 << 10;
const SUBJECT: &str = "sentinel.v1.infer.triple=2Eit";
/// After a second without a word a request is sent again: workers say each second that they have it.
const STALL: Duration = Duration::from_secs(2);

/// A server of this test alone, which goes with it.
struct Server {
    port: u16,
    program: PathBuf,
    /// Its file.
    options: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// `None` where the machine has no nats-server.
    fn find() -> Option<Server> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let mut programs = folders.map(|folder| folder.join("nats-server"));
        let Some(program) = programs.find(|program| program.is_file()) else {
            // Tests that pass write nothing to the standard error that the test runner knows of.
            let _ = std::io::stderr().write_all(b"skipped 1: this machine has no nats-server\n");
            return None;
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let name = format!("sentinel-nats-{:016x}.conf", rand::random::<u64>());
        Some(Server {
            port: address.port(),
            program,
            options: std::env::temp_dir().join(name),
            process: None,
        })
    }

    fn start(&mut self) {
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nmax_payload: {MAX_PAYLOAD}\n",
            self.port
        );
        std::fs::write(&self.options, text).expect("the name is of this test alone");
        self.process = Some(self.spawn());
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.options);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program is there")
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is ours");
            process.wait().expect("it is ours");
        }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> Asker {
        let options = ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(self.url()).await.expect("the URL is one");
        Asker { client }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.options);
    }
}

/// A worker with threads of its own, so that it can be killed.
struct Remote {
    worker: Arc<Worker>,
    runtime: Option<Runtime>,
    served: tokio::task::JoinHandle<()>,
}

impl Remote {
    async fn start(server: &Server, setup: Setup) -> Remote {
        let runtime = Runtime::new().expect("threads are there");
        let address = Address::parse(&server.url(), "sentinel").expect("the URL is one");
        let started = runtime.spawn(async { Arc::new(Worker::start(setup).await) });
        let worker = started.await.expect("the worker starts");
        let context = worker.context.clone();
        let served = runtime.spawn(async move {
            serve(context, address).await.expect("the subjects are");
        });
        Remote {
            worker,
            runtime: Some(runtime),
            served,
        }
    }

    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client, as small as one can be.
struct Asker {
    client: Client,
}

impl Asker {
    /// Sends a message to all that hear there; answers come out of what is returned.
    async fn send(&self, subject: &str, frame: Bytes) -> Subscriber {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let sent = self
            .client
            .publish_with_reply(subject.to_owned(), inbox, frame);
        sent.await.unwrap();
        answers
    }

    async fn say(&self, subject: &str, message: &FromClient) -> Subscriber {
        self.send(subject, Frame::write(message, &[])).await
    }

    /// Waits until so many workers answer.
    async fn greet(&self, n_workers: usize) {
        let mut seen = HashSet::new();
        while seen.len() < n_workers {
            let hello = FromClient::Ping { id: "h".into() };
            let mut answers = self.say("sentinel.v1.hello", &hello).await;
            while let Ok(Some(message)) = timeout(Duration::from_millis(200), answers.next()).await
            {
                if let Some(FromWorker::Hello(hello)) = heard(message) {
                    seen.insert(hello.worker_id);
                }
            }
        }
    }

    /// The answer, after all that was said before it; sends the request again where nobody says that it is at work.
    async fn ask(&self, frame: Bytes) -> (Vec<FromWorker>, (FromWorker, Bytes)) {
        loop {
            let mut answers = self.send(SUBJECT, frame.clone()).await;
            let mut before = Vec::new();
            while let Ok(Some(message)) = timeout(STALL, answers.next()).await {
                if message.status == Some(StatusCode::NO_RESPONDERS) {
                    sleep(Duration::from_millis(50)).await;
                    break;
                }
                let message = said(message.payload);
                if matches!(message.0, FromWorker::Output(_) | FromWorker::Error(_)) {
                    return (before, message);
                }
                before.push(message.0);
            }
        }
    }
}

fn heard(message: async_nats::Message) -> Option<FromWorker> {
    (message.status.is_none()).then(|| said(message.payload).0)
}

async fn next(answers: &mut Subscriber) -> (FromWorker, Bytes) {
    said(answers.next().await.expect("the server is there").payload)
}

fn waiting() -> Setup {
    Setup {
        credits: 1,
        is_gated: true,
        ..Setup::default()
    }
}

#[tokio::test]
async fn workers_share_requests_and_each_has_one_answer() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let _workers = [
        Remote::start(&server, Setup::default()).await,
        Remote::start(&server, Setup::default()).await,
    ];
    let asker = server.connect().await;
    asker.greet(2).await;
    let mut by_worker = HashSet::new();
    for i in 0..100 {
        let id = i.to_string();
        let (before, answer) = asker.ask(infer(&id, &[i as f32, 1.0])).await;
        assert_eq!(output(&id, answer), [3.0 * i as f32, 3.0]);
        let [FromWorker::Working { id: at, worker_id }] = &before[..] else {
            panic!("expected one sign of work, given {before:?}");
        };
        assert_eq!(*at, id);
        by_worker.insert(worker_id.clone());
    }
    assert_eq!(by_worker.len(), 2);
}

#[tokio::test]
async fn a_request_of_a_killed_worker_is_answered_by_another() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let asker = server.connect().await;
    let first = Remote::start(&server, waiting()).await;
    asker.greet(1).await;
    let mut answers = asker.send(SUBJECT, infer("a", &[1.0, 2.0])).await;
    for _ in 0..2 {
        let working = next(&mut answers).await.0;
        assert!(
            matches!(&working, FromWorker::Working { id, .. } if id == "a"),
            "{working:?}"
        );
    }
    first.kill();
    let _second = Remote::start(&server, Setup::default()).await;
    let silence = timeout(STALL, answers.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let (_, answer) = asker.ask(infer("a", &[1.0, 2.0])).await;
    assert_eq!(output("a", answer), [3.0, 6.0]);
}

#[tokio::test]
async fn requests_and_answers_larger_than_a_message_come_in_parts() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let worker = Remote::start(&server, Setup::default()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let x: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
    let frame = infer("a", &x);
    let open = FromClient::Open {
        id: "a".into(),
        size_bytes: frame.len(),
    };
    let mut answers = asker.say(SUBJECT, &open).await;
    let FromWorker::Opened {
        subject,
        part_bytes,
        ..
    } = next(&mut answers).await.0
    else {
        panic!("expected opened first");
    };
    let count = frame.len().div_ceil(part_bytes);
    assert!(count > 5, "{count}");
    for index in 0..count {
        let end = frame.len().min((index + 1) * part_bytes);
        let part = FromClient::Part {
            id: "a".into(),
            index,
            count,
        };
        let part = Frame::write(&part, &[frame.slice(index * part_bytes..end)]);
        assert!(part.len() <= MAX_PAYLOAD);
        asker.client.publish(subject.clone(), part).await.unwrap();
    }
    let mut joined = Vec::new();
    let whole = loop {
        match next(&mut answers).await {
            (FromWorker::Working { .. }, _) => {}
            (FromWorker::Part { id, index, count }, payload) => {
                assert_eq!(id, "a");
                joined.push(payload);
                assert_eq!(index + 1, joined.len());
                if joined.len() == count {
                    break joined.concat();
                }
            }
            other => panic!("{other:?}"),
        }
    };
    let y = output("a", said(whole.into()));
    assert!(y.len() == x.len() && x.iter().zip(&y).all(|(x, y)| x * 3.0 == *y));
    let open = FromClient::Open {
        id: "b".into(),
        size_bytes: worker.worker.context.limits.max_message_bytes + 1,
    };
    let mut answers = asker.say(SUBJECT, &open).await;
    assert_eq!(error("b", next(&mut answers).await), "TOO_LARGE");
}

#[tokio::test]
async fn a_server_may_come_after_its_workers_and_come_back() {
    let Some(mut server) = Server::find() else {
        return;
    };
    let _worker = Remote::start(&server, Setup::default()).await;
    let asker = server.connect().await;
    for round in 0..2 {
        server.start();
        let id = round.to_string();
        let (_, answer) = asker.ask(infer(&id, &[1.0, 2.0])).await;
        assert_eq!(output(&id, answer), [3.0, 6.0]);
        server.stop();
    }
}

#[tokio::test]
async fn a_request_beyond_the_credits_is_refused_until_one_is_cancelled() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let remote = Remote::start(&server, waiting()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let mut answers = Vec::new();
    for i in 0..8 {
        let sent = asker.send(SUBJECT, infer(&i.to_string(), &[1.0, 2.0]));
        answers.push(sent.await);
    }
    for each in &mut answers {
        let working = next(each).await.0;
        assert!(matches!(working, FromWorker::Working { .. }), "{working:?}");
    }
    let mut ninth = asker.send(SUBJECT, infer("8", &[1.0, 2.0])).await;
    assert_eq!(error("8", next(&mut ninth).await), "QUEUE_FULL");
    let cancel = FromClient::Cancel { id: "3".into() };
    asker.say("sentinel.v1.cancel", &cancel).await;
    while remote.worker.n_waiting() != 7 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut ninth = asker.send(SUBJECT, infer("8", &[1.0, 2.0])).await;
    let working = next(&mut ninth).await.0;
    assert!(matches!(working, FromWorker::Working { .. }), "{working:?}");
    remote.worker.open_gate();
    while !matches!(next(&mut ninth).await.0, FromWorker::Output(_)) {}
}

#[tokio::test]
async fn a_request_that_is_sent_again_takes_the_place_of_the_first() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let remote = Remote::start(&server, waiting()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let mut first = asker.send(SUBJECT, infer("a", &[1.0, 2.0])).await;
    next(&mut first).await;
    let mut second = asker.send(SUBJECT, infer("a", &[3.0, 4.0])).await;
    next(&mut second).await;
    while remote.worker.n_waiting() != 1 {
        sleep(Duration::from_millis(5)).await;
    }
    remote.worker.open_gate();
    let answer = loop {
        match next(&mut second).await {
            (FromWorker::Working { .. }, _) => {}
            answer => break answer,
        }
    };
    assert_eq!(output("a", answer), [9.0, 12.0]);
}

#[tokio::test]
async fn a_worker_that_drains_answers_what_it_has_and_leaves() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let mut remote = Remote::start(&server, waiting()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let mut answers = asker.send(SUBJECT, infer("a", &[1.0, 2.0])).await;
    next(&mut answers).await;
    remote.worker.context.draining.cancel();
    loop {
        let mut late = asker.send(SUBJECT, infer("b", &[1.0, 2.0])).await;
        // One that is on its way while the worker leaves may be lost: its client sends it again.
        let heard = timeout(STALL, late.next()).await;
        if let Ok(Some(message)) = heard
            && message.status == Some(StatusCode::NO_RESPONDERS)
        {
            break;
        }
    }
    remote.worker.open_gate();
    let answer = loop {
        match next(&mut answers).await {
            (FromWorker::Working { .. }, _) => {}
            answer => break answer,
        }
    };
    assert_eq!(output("a", answer), [3.0, 6.0]);
    (&mut remote.served).await.expect("it ends by itself");
}

#[tokio::test]
async fn subjects_follow_the_models_that_are_ready() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let remote = Remote::start(&server, Setup::default()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let is_heard = async |subject: &str| {
        let mut answers = asker
            .send(subject, Bytes::from_static(b"\x02\0\0\0{}"))
            .await;
        let heard = timeout(STALL, answers.next()).await;
        // What was on its way while the worker left the subject has no answer.
        !matches!(heard, Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS))
    };
    assert!(!is_heard("sentinel.v1.infer.second").await);
    remote.worker.load("second", 5.0).await;
    while !is_heard("sentinel.v1.infer.second").await {}
    remote
        .worker
        .context
        .service
        .unload("second")
        .await
        .unwrap();
    while is_heard("sentinel.v1.infer.second").await {}
    assert!(is_heard(SUBJECT).await);
}

#[tokio::test]
async fn damaged_messages_get_no_answer_and_wrong_ones_an_error() {
    let Some(mut server) = Server::find() else {
        return;
    };
    server.start();
    let _worker = Remote::start(&server, Setup::default()).await;
    let asker = server.connect().await;
    asker.greet(1).await;
    let other = infer_with("a", &[1.0, 2.0], |x| x.model_name = "second".into());
    let mut answers = asker.send(SUBJECT, other).await;
    assert_eq!(error("a", next(&mut answers).await), "INVALID_INPUT");
    let ping = FromClient::Ping { id: "p".into() };
    let mut answers = asker.say(SUBJECT, &ping).await;
    assert_eq!(error("", next(&mut answers).await), "INVALID_INPUT");
    let mut damaged = infer("a", &[1.0, 2.0]).to_vec();
    damaged[60] ^= 1;
    let mut answers = asker.send(SUBJECT, damaged.into()).await;
    // The worker takes messages in their order: it had the damaged one before this.
    let (_, answer) = asker.ask(infer("b", &[1.0, 2.0])).await;
    assert_eq!(output("b", answer), [3.0, 6.0]);
    let none = timeout(Duration::from_millis(100), answers.next()).await;
    assert!(none.is_err(), "{none:?}");
}
