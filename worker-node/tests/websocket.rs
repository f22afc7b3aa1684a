//! `/v2/ws` of the real worker: who is let in, and how it ends.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{Frame, FromClient, FromWorker, InferRequest, Limits};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const DIGITS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/digits/digits.onnx"
);
const TOKEN: &str = "correct-horse";
/// They fit into the buffers of one connection.
const N_REQUESTS: usize = 16;
const PROTOCOL: &str = "sec-websocket-protocol";

type Socket = WebSocketStream<TcpStream>;

/// A worker of this test alone, which goes with it.
struct Worker {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Worker {
    fn start(arguments: &[&str]) -> Worker {
        let name = format!("sentinel-websocket-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        let version = folder.join("models/digits/1");
        fs::create_dir_all(&version).expect("the folder is ours");
        fs::copy(DIGITS, version.join("model.onnx")).expect("the fixture is there");
        let token = folder.join("token");
        fs::write(&token, TOKEN).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel-worker"));
        command.args(["--port", "0", "--provider", "cpu", "--model-repository"]);
        command.arg(folder.join("models")).args(arguments);
        if arguments.contains(&"--token-file") {
            command.arg(token);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it was built for this test");
        let output = process.stdout.take().expect("it is piped");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        read.expect("the worker says where it is");
        let (_, address) = line.trim().split_once("://").expect("an address");
        Worker {
            address: address.to_owned(),
            process,
            folder,
        }
    }

    async fn connect(&self, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
        let url = format!("ws://{}/v2/ws", self.address);
        let mut request = url.into_client_request().expect("it is a URL");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("it is a header");
            request
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
        let stream = TcpStream::connect(&self.address).await?;
        let (socket, response) = client_async(request, stream).await?;
        assert_eq!(response.headers()[PROTOCOL], "sentinel.v1");
        Ok(socket)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn hear(socket: &mut Socket) -> Option<FromWorker> {
    loop {
        match socket.next().await?.expect("it ends with a word") {
            Message::Binary(message) => {
                let limits = Limits::default();
                let frame = Frame::read(message, &limits).expect("the worker writes frames");
                return Some(FromWorker::read(&frame, &limits).expect("of the protocol"));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn infer(id: &str) -> Bytes {
    let mut request = InferRequest {
        id: id.to_owned(),
        model_name: "digits".to_owned(),
        ..InferRequest::default()
    };
    let image = Tensor::from_vec(&[1, 1, 28, 28], vec![0_f32; 784]).expect("784 elements");
    let payload = request.set_inputs(&[("image".to_owned(), image)]);
    let payload = payload.expect("f32 is a type of the protocol");
    Frame::write(&FromClient::Infer(request), &payload)
}

/// What comes of a request for a WebSocket.
#[derive(Debug, PartialEq)]
enum Came {
    Hello,
    Status(u16),
    Closed(u16),
}

async fn came(worker: &Worker, headers: &[(&'static str, &str)]) -> Came {
    let mut socket = match worker.connect(headers).await {
        Ok(socket) => socket,
        Err(Error::Http(response)) => return Came::Status(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    };
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => Came::Closed(frame.code.into()),
        Some(Ok(Message::Binary(_))) => Came::Hello,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn clients_without_the_token_and_pages_from_elsewhere_are_turned_away() {
    let worker = Worker::start(&["--token-file"]);
    let encoded = URL_SAFE_NO_PAD.encode(TOKEN);
    let with_token = format!("sentinel.v1, sentinel.token.{encoded}");
    let bearer = format!("Bearer {TOKEN}");
    let own = format!("http://{}", worker.address);
    let v1 = (PROTOCOL, "sentinel.v1");
    let own = ("origin", &*own);
    let other = ("origin", "https://example.org");
    let bearer = ("authorization", &*bearer);
    let in_protocol = (PROTOCOL, &*with_token);
    let cases: [(&[(&'static str, &str)], Came); 8] = [
        (&[v1, bearer], Came::Hello),
        (&[in_protocol], Came::Hello),
        (&[in_protocol, own], Came::Hello),
        (&[v1], Came::Status(401)),
        (&[v1, ("authorization", "Bearer wrong")], Came::Status(401)),
        (&[v1, own], Came::Closed(4401)),
        (&[in_protocol, other], Came::Closed(4403)),
        (&[bearer], Came::Status(400)),
    ];
    for (headers, expected) in cases {
        assert_eq!(came(&worker, headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_plain_request_hears_that_an_upgrade_is_expected() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let worker = Worker::start(&[]);
    let mut stream = TcpStream::connect(&worker.address).await.unwrap();
    let address = &worker.address;
    let request = format!("GET /v2/ws HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 426 "), "{response}");
    assert!(
        response.contains("\"code\":\"INVALID_INPUT\""),
        "{response}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_worker_that_is_asked_to_end_answers_what_it_has_and_exits_well() {
    let mut worker = Worker::start(&[]);
    let mut socket = worker.connect(&[(PROTOCOL, "sentinel.v1")]).await.unwrap();
    let hello = hear(&mut socket).await;
    assert!(matches!(hello, Some(FromWorker::Hello(_))), "{hello:?}");
    for i in 0..N_REQUESTS {
        let infer = infer(&i.to_string());
        socket.send(Message::Binary(infer)).await.unwrap();
    }
    let mut answered = HashSet::new();
    let mut take = |said: &FromWorker| match said {
        FromWorker::Output(response) => answered.insert(response.id.clone()),
        // Of those that it had not begun to read.
        FromWorker::Error(failure) if failure.code == "WORKER_UNAVAILABLE" => {
            answered.insert(failure.id.clone())
        }
        _ => false,
    };
    let first = hear(&mut socket).await.unwrap();
    assert!(take(&first), "{first:?}");
    let process = worker.process.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &process]).status();
    assert!(asked.expect("kill is there").success());
    let mut is_draining = false;
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(message))) => {
                let frame = Frame::read(message, &Limits::default()).unwrap();
                let said = FromWorker::read(&frame, &Limits::default()).unwrap();
                is_draining |= matches!(said, FromWorker::Draining {});
                assert!(
                    matches!(said, FromWorker::Draining {}) || take(&said),
                    "{said:?}"
                );
            }
            Some(Ok(Message::Close(Some(frame)))) => break assert_eq!(u16::from(frame.code), 1001),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(is_draining);
    assert_eq!(answered.len(), N_REQUESTS);
    drop(socket);
    assert!(worker.process.wait().expect("it is ours").success());
}
