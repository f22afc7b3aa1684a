//! Inferences, and those that are refused.

use sentinel_inference::model::npz::read_npz;
use serde_json::{Value, json};

use crate::support::{Response, Worker, fixtures};

const PIXELS: usize = 28 * 28;

/// The first pictures and what the model makes of them, as bytes.
fn reference(n: usize) -> (Vec<u8>, Vec<f32>) {
    let arrays = read_npz(&std::fs::read(fixtures().join("digits/digits.npz")).unwrap()).unwrap();
    let named = |name: &str| {
        let found = arrays.iter().find(|(known, _)| known == name);
        found.unwrap().1.elements::<f32>().unwrap()
    };
    let images: Vec<f32> = named("in_0")[..n * PIXELS].to_vec();
    let bytes = images.iter().flat_map(|x| x.to_le_bytes()).collect();
    (bytes, named("out_0")[..n * 10].to_vec())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let chunks = bytes.chunks_exact(4);
    chunks
        .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect()
}

/// An input of the first pictures as JSON.
pub fn digits(n: usize) -> Value {
    let data = floats(&reference(n).0);
    json!({ "name": "image", "datatype": "FP32", "shape": [n, 1, 28, 28], "data": data })
}

/// An input whose elements follow as bytes.
pub fn binary(n: usize) -> Value {
    json!({
        "name": "image", "datatype": "FP32", "shape": [n, 1, 28, 28],
        "parameters": { "binary_data_size": n * PIXELS * 4 },
    })
}

pub fn json_request(worker: &Worker, input: &Value) -> Response {
    let body = serde_json::to_vec(&json!({ "inputs": [input] })).unwrap();
    worker.post("/v2/models/digits/infer", &body)
}

fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-3, "{got} {expected}");
    }
}

#[test]
fn json_and_bytes_mean_the_same_in_both_directions() {
    let worker = Worker::start(&[]);
    let (images, expected) = reference(3);
    for path in [
        "/v2/models/digits/infer",
        "/v2/models/digits/versions/1/infer",
    ] {
        let request = json!({ "id": "r7", "inputs": [digits(3)] });
        let answer = worker.post(path, &serde_json::to_vec(&request).unwrap());
        let (json, _) = answer.outputs();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            (&json["id"], &json["model_name"]),
            (&json!("r7"), &json!("digits"))
        );
        assert_eq!(json["parameters"]["provider"], "cpu");
        let data: Vec<f32> = serde_json::from_value(json["outputs"][0]["data"].clone()).unwrap();
        assert_near(&data, &expected);
    }
    let all = json!({ "inputs": [binary(3)], "parameters": { "binary_data_output": true } });
    let one = json!({
        "inputs": [binary(3)],
        "outputs": [{ "name": "logits", "parameters": { "binary_data": true } }],
    });
    for request in [all, one] {
        let answer = worker.infer(&request, &images);
        let (json, payload) = answer.outputs();
        assert_eq!(json["outputs"][0]["shape"], json!([3, 10]));
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 120);
        assert_near(&floats(payload), &expected);
    }
    let answer = worker.infer(&json!({ "inputs": [binary(3)] }), &images);
    let (json, payload) = answer.outputs();
    assert_eq!(
        (
            payload.len(),
            json["outputs"][0]["data"].as_array().unwrap().len()
        ),
        (0, 30)
    );
}

#[test]
fn a_connection_serves_many_requests() {
    let worker = Worker::start(&[]);
    let (images, expected) = reference(1);
    let mut connection = worker.connect();
    for _ in 0..4 {
        let request =
            json!({ "inputs": [binary(1)], "parameters": { "binary_data_output": true } });
        let answer = connection.infer(&request, &images);
        assert_near(&floats(answer.outputs().1), &expected);
        assert_eq!(connection.ask("GET", "/v2/models/x", &[], b"").status, 404);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_status() {
    let worker = Worker::start(&["--max-message-mib", "1"]);
    let with = |input: Value| json!({ "inputs": [input] });
    let changed = |key: &str, value: Value| {
        let mut input = binary(1);
        input[key] = value;
        with(input)
    };
    let asking = |key: &str, value: Value| {
        let mut request = with(binary(1));
        request[key] = value;
        request
    };
    let image = vec![0; PIXELS * 4];
    let cases: &[(Value, &[u8], u16, &str)] = &[
        (json!({}), b"", 400, "INVALID_INPUT"),
        (json!([]), b"", 400, "INVALID_INPUT"),
        (json!({ "inputs": [] }), b"", 400, "INVALID_INPUT"),
        (with(binary(1)), b"", 400, "INVALID_INPUT"),
        (with(binary(1)), &[0; PIXELS * 4 + 1], 400, "INVALID_INPUT"),
        (changed("name", json!("x")), &image, 400, "INVALID_INPUT"),
        (
            changed("datatype", json!("FP64")),
            &image,
            400,
            "SHAPE_MISMATCH",
        ),
        (
            changed("datatype", json!("INT32")),
            &image,
            400,
            "DTYPE_MISMATCH",
        ),
        (
            changed("datatype", json!("FP31")),
            &image,
            400,
            "DTYPE_MISMATCH",
        ),
        (
            changed("shape", json!([1, 1, 28, 29])),
            &image,
            400,
            "SHAPE_MISMATCH",
        ),
        (
            changed("shape", json!([1, 1, 14, 56])),
            &image,
            400,
            "SHAPE_MISMATCH",
        ),
        (
            changed("shape", json!([1u64 << 40])),
            &image,
            413,
            "TOO_LARGE",
        ),
        (changed("data", json!([1])), &image, 400, "INVALID_INPUT"),
        (
            asking("outputs", json!([{ "name": "x" }])),
            &image,
            400,
            "INVALID_INPUT",
        ),
        (
            asking("parameters", json!({ "sequence_id": 5 })),
            &image,
            400,
            "INVALID_INPUT",
        ),
        (
            asking("parameters", json!({ "timeout": "x" })),
            &image,
            400,
            "INVALID_INPUT",
        ),
        (
            asking("parameters", json!({ "priority": 1.5 })),
            &image,
            400,
            "INVALID_INPUT",
        ),
        (
            asking("parameters", json!({ "timeout": 1 })),
            &image,
            504,
            "TIMEOUT",
        ),
        (
            asking(
                "outputs",
                json!([{ "name": "logits", "parameters": { "classification": 3 } }]),
            ),
            &image,
            400,
            "INVALID_INPUT",
        ),
        (
            changed("parameters", json!({ "shared_memory_region": "x" })),
            b"",
            400,
            "INVALID_INPUT",
        ),
    ];
    for (request, payload, status, code) in cases {
        let refused = worker.infer(request, payload);
        assert_eq!(
            (refused.status, &*refused.code()),
            (*status, *code),
            "{request}: {refused:?}"
        );
    }
    let path = "/v2/models/digits/infer";
    let headers: &[(&str, &str, u16)] = &[
        ("inference-header-content-length", "3", 400),
        ("inference-header-content-length", "x", 400),
        ("inference-header-content-length", "-1", 400),
        ("content-encoding", "gzip", 415),
    ];
    for (name, value, status) in headers {
        let refused = worker.ask("POST", path, &[(name, value)], b"{}");
        assert_eq!(
            (refused.status, &*refused.code()),
            (*status, "INVALID_INPUT"),
            "{name}: {value}"
        );
    }
    let refused = worker.post("/v2/models/x/infer", br#"{"inputs": []}"#);
    assert_eq!((refused.status, &*refused.code()), (404, "NOT_FOUND"));
    // What came before has left the worker as it was.
    assert_eq!(json_request(&worker, &digits(1)).status, 200);
}

#[test]
fn who_sends_too_much_hears_so() {
    let worker = Worker::start(&["--max-message-mib", "1"]);
    // Much more than the buffers between the two: the client is still sending when it is refused.
    let body = vec![b' '; 24 << 20];
    let refused = worker.post("/v2/models/digits/infer", &body);
    assert_eq!((refused.status, &*refused.code()), (413, "TOO_LARGE"));
    let mut connection = worker.connect();
    connection.send(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &vec![b' '; 1 << 16][..], b"\r\n"].concat();
    for _ in 0..17 {
        connection.send(&chunk);
    }
    assert_eq!(connection.receive().status, 413);
}
