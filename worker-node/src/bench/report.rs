//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::histogram::Histogram;
use super::load::Tally;

#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub transport: &'static str,
    pub model: String,
    pub model_version: String,
    pub provider: String,
    pub duration_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    pub rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
}

/// One number of connections.
#[derive(Debug, Serialize)]
pub struct Row {
    pub connections: usize,
    pub per_connection: usize,
    /// Connections beside them that only ping.
    pub idle: usize,
    pub requests_per_s: f64,
    pub n_requests: u64,
    pub latency_ms: Quantiles,
    /// What the worker says of them.
    pub queue_ms: Quantiles,
    pub compute_ms: Quantiles,
    pub avg_batch_size: f64,
    pub errors: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// The same model called without a worker.
#[derive(Debug, Serialize)]
pub struct Direct {
    pub provider: &'static str,
    pub n_calls: u64,
    pub latency_ms: Quantiles,
    /// What the first row's median is above that of the calls.
    pub overhead_p50_ms: f64,
}

#[derive(Debug, Serialize)]
pub struct Idle {
    pub connections: usize,
    pub resident_bytes_before: f64,
    pub resident_bytes_after: f64,
    pub bytes_per_connection: f64,
    /// Connections that ended by themselves.
    pub lost: usize,
}

#[derive(Debug, Serialize)]
pub struct Soak {
    pub row: Row,
    pub samples: Vec<Sample>,
    pub bytes_per_s: Option<f64>,
    pub is_flat: Option<bool>,
}

#[derive(Debug, Serialize)]
pub struct Sample {
    pub at_s: f64,
    pub resident_bytes: f64,
    pub requests_per_s: f64,
}

impl Quantiles {
    pub fn of(histogram: &Histogram) -> Quantiles {
        let at = |part| ms(histogram.quantile(part));
        Quantiles {
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: ms(histogram.max()),
        }
    }
}

impl Row {
    pub fn new(connections: usize, per_connection: usize, idle: usize, tally: Tally) -> Row {
        let elapsed_s = tally.elapsed.as_secs_f64();
        Row {
            connections,
            per_connection,
            idle,
            requests_per_s: match elapsed_s > 0.0 {
                true => tally.n_answers as f64 / elapsed_s,
                false => 0.0,
            },
            n_requests: tally.latencies.count(),
            latency_ms: Quantiles::of(&tally.latencies),
            queue_ms: Quantiles::of(&tally.queued),
            compute_ms: Quantiles::of(&tally.computed),
            avg_batch_size: tally.batch_sizes / tally.n_batch_sizes.max(1) as f64,
            errors: tally.errors,
        }
    }
}

const COLUMNS: &[&str] = &[
    "connections",
    "idle",
    "req/s",
    "p50 ms",
    "p90",
    "p95",
    "p99",
    "max",
    "queue p50",
    "compute p50",
    "batch",
];

impl Report {
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} version {} on {}, {} at {}\n",
            self.model, self.model_version, self.provider, self.transport, self.url
        );
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let width = |at: usize| {
            let cells = rows.iter().map(|row| row[at].len());
            cells.chain([COLUMNS[at].len()]).max().unwrap_or_default()
        };
        let mut line = |cells: &[String]| {
            let padded = cells.iter().enumerate();
            let padded: Vec<_> = padded
                .map(|(at, cell)| format!("{cell:>0$}", width(at)))
                .collect();
            let _ = writeln!(text, "{}", padded.join("  "));
        };
        line(
            &COLUMNS
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        );
        rows.iter().for_each(|row| line(row));
        self.notes(&mut text);
        text
    }

    fn notes(&self, text: &mut String) {
        for row in self.rows.iter().filter(|row| !row.errors.is_empty()) {
            let _ = writeln!(
                text,
                "errors at {} connections: {}",
                row.connections,
                errors(row)
            );
        }
        if let Some(direct) = &self.direct {
            let _ = writeln!(
                text,
                "called directly on {}: p50 {:.3} ms, p99 {:.3} ms; the worker adds {:.3} ms at p50",
                direct.provider,
                direct.latency_ms.p50,
                direct.latency_ms.p99,
                direct.overhead_p50_ms
            );
        }
        if let Some(idle) = &self.idle {
            let _ = writeln!(
                text,
                "{} idle connections: {:.1} MiB before, {:.1} MiB after, {:.1} KiB each, {} lost",
                idle.connections,
                mib(idle.resident_bytes_before),
                mib(idle.resident_bytes_after),
                idle.bytes_per_connection / 1024.0,
                idle.lost
            );
        }
        if let Some(soak) = &self.soak {
            let verdict = match (soak.is_flat, soak.bytes_per_s) {
                (Some(true), Some(slope)) => format!("memory is flat ({slope:+.0} bytes/s)"),
                (Some(false), Some(slope)) => format!("memory grows by {slope:.0} bytes/s"),
                _ => "too short to tell how memory goes".to_owned(),
            };
            let errors = match soak.row.errors.is_empty() {
                true => "no errors".to_owned(),
                false => format!("errors: {}", errors(&soak.row)),
            };
            let _ = writeln!(
                text,
                "soak: {} requests at {:.0}/s, p99 {:.2} ms, {errors}, {verdict}",
                soak.row.n_requests, soak.row.requests_per_s, soak.row.latency_ms.p99
            );
        }
    }
}

fn cells(row: &Row) -> Vec<String> {
    let latency = &row.latency_ms;
    let ms = |ms: f64| format!("{ms:.3}");
    let connections = match row.per_connection {
        1 => row.connections.to_string(),
        n => format!("{}×{n}", row.connections),
    };
    vec![
        connections,
        row.idle.to_string(),
        format!("{:.0}", row.requests_per_s),
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p95),
        ms(latency.p99),
        ms(latency.max),
        ms(row.queue_ms.p50),
        ms(row.compute_ms.p50),
        format!("{:.2}", row.avg_batch_size),
    ]
}

fn errors(row: &Row) -> String {
    let errors = row.errors.iter().map(|(code, n)| format!("{n} {code}"));
    errors.collect::<Vec<_>>().join(", ")
}

pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally::default();
        tally.latencies.record(Duration::from_millis(2));
        tally.n_answers = 30;
        tally.elapsed = Duration::from_secs(3);
        tally.errors.insert("QUEUE_FULL".into(), 4);
        Report {
            url: "ws://a:1".into(),
            transport: "WebSocket",
            model: "m".into(),
            model_version: "1".into(),
            provider: "cpu".into(),
            duration_s: 3.0,
            request_rate: None,
            direct: None,
            rows: vec![Row::new(16, 2, 0, tally)],
            idle: None,
            soak: None,
        }
    }

    #[test]
    fn the_table_has_rates_and_errors() {
        let table = report().table();
        let row = table.lines().nth(2).unwrap();
        assert!(
            row.trim_start().starts_with("16×2     0     10   2.000"),
            "{table}"
        );
        assert!(
            table.contains("errors at 16 connections: 4 QUEUE_FULL"),
            "{table}"
        );
    }

    #[test]
    fn programs_read_the_same_numbers() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["rows"][0]["requests_per_s"], 10.0);
        assert_eq!(json["rows"][0]["errors"]["QUEUE_FULL"], 4);
        assert!(json.get("soak").is_none());
    }
}
