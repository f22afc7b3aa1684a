//! `sentinel-worker bench`: how many requests a worker answers, and how fast.

mod connection;
mod direct;
mod endpoint;
mod histogram;
mod http;
mod idle;
mod inputs;
mod load;
mod memory;
mod options;
mod report;
#[cfg(test)]
mod tests;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{InferRequest, ModelOf};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use connection::Work;
use endpoint::Endpoint;
use histogram::Histogram;
use idle::IdleConnections;
use load::Load;
use memory::{resident_bytes, trend};
pub use options::BenchArguments;
use report::{Direct, Idle, Quantiles, Report, Row, Sample, Soak, mib};
use websocket::WebsocketConnection;

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// What a worker allocated for new connections is there after this.
const SETTLED: Duration = Duration::from_secs(1);

/// Measures, and prints what was measured; Ctrl-C ends early with what is there.
///
/// # Errors
/// `INVALID_INPUT` for options, `WORKER_UNAVAILABLE` where no worker is, and what it refuses connections with.
pub fn run(arguments: &BenchArguments) -> Result<()> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| crate::run::io("runtime", error))?;
    let report = runtime.block_on(async {
        let stop = CancellationToken::new();
        let on_signal = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                on_signal.cancel();
            }
        });
        Bench::open(arguments, stop).await?.measure().await
    })?;
    match arguments.json {
        true => println!(
            "{}",
            serde_json::to_string(&report).expect("reports are JSON")
        ),
        false => print!("{}", report.table()),
    }
    Ok(())
}

struct Bench<'a> {
    arguments: &'a BenchArguments,
    endpoint: Arc<Endpoint>,
    is_http: bool,
    model: ModelOf,
    inputs: Vec<(String, Tensor)>,
    work: Arc<Work>,
    stop: CancellationToken,
}

impl Bench<'_> {
    async fn open(arguments: &BenchArguments, stop: CancellationToken) -> Result<Bench<'_>> {
        check(arguments)?;
        let endpoint = Endpoint::new(
            &arguments.url,
            arguments.token.as_deref(),
            arguments.ca.as_deref(),
        )?;
        let endpoint = Arc::new(endpoint);
        let is_http = arguments.http || !endpoint.is_websocket;
        let version = arguments.model_version.clone().unwrap_or_default();
        let model = match is_http {
            true => http::metadata(&endpoint, &arguments.model, &version).await?,
            false => find(&endpoint, &arguments.model, &version).await?,
        };
        let inputs = match &arguments.inputs {
            Some(path) => inputs::from_file(path, &model.inputs)?,
            None => inputs::random(&model.inputs, &arguments.shape, arguments.seed)?,
        };
        let mut request = InferRequest {
            model_name: arguments.model.clone(),
            model_version: version,
            ..InferRequest::default()
        };
        let payload = request.set_inputs(&inputs)?;
        let n_slots = arguments.per_connection;
        let work = Work::new(&endpoint, is_http, &request, &payload, n_slots)?;
        Ok(Bench {
            arguments,
            endpoint,
            is_http,
            model,
            inputs,
            work: Arc::new(work),
            stop,
        })
    }

    async fn measure(&self) -> Result<Report> {
        let arguments = self.arguments;
        let direct = self.direct().await?;
        let mut rows = self.sweep(0).await?;
        let mut idle = None;
        if arguments.idle > 0 && !self.stop.is_cancelled() {
            idle = Some(self.idle(&mut rows).await?);
        }
        let mut soak = None;
        if !arguments.soak_s.is_zero() && !self.stop.is_cancelled() {
            soak = Some(self.soak().await?);
        }
        let direct = direct.map(|(provider, calls)| Direct {
            provider,
            n_calls: calls.count(),
            latency_ms: Quantiles::of(&calls),
            overhead_p50_ms: match rows.first() {
                Some(row) => row.latency_ms.p50 - Quantiles::of(&calls).p50,
                None => f64::NAN,
            },
        });
        Ok(Report {
            url: arguments.url.clone(),
            transport: if self.is_http { "HTTP" } else { "WebSocket" },
            model: self.model.name.clone(),
            model_version: self.model.version.clone(),
            provider: self.model.provider.clone(),
            duration_s: arguments.duration_s.as_secs_f64(),
            request_rate: arguments.request_rate,
            direct,
            rows,
            idle,
            soak,
        })
    }

    async fn direct(&self) -> Result<Option<(&'static str, Histogram)>> {
        let Some(model) = self.arguments.direct.clone() else {
            return Ok(None);
        };
        say(&format!("direct: {}", model.display()));
        let BenchArguments {
            provider,
            warmup_s,
            duration_s,
            ..
        } = *self.arguments;
        let (inputs, stop) = (self.inputs.clone(), self.stop.clone());
        let calls = tokio::task::spawn_blocking(move || {
            direct::call(model, provider, &inputs, warmup_s, duration_s, &stop)
        });
        let calls = calls.await;
        let calls = calls.map_err(|panic| Error::internal("direct", panic.to_string()))?;
        calls.map(Some)
    }

    async fn sweep(&self, n_idle: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for &n_connections in &self.arguments.concurrency {
            if self.stop.is_cancelled() {
                break;
            }
            let load = self.load(n_connections, self.arguments.duration_s);
            let row = self.row(&load, n_idle).await?;
            say(&format!(
                "{n_connections} connections: {:.0} requests per second, p99 {:.3} ms",
                row.requests_per_s, row.latency_ms.p99
            ));
            rows.push(row);
        }
        Ok(rows)
    }

    fn load(&self, n_connections: usize, duration: Duration) -> Load {
        let per_connection = self.arguments.per_connection;
        // HTTP has one request at a time on a connection.
        let (n_connections, per_connection) = match self.is_http {
            true => (n_connections * per_connection, 1),
            false => (n_connections, per_connection),
        };
        Load {
            endpoint: self.endpoint.clone(),
            work: self.work.clone(),
            n_connections,
            per_connection,
            request_rate: self.arguments.request_rate,
            warmup: self.arguments.warmup_s,
            duration,
            stop: self.stop.clone(),
            answered: Arc::new(AtomicU64::new(0)),
        }
    }

    async fn row(&self, load: &Load, n_idle: usize) -> Result<Row> {
        let tally = load::load(load).await?;
        Ok(Row::new(
            load.n_connections,
            load.per_connection,
            n_idle,
            tally,
        ))
    }

    /// Adds the rows of the same sweep beside idle connections.
    async fn idle(&self, rows: &mut Vec<Row>) -> Result<Idle> {
        let n_connections = self.arguments.idle;
        let resident_bytes_before = resident_bytes(&self.endpoint).await?;
        let mut connections =
            IdleConnections::open(&self.endpoint, n_connections, &self.stop).await?;
        sleep(SETTLED).await;
        let resident_bytes_after = resident_bytes(&self.endpoint).await?;
        say(&format!(
            "{n_connections} idle connections: {:.1} MiB, {:.1} MiB before",
            mib(resident_bytes_after),
            mib(resident_bytes_before)
        ));
        rows.extend(self.sweep(n_connections).await?);
        Ok(Idle {
            connections: n_connections,
            resident_bytes_before,
            resident_bytes_after,
            bytes_per_connection: (resident_bytes_after - resident_bytes_before)
                / n_connections as f64,
            lost: connections.lost(),
        })
    }

    async fn soak(&self) -> Result<Soak> {
        let most = self.arguments.concurrency.iter().max();
        let most = *most.expect("there is one");
        let load = self.load(most, self.arguments.soak_s);
        let answered = load.answered.clone();
        let done = CancellationToken::new();
        let sampling = self.sample(&answered, &done);
        let loading = async {
            let row = self.row(&load, 0).await;
            done.cancel();
            row
        };
        let (row, samples) = tokio::join!(loading, sampling);
        let resident = samples.iter();
        let resident: Vec<_> = resident
            .map(|sample| (Duration::from_secs_f64(sample.at_s), sample.resident_bytes))
            .collect();
        let trend = trend(&resident);
        Ok(Soak {
            row: row?,
            samples,
            bytes_per_s: trend.map(|trend| trend.bytes_per_s),
            is_flat: trend.map(|trend| trend.is_flat),
        })
    }

    async fn sample(&self, answered: &AtomicU64, done: &CancellationToken) -> Vec<Sample> {
        let begin = Instant::now();
        let mut samples = Vec::new();
        let mut latest = (begin, 0);
        let mut ticks = interval(SAMPLE_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = done.cancelled() => return samples,
            }
            let resident_bytes = match resident_bytes(&self.endpoint).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    say(&format!("soak: {error}"));
                    continue;
                }
            };
            let now = (Instant::now(), answered.load(Ordering::Relaxed));
            let elapsed_s = (now.0 - latest.0).as_secs_f64();
            let requests_per_s = (now.1 - latest.1) as f64 / elapsed_s;
            latest = now;
            let at_s = (now.0 - begin).as_secs_f64();
            say(&format!(
                "soak: {at_s:.0} s, {:.1} MiB, {requests_per_s:.0} requests per second",
                mib(resident_bytes)
            ));
            samples.push(Sample {
                at_s,
                resident_bytes,
                requests_per_s,
            });
        }
    }
}

/// The model as the worker's hello has it: the named version, or the latest that is ready.
async fn find(endpoint: &Arc<Endpoint>, model: &str, version: &str) -> Result<ModelOf> {
    let hello = WebsocketConnection::open(endpoint.clone()).await?.hello;
    let named = hello.models.into_iter().filter(|known| known.name == model);
    let fitting = named.filter(|known| version.is_empty() || known.version == version);
    let latest =
        fitting.max_by_key(|known| (known.state == "READY", known.version.parse::<u64>().ok()));
    latest.ok_or_else(|| {
        let why = format!("{} has no such model", endpoint.authority);
        Error::new(ErrorKind::NotFound, format!("{model:?}"), why)
    })
}

fn check(arguments: &BenchArguments) -> Result<()> {
    let wrong = |at: &str, why: &'static str| Err(Error::new(ErrorKind::InvalidInput, at, why));
    if arguments.concurrency.contains(&0) || arguments.concurrency.is_empty() {
        return wrong("--concurrency", "at least one connection is needed");
    }
    if arguments.per_connection == 0 {
        return wrong("--per-connection", "at least one request is needed");
    }
    if arguments.duration_s.is_zero() {
        return wrong("--duration-s", "nothing can be measured in no time");
    }
    if arguments
        .request_rate
        .is_some_and(|rate| !(rate > 0.0 && rate.is_finite()))
    {
        return wrong("--request-rate", "a number above 0 is needed");
    }
    Ok(())
}

fn say(text: &str) {
    eprintln!("bench: {text}");
}
