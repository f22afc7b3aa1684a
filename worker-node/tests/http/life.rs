//! How a worker ends.
#![cfg(unix)]

use std::time::Instant;

use serde_json::json;

use crate::infer::binary;
use crate::support::{Connection, PATIENCE, Worker};

/// So many pictures that they take a while, in one request.
const MANY: usize = 8000;

const IN_FLIGHT: &str = r#"sentinel_in_flight{model="digits",version="1"}"#;
const CANCELLED: &str = r#"sentinel_total_cancelled{model="digits",version="1"}"#;
const OUTPUTS: &str = r#"sentinel_total_outputs{model="digits",version="1"}"#;

/// A value in `/metrics`.
fn metric(worker: &Worker, series: &str) -> f64 {
    let metrics = String::from_utf8(worker.get("/metrics").body).unwrap();
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(series));
    values.next().expect("it is there").trim().parse().unwrap()
}

/// Waits until a metric has this value.
fn wait_for(worker: &Worker, name: &str, value: f64) {
    let started = Instant::now();
    while metric(worker, name) != value {
        assert!(started.elapsed() < PATIENCE, "{name} never was {value}");
    }
}

fn begin_many(connection: &mut Connection) {
    let request = json!({ "inputs": [binary(MANY)], "parameters": { "binary_data_output": true } });
    connection.begin_infer(&request, &vec![0; MANY * 28 * 28 * 4]);
}

#[test]
fn who_goes_away_is_not_computed_for() {
    let worker = Worker::start(&[]);
    let mut running = worker.connect();
    begin_many(&mut running);
    wait_for(&worker, IN_FLIGHT, 1.0);
    let mut waiting = worker.connect();
    waiting.begin_infer(&json!({ "inputs": [binary(1)] }), &[0; 28 * 28 * 4]);
    wait_for(&worker, IN_FLIGHT, 2.0);
    drop(waiting);
    wait_for(&worker, CANCELLED, 1.0);
    assert_eq!(running.receive().status, 200);
    assert_eq!(metric(&worker, OUTPUTS), 1.0);
}

#[test]
fn who_is_asked_to_end_answers_what_is_in_flight_first() {
    let mut worker = Worker::start(&[]);
    let mut idle = worker.connect();
    assert_eq!(idle.ask("GET", "/v2", &[], b"").status, 200);
    let mut fresh = worker.connect();
    let mut connection = worker.connect();
    begin_many(&mut connection);
    wait_for(&worker, IN_FLIGHT, 1.0);
    worker.terminate();
    assert!(idle.is_closed() && fresh.is_closed());
    let ready = worker.get("/v2/health/ready");
    assert_eq!(
        (ready.status, &*ready.code()),
        (503, "WORKER_UNAVAILABLE"),
        "{ready:?}"
    );
    assert_eq!(worker.get("/v2/health/live").status, 200);
    let refused = worker.infer(&json!({ "inputs": [binary(1)] }), &[0; 28 * 28 * 4]);
    assert_eq!(
        (refused.status, &*refused.code()),
        (503, "WORKER_UNAVAILABLE"),
        "{refused:?}"
    );
    let answer = connection.receive();
    assert_eq!(answer.outputs().1.len(), MANY * 10 * 4);
    assert_eq!(worker.ended(), Some(0));
}

#[test]
fn who_is_asked_again_ends_at_once() {
    let mut worker = Worker::start(&[]);
    let mut connection = worker.connect();
    // Its body never comes, so there is something to wait for.
    connection.send(
        b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n",
    );
    wait_for(&worker, "sentinel_total_requests{door=\"http\"}", 1.0);
    worker.terminate();
    while worker.get("/v2/health/ready").status == 200 {}
    worker.terminate();
    assert_eq!(worker.ended(), Some(1));
}
