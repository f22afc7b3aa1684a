//! Short text that would be much memory.

use bytes::Bytes;
use sentinel_inference::ErrorKind;
use sentinel_inference::wire::{InferRequest, Limits};

use crate::counting::peak_bytes;

/// What a message may take beyond itself, as a multiple of its own size.
const FACTOR: usize = 8;

fn check(name: &str, json: String) {
    let limits = Limits::default();
    let n_bytes = json.len();
    let body = Bytes::from(json);
    let (_, peak) = peak_bytes(|| {
        let (request, payload) = InferRequest::from_body(None, body, &limits)?;
        request.tensors(payload, &limits)
    });
    assert!(
        peak < FACTOR * n_bytes,
        "{name}: {peak} bytes for {n_bytes}"
    );
}

#[test]
fn a_small_message_takes_little_memory() {
    let many = |text: &str| text.repeat(500_000);
    check(
        "parameters",
        format!(
            r#"{{"inputs": [], "parameters": {{"a": [{}0]}}}}"#,
            many("0,")
        ),
    );
    check(
        "axes",
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{}0]}}]}}"#,
            many("0,")
        ),
    );
    check(
        "outputs",
        format!(
            r#"{{"inputs": [], "outputs": [{}{{"name":""}}]}}"#,
            many(r#"{"name":""},"#)
        ),
    );
    check(
        "inputs",
        format!(
            r#"{{"inputs": [{}{{"name":"","datatype":"","shape":[]}}]}}"#,
            many(r#"{"name":"","datatype":"","shape":[]},"#)
        ),
    );
    check(
        "numbers",
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "INT64", "shape": [500001], "data": [{}0]}}]}}"#,
            many("0,")
        ),
    );
    check(
        "empty lists",
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "INT64", "shape": [1], "data": [{}0]}}]}}"#,
            many("[],")
        ),
    );
    check(
        "announced elements",
        format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP64", "shape": [268435456], "data": [0{}]}}]}}"#,
            " ".repeat(1000)
        ),
    );
}

#[test]
fn a_message_has_at_most_a_million_strings() {
    let limits = Limits::default();
    let input = |name: &str| {
        format!(
            r#"{{"name": "{name}", "datatype": "BYTES", "shape": [600000], "parameters": {{"binary_data_size": 2400000}}}}"#
        )
    };
    let json = format!(r#"{{"inputs": [{}, {}]}}"#, input("a"), input("b"));
    let (request, _) = InferRequest::from_body(None, json.into(), &limits).unwrap();
    let payload = Bytes::from(vec![0; 4_800_000]);
    let error = request.tensors(payload, &limits).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert_eq!(error.at, "\"b\"");
}
