//! Headers of frames: which are messages, and which end a connection.

use bytes::Bytes;
use sentinel_inference::ErrorKind;
use sentinel_inference::wire::{Frame, FromClient, FromWorker, Limits};

fn framed(header: &[u8]) -> Frame {
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let message = Bytes::from([&length, header].concat());
    Frame::read(message, &Limits::default()).unwrap()
}

#[test]
fn headers_that_are_no_message_are_refused() {
    let cases: &[(&str, &str)] = &[
        ("", "no JSON object"),
        ("{}", "missing field `type`"),
        (r#"["ping"]"#, "no JSON object"),
        (r#""ping""#, "no JSON object"),
        (r#"{"type": 1}"#, "expected a string"),
        (
            r#"{"type": "ping", "type": "ping", "id": "1"}"#,
            "duplicate",
        ),
        (r#"{"type": "Ping", "id": "1"}"#, r#""Ping" is no type"#),
        (r#"{"type": "pong", "id": "1"}"#, r#""pong" is no type"#),
        (r#"{"type": "ping"}"#, "missing field `id`"),
        (r#"{"type": "ping", "id": 1}"#, "expected a string"),
        (r#"{"type": "ping", "id": "1"}{}"#, "trailing"),
        (r#"{"type": "cancel", "id": null}"#, "expected a string"),
        (r#"{"type": "infer", "id": "1"}"#, "inputs"),
        (
            r#"{"type": "open", "id": "1", "size_bytes": -1}"#,
            "integer `-1`",
        ),
        (
            r#"{"type": "part", "id": "1", "index": 0}"#,
            "missing field `count`",
        ),
        (
            r#"{"type": "upload_chunk", "id": "1", "offset": 1.5}"#,
            "floating point `1.5`",
        ),
        (r#"{"type": "upload", "id": "1"}"#, "missing field"),
    ];
    for (header, expected) in cases {
        let error = FromClient::read(&framed(header.as_bytes()), &Limits::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{header}");
        let text = error.to_string();
        assert!(
            text.contains(expected),
            "{header}: {expected:?} in {text:?}"
        );
    }
}

#[test]
fn members_that_are_not_known_are_ignored() {
    let header = br#" {"id": "7", "later": {"than": [this]}, "type": "ping"} "#;
    assert!(FromClient::read(&framed(header), &Limits::default()).is_err());
    let header = br#" {"id": "7", "later": {"than": ["this"]}, "type": "ping"} "#;
    match FromClient::read(&framed(header), &Limits::default()) {
        Ok(FromClient::Ping { id }) => assert_eq!(id, "7"),
        other => panic!("a ping is expected, not {other:?}"),
    }
}

#[test]
fn what_a_worker_must_not_say_is_refused() {
    for header in [
        r#"{"type": "infer", "id": "1", "inputs": []}"#,
        r#"{"type": "hello", "protocol": 1}"#,
        r#"{"type": "output", "id": "1", "model_name": "m"}"#,
        r#"{"type": "error", "id": "1"}"#,
        r#"{"type": "models", "models": {}}"#,
    ] {
        let read = FromWorker::read(&framed(header.as_bytes()), &Limits::default());
        assert_eq!(read.unwrap_err().kind, ErrorKind::InvalidInput, "{header}");
    }
}
