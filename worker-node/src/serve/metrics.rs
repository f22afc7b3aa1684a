//! `/metrics` in the text format of Prometheus, with the vocabulary that all statistics share.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use sentinel_inference::schedule::Latencies;

use super::App;
use crate::context::Context;
use crate::service::ModelStatistics;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

type PerModel = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ModelStatistics) -> f64,
);

/// Name, type, description and value of what each model has.
const PER_MODEL: &[PerModel] = &[
    (
        "sentinel_total_inputs",
        "counter",
        "Requests that came",
        |it| it.snapshot.total_inputs as f64,
    ),
    (
        "sentinel_total_outputs",
        "counter",
        "Requests that got their outputs",
        |it| it.snapshot.total_outputs as f64,
    ),
    (
        "sentinel_total_batches",
        "counter",
        "Runs of the model",
        |it| it.snapshot.total_batches as f64,
    ),
    (
        "sentinel_total_errors",
        "counter",
        "Requests that got an error",
        |it| it.snapshot.total_errors as f64,
    ),
    (
        "sentinel_total_cancelled",
        "counter",
        "Requests that were taken back",
        |it| it.snapshot.total_cancelled as f64,
    ),
    (
        "sentinel_total_dropped",
        "counter",
        "Requests that were not computed",
        |it| it.snapshot.total_dropped as f64,
    ),
    (
        "sentinel_queue_depth",
        "gauge",
        "Requests that wait",
        |it| it.snapshot.queue_depth as f64,
    ),
    (
        "sentinel_in_flight",
        "gauge",
        "Requests without an answer",
        |it| it.in_flight as f64,
    ),
    (
        "sentinel_avg_batch_size",
        "gauge",
        "Requests in a run, on average",
        |it| it.snapshot.avg_batch_size,
    ),
    (
        "sentinel_avg_inference_time_ms",
        "gauge",
        "Time of a run, on average",
        |it| it.snapshot.avg_inference_time_ms,
    ),
    (
        "sentinel_p50_latency_ms",
        "gauge",
        "Half of the latest answers took no longer",
        |it| it.snapshot.p50_latency_ms,
    ),
    (
        "sentinel_p95_latency_ms",
        "gauge",
        "95 % of the latest answers took no longer",
        |it| it.snapshot.p95_latency_ms,
    ),
    (
        "sentinel_p99_latency_ms",
        "gauge",
        "99 % of the latest answers took no longer",
        |it| it.snapshot.p99_latency_ms,
    ),
    (
        "sentinel_throughput_per_s",
        "gauge",
        "Answers per second, lately",
        |it| it.snapshot.throughput_per_s,
    ),
];

pub async fn page(State(app): State<App>) -> impl IntoResponse {
    let mut text = String::new();
    worker(&mut text, &app.context, app.open_connections());
    models(&mut text, &app.context.service.statistics());
    ([(CONTENT_TYPE, FORMAT)], text)
}

fn worker(text: &mut String, context: &Context, open_connections: usize) {
    let counters = &context.counters;
    let info = [
        ("worker_id", &*context.worker_id),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    let requests = [
        ("http", &counters.requests_http),
        ("websocket", &counters.requests_websocket),
        ("nats", &counters.requests_nats),
    ];
    head(
        text,
        "sentinel_worker_info",
        "gauge",
        "Which worker this is",
    );
    line(text, "sentinel_worker_info", &info, 1.0);
    head(
        text,
        "sentinel_total_requests",
        "counter",
        "Inferences that were asked for, by the way that they came",
    );
    for (door, count) in requests {
        line(
            text,
            "sentinel_total_requests",
            &[("door", door)],
            count.load(Ordering::Relaxed) as f64,
        );
    }
    let mut alone = |name: &str, kind: &str, help: &str, value: f64| {
        head(text, name, kind, help);
        line(text, name, &[], value);
    };
    let refused = counters.refused.load(Ordering::Relaxed) as f64;
    let websockets = counters.websockets.load(Ordering::Relaxed) as f64;
    let is_draining = f64::from(u8::from(context.draining.is_cancelled()));
    alone(
        "sentinel_total_refused",
        "counter",
        "Messages that were not what they should be",
        refused,
    );
    alone(
        "sentinel_connections",
        "gauge",
        "Open connections",
        open_connections as f64,
    );
    alone(
        "sentinel_websockets",
        "gauge",
        "Open WebSockets",
        websockets,
    );
    alone(
        "sentinel_draining",
        "gauge",
        "1 when the worker is about to end",
        is_draining,
    );
    if let Some(bytes) = resident_memory_bytes() {
        alone(
            "process_resident_memory_bytes",
            "gauge",
            "Memory that the worker occupies",
            bytes as f64,
        );
    }
}

fn models(text: &mut String, models: &[ModelStatistics]) {
    if models.is_empty() {
        return;
    }
    head(text, "sentinel_model_info", "gauge", "Where a model runs");
    for model in models {
        let [name, version] = labels(model);
        line(
            text,
            "sentinel_model_info",
            &[name, version, ("provider", model.provider)],
            1.0,
        );
    }
    for (name, kind, help, value) in PER_MODEL {
        head(text, name, kind, help);
        for model in models {
            line(text, name, &labels(model), value(model));
        }
    }
    head(
        text,
        "sentinel_latency_seconds",
        "histogram",
        "From the arrival of a request to its outputs",
    );
    for model in models {
        histogram(text, &labels(model), &model.latencies);
    }
}

fn labels(model: &ModelStatistics) -> [(&'static str, &str); 2] {
    [("model", &model.name), ("version", &model.version)]
}

fn histogram(text: &mut String, labels: &[(&str, &str); 2], latencies: &Latencies) {
    let bounds = Latencies::bounds().map(|bound| bound.as_secs_f64().to_string());
    let mut n_until = 0;
    for (bound, n) in bounds.chain(["+Inf".to_owned()]).zip(latencies.buckets()) {
        n_until += n;
        let labels = [labels[0], labels[1], ("le", &*bound)];
        line(
            text,
            "sentinel_latency_seconds_bucket",
            &labels,
            n_until as f64,
        );
    }
    let sum_s = latencies.sum().as_secs_f64();
    line(text, "sentinel_latency_seconds_sum", labels, sum_s);
    line(
        text,
        "sentinel_latency_seconds_count",
        labels,
        n_until as f64,
    );
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}").expect("strings take all");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        let mark = if at == 0 { '{' } else { ',' };
        let value = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n");
        write!(text, "{mark}{label}=\"{value}\"").expect("strings take all");
    }
    let end = if labels.is_empty() { "" } else { "}" };
    writeln!(text, "{end} {value}").expect("strings take all");
}

/// `None` where the system does not tell.
fn resident_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
