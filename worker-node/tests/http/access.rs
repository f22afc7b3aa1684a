//! Who gets in, and what a slow or greedy client may do.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Folder, Response, Worker, refused};

const TOKEN: &str = "a token of this test";

#[test]
fn a_page_and_a_token_are_let_in_or_not() {
    let folder = Folder::new();
    let file = folder.file("token", b"secret\n");
    let options = [
        "--token-file",
        file.to_str().unwrap(),
        "--allow-origin",
        "https://app.example",
    ];
    let worker = Worker::start(&options);
    let own = format!("http://localhost:{}", worker.port);
    let own_host = format!("localhost:{}", worker.port);
    let good = ("authorization", "Bearer secret");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 401),
        (&[good], 200),
        (&[("authorization", "Bearer other")], 401),
        (&[("authorization", "Basic secret")], 401),
        (&[good, ("host", "evil.example")], 403),
        (&[good, ("host", "app.example")], 200),
        (&[good, ("origin", "https://app.example")], 200),
        (&[good, ("origin", "https://evil.example")], 403),
        (&[good, ("origin", "null")], 403),
        (&[good, ("origin", &own), ("host", &own_host)], 200),
    ];
    for (headers, status) in cases {
        for path in ["/v2", "/v2/models/digits", "/metrics"] {
            let answer = worker.ask("GET", path, headers, b"");
            assert_eq!(answer.status, *status, "{path} {headers:?}");
        }
    }
    assert_eq!(worker.get("/v2/health/live").status, 200);
    assert_eq!(worker.get("/v2/health/ready").status, 200);
    let refused = worker.ask("GET", "/v2", &[("origin", "https://app.example")], b"");
    assert_eq!(refused.status, 401);
    let page = refused.header("access-control-allow-origin");
    assert_eq!(page, Some("https://app.example"), "the page sees why");
}

#[test]
fn browsers_ask_before_they_send() {
    let worker = Worker::start(&["--allow-origin", "https://app.example"]);
    let ask = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        worker.ask("OPTIONS", "/v2/models/digits/infer", &headers, b"")
    };
    let allowed = ask("https://app.example");
    assert_eq!(allowed.status, 204);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let headers = allowed.header("access-control-allow-headers").unwrap();
    assert!(
        headers.contains("Inference-Header-Content-Length"),
        "{headers}"
    );
    let refused = ask("https://evil.example");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

#[test]
fn other_machines_are_let_in_only_with_protection() {
    let output = refused(&["--host", "0.0.0.0"]);
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("INVALID_INPUT: --host 0.0.0.0"), "{told}");
    assert!(
        told.contains("--token-file") && told.contains("--insecure"),
        "{told}"
    );
    let worker = Worker::start(&["--host", "0.0.0.0", "--insecure"]);
    let answer = worker.ask("GET", "/v2", &[("host", "worker:8070")], b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn over_tls_both_versions_of_http_are_spoken() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = folder.file("cert.pem", made.cert.pem().as_bytes());
    let key = folder.file("key.pem", made.signing_key.serialize_pem().as_bytes());
    let token = folder.file("token", TOKEN.replace(' ', "-").as_bytes());
    let [certificate, key, token] =
        [certificate, key, token].map(|path| path.to_str().unwrap().to_owned());
    let worker = Worker::start(&[
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--token-file",
        &token,
    ]);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&certificate).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let open = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", worker.port)).unwrap();
        StreamOwned::new(client, socket)
    };
    let mut stream = open(&[b"http/1.1"]);
    let token = TOKEN.replace(' ', "-");
    write!(
        stream,
        "GET /v2 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    assert_eq!(Response::read(&mut stream).status, 200);
    let mut stream = open(&[b"h2", b"http/1.1"]);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let own = config.clone();
    let refused = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { send_too_much(own, worker.port, &token).await });
    assert_eq!(refused, 413);
    // Who speaks no TLS gets no answer.
    let mut connection = worker.connect();
    connection.send(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut answered = Vec::new();
    let _ = std::io::Read::read_to_end(&mut connection.0, &mut answered);
    assert!(!answered.starts_with(b"HTTP"), "{answered:?}");
}

/// The status of the answer to a body beyond the limit, over HTTP/2.
async fn send_too_much(mut config: ClientConfig, port: u16, token: &str) -> u16 {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, socket).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://localhost/v2/models/digits/infer")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(vec![0; 65 << 20])))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"), "{body:?}");
    status
}

#[test]
fn a_head_that_does_not_end_ends_the_connection() {
    let worker = Worker::start(&["--slow-sender-s", "0.1"]);
    let mut connection = worker.connect();
    connection.send(b"GET /v2/health/live HTTP/1.1\r\nhost: loc");
    assert!(connection.is_closed());
    assert_eq!(worker.get("/v2/health/live").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let worker = Worker::start(&["--slow-sender-s", "0.1"]);
    let mut connection = worker.connect();
    connection.send(
        b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    );
    let refused = connection.receive();
    assert_eq!((refused.status, &*refused.code()), (408, "TIMEOUT"));
    assert!(connection.is_closed());
}

#[test]
fn a_connection_without_requests_is_closed() {
    let worker = Worker::start(&["--idle-timeout-s", "0.1", "--slow-sender-s", "0.1"]);
    let mut silent = worker.connect();
    assert!(silent.is_closed());
    let mut used = worker.connect();
    assert_eq!(used.ask("GET", "/v2/health/live", &[], b"").status, 200);
    assert!(used.is_closed());
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let worker = Worker::start(&["--max-header-kib", "8"]);
    let long = "x".repeat(16 << 10);
    let refused = worker.ask("GET", "/v2", &[("x-long", &long)], b"");
    assert_eq!(refused.status, 431);
}

#[test]
fn one_connection_too_many_is_told_so() {
    let worker = Worker::start(&["--max-connections", "2"]);
    let mut held = [worker.connect(), worker.connect()];
    for connection in &mut held {
        assert_eq!(connection.ask("GET", "/v2", &[], b"").status, 200);
    }
    let mut crowd: Vec<_> = (0..3).map(|_| worker.connect()).collect();
    for connection in &mut crowd {
        let refused = connection.ask("GET", "/v2", &[], b"");
        assert_eq!(
            (refused.status, &*refused.code()),
            (503, "WORKER_UNAVAILABLE")
        );
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(connection.is_closed());
    }
    assert_eq!(held[0].ask("GET", "/v2", &[], b"").status, 200);
    drop(held);
    // The worker sees in its own time that they are gone.
    while worker.get("/v2").status != 200 {}
}
