//! The command line of the server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sentinel_inference::wire::Limits;

use crate::service::{ProviderChoice, ServiceOptions};

const MIB: usize = 1 << 20;

/// Serves the models of a repository, unless there is a command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub struct Options {
    /// The folder of the models: NAME/VERSION/model.onnx.
    #[arg(long, value_name = "DIR")]
    pub model_repository: PathBuf,
    /// Where to listen. Anything that other machines reach needs a token and TLS.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// 0 is any free one; the first line of the output tells which.
    #[arg(long, default_value_t = 8070)]
    pub port: u16,
    /// auto, webgpu, wonnx, cpu or onnxruntime. auto is ONNX Runtime where this machine has it, else a GPU that is no software, else the CPU.
    #[arg(long, default_value = "auto", value_parser = ProviderChoice::parse)]
    pub provider: ProviderChoice,
    /// Words in the name of the GPU to take, of those that `sentinel-worker devices` lists.
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// The most requests that run as one batch.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch_size: u16,
    /// How long a request waits for others to share its batch.
    #[arg(long, default_value = "2", value_parser = milliseconds)]
    pub max_delay_ms: Duration,
    /// The most requests that wait for one model; more are answered with QUEUE_FULL.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_queue_size: u32,
    /// The largest request.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2047))]
    pub max_message_mib: u16,
    /// The largest head of an HTTP request.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub max_header_kib: u16,
    /// The most requests without an answer on one WebSocket.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_in_flight: u32,
    /// More are told to come again later.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// A connection without a request for so long is closed.
    #[arg(long, default_value = "300", value_parser = seconds)]
    pub idle_timeout_s: Duration,
    /// A client is cut off when the head of its request, or what comes of its body, takes longer than this.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub slow_sender_s: Duration,
    /// The certificate and those that signed it, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A file with the token that clients have to show.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Pages from this origin may use the worker; may be given more than once.
    #[arg(long, value_name = "URL")]
    pub allow_origin: Vec<String>,
    /// Listen for other machines without a token or TLS all the same.
    #[arg(long)]
    pub insecure: bool,
    /// Clients may send models.
    #[arg(long)]
    pub allow_upload: bool,
    /// The largest model that a client may send.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_upload_mib: u32,
    /// Files to serve beside the protocol, such as a page that uses it.
    #[arg(long, value_name = "DIR")]
    pub www: Option<PathBuf>,
    /// Takes requests from this NATS server as well.
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// The workers that share requests over NATS.
    #[arg(long, value_name = "NAME", default_value = "sentinel")]
    pub queue_group: String,
    /// How the log on standard error is written; RUST_LOG says how much of it.
    #[arg(long, default_value = "text")]
    pub log: Log,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Log {
    Text,
    Json,
}

impl Options {
    pub fn service(&self) -> ServiceOptions {
        ServiceOptions {
            model_repository: self.model_repository.clone(),
            provider: self.provider,
            adapter: self.adapter.clone(),
            batch_size: usize::from(self.batch_size),
            max_delay: self.max_delay_ms,
            max_queue_size: self.max_queue_size as usize,
            allow_upload: self.allow_upload,
            max_upload_bytes: u64::from(self.max_upload_mib) << 20,
        }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            max_message_bytes: usize::from(self.max_message_mib) * MIB,
            ..Limits::default()
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    duration(text, 1e-3)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text, 1.0)?;
    if duration.is_zero() {
        return Err("expected more than 0".to_owned());
    }
    Ok(duration)
}

fn duration(text: &str, unit_s: f64) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    let day_s = 86_400.0;
    let duration_s = number * unit_s;
    if !(0.0..=day_s).contains(&duration_s) {
        return Err("expected a time between 0 and one day".to_owned());
    }
    Ok(Duration::from_secs_f64(duration_s))
}
