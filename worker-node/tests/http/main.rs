//! The worker over HTTP, as those who send requests see it.

mod access;
mod infer;
mod life;
mod support;

use serde_json::json;
use support::{Folder, Worker};

#[test]
fn the_server_and_its_models_are_described() {
    let worker = Worker::start(&[]);
    let server = worker.get("/v2").json();
    assert_eq!(server["name"], "sentinel-worker");
    assert!(
        server["extensions"]
            .as_array()
            .unwrap()
            .contains(&json!("binary_tensor_data"))
    );
    for path in [
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/digits/ready",
    ] {
        assert_eq!(worker.get(path).status, 200, "{path}");
    }
    for path in ["/v2/models/digits", "/v2/models/digits/versions/1"] {
        let model = worker.get(path).json();
        assert_eq!(model["name"], "digits");
        assert_eq!(model["versions"], json!(["1"]));
        assert_eq!(model["parameters"]["provider"], "cpu");
        let image = json!([{ "name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28] }]);
        assert_eq!(model["inputs"], image);
    }
    let config = worker.get("/v2/models/digits/config").json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
    for path in [
        "/v2/models/x",
        "/v2/models/digits/versions/2",
        "/v2/models/x/stats",
        "/",
        "/x",
    ] {
        let refused = worker.get(path);
        assert_eq!(
            (refused.status, &*refused.code()),
            (404, "NOT_FOUND"),
            "{path}"
        );
    }
    assert_eq!(worker.ask("PUT", "/v2", &[], b"").status, 405);
}

#[test]
fn models_come_and_go() {
    let worker = Worker::start(&[]);
    let states = |body: &[u8]| worker.post("/v2/repository/index", body).json();
    assert_eq!(states(b"")[0]["state"], "READY");
    let unload = "/v2/repository/models/digits/unload";
    let body = br#"{"parameters": {"unload_dependents": false}}"#;
    assert_eq!(worker.post(unload, body).status, 200);
    assert_ne!(states(b"{}")[0]["state"], "READY");
    assert_eq!(states(br#"{"ready": true}"#), json!([]));
    assert_ne!(worker.get("/v2/models/digits/ready").status, 200);
    let load = "/v2/repository/models/digits/load";
    let refused = worker.post(load, br#"{"parameters": {"config": "{}"}}"#);
    assert_eq!((refused.status, &*refused.code()), (400, "INVALID_INPUT"));
    assert_eq!(worker.post(load, b"").status, 200);
    assert_eq!(worker.get("/v2/models/digits/ready").status, 200);
    assert_eq!(worker.post("/v2/repository/models/x/load", b"").status, 404);
}

#[test]
fn statistics_and_metrics_count_what_was_asked() {
    let worker = Worker::start(&[]);
    for _ in 0..3 {
        assert_eq!(infer::json_request(&worker, &infer::digits(2)).status, 200);
    }
    let told = worker.get("/v2/models/digits/stats").json();
    let stats = &told["model_stats"][0];
    assert_eq!(stats["inference_count"], 3);
    assert_eq!(stats["inference_stats"]["success"]["count"], 3);
    assert!(stats["inference_stats"]["success"]["ns"].as_u64().unwrap() > 0);
    let metrics = worker.get("/metrics");
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = String::from_utf8(metrics.body).unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert_eq!(
        value(r#"sentinel_total_inputs{model="digits",version="1"}"#),
        3.0
    );
    assert_eq!(value(r#"sentinel_total_requests{door="http"}"#), 3.0);
    assert_eq!(
        value(r#"sentinel_latency_seconds_count{model="digits",version="1"}"#),
        3.0
    );
    assert_eq!(
        value(r#"sentinel_latency_seconds_bucket{model="digits",version="1",le="+Inf"}"#),
        3.0
    );
    assert!(value("process_resident_memory_bytes") > 1e6);
    check_format(&text);
}

/// The rules of the text format: each name is described once, before its lines, which stand together; buckets never fall.
fn check_format(text: &str) {
    let mut described: Vec<(&str, &str)> = Vec::new();
    let mut help = "";
    let mut before = 0.0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split(' ').next().unwrap();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, help);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                !described.iter().any(|(known, _)| *known == name),
                "{name} twice"
            );
            described.push((name, kind));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let (name, kind) = described.last().unwrap();
        let own = series.split('{').next().unwrap();
        let suffix = own
            .strip_prefix(name)
            .unwrap_or_else(|| panic!("{line} after {name}"));
        let expected: &[&str] = match *kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(expected.contains(&suffix), "{line}");
        if suffix == "_bucket" {
            assert!(
                value >= before || series.contains("le=\"0.000016\""),
                "{line}"
            );
            before = value;
        }
    }
    assert!(text.ends_with('\n'));
}

#[test]
fn files_are_served_beside_the_protocol() {
    let folder = Folder::new();
    folder.file("index.html", b"<p>page</p>");
    folder.file("a.js", b"export {}");
    folder.file(".env", b"secret");
    folder.file("token", b"secret");
    let token = folder.0.join("token");
    let options = [
        "--www",
        folder.0.to_str().unwrap(),
        "--token-file",
        token.to_str().unwrap(),
    ];
    let worker = Worker::start(&options);
    let page = worker.get("/");
    assert_eq!((page.status, &*page.body), (200, &b"<p>page</p>"[..]));
    assert_eq!(
        page.header("cross-origin-embedder-policy"),
        Some("require-corp")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(
        worker
            .get("/a.js")
            .header("content-type")
            .unwrap()
            .contains("javascript")
    );
    for path in ["/.env", "/%2eenv", "/../token", "/%2e%2e/token", "/x"] {
        assert_eq!(worker.get(path).status, 404, "{path}");
    }
    assert_eq!(worker.get("/v2").status, 401);
}
