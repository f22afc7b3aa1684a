//! A worker as a process, and HTTP by hand.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes; only a worker that is wrong is waited for as long.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LENGTH: &str = "inference-header-content-length";

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// A folder that is gone with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sentinel-http-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// With a file in it.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The worker with these options and the model `digits`, as a command.
fn command(repository: &Folder, options: &[&str]) -> Command {
    let model = std::fs::read(fixtures().join("digits/digits.onnx")).unwrap();
    repository.file("digits/1/model.onnx", &model);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel-worker"));
    command
        .arg("--model-repository")
        .arg(&repository.0)
        .args(["--port", "0", "--provider", "cpu"])
        .args(options)
        .env("RUST_LOG", "off");
    command
}

/// What becomes of a worker that does not start.
pub fn refused(options: &[&str]) -> Output {
    command(&Folder::new(), options).output().unwrap()
}

pub struct Worker {
    process: Child,
    pub port: u16,
    _repository: Folder,
}

impl Worker {
    pub fn start(options: &[&str]) -> Worker {
        let repository = Folder::new();
        let mut process = command(&repository, options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let (_, port) = line.trim().rsplit_once(':').expect("the line has a port");
        Worker {
            process,
            port: port.parse().unwrap(),
            _repository: repository,
        }
    }

    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection(stream)
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Response {
        self.ask("POST", path, &[], body)
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.connect().ask(method, path, headers, body)
    }

    /// An inference with `digits`: JSON, and the bytes behind it.
    pub fn infer(&self, json: &Value, payload: &[u8]) -> Response {
        self.connect().infer(json, payload)
    }

    #[cfg(unix)]
    pub fn terminate(&self) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One connection, which stays.
pub struct Connection(pub TcpStream);

impl Connection {
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.begin(method, path, headers, body);
        self.receive()
    }

    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += "host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes());
        self.send(body);
    }

    pub fn begin_infer(&mut self, json: &Value, payload: &[u8]) {
        let mut body = serde_json::to_vec(json).unwrap();
        let length = body.len().to_string();
        body.extend_from_slice(payload);
        let headers = [(LENGTH, &*length)];
        self.begin("POST", "/v2/models/digits/infer", &headers, &body);
    }

    pub fn infer(&mut self, json: &Value, payload: &[u8]) -> Response {
        self.begin_infer(json, payload);
        self.receive()
    }

    pub fn receive(&mut self) -> Response {
        Response::read(&mut self.0)
    }

    /// Whether the other side closes it without another word.
    pub fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn read(stream: &mut impl Read) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        let mut response = Response {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body: Vec::new(),
        };
        let length = response.header("content-length").unwrap_or("0");
        response.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut response.body).unwrap();
        response
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_owned()
    }

    /// The answer of an inference: its JSON, and the bytes behind it.
    pub fn outputs(&self) -> (Value, &[u8]) {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let length = self.header(LENGTH).map(|length| length.parse().unwrap());
        let (json, payload) = self.body.split_at(length.unwrap_or(self.body.len()));
        (serde_json::from_slice(json).unwrap(), payload)
    }
}
