//! What is measured, as the command line says it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::service::ProviderChoice;

/// Loads a worker with requests and tells how many it answers, and how fast.
#[derive(Args, Clone, Debug)]
pub struct BenchArguments {
    /// ws://HOST:PORT, wss://, http:// or https://.
    #[arg(long, default_value = "ws://127.0.0.1:8070")]
    pub url: String,
    #[arg(long)]
    pub model: String,
    /// The latest, unless one is named.
    #[arg(long)]
    pub model_version: Option<String>,
    /// HTTP requests instead of frames over WebSockets.
    #[arg(long)]
    pub http: bool,
    /// Numbers of connections to measure with, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub concurrency: Vec<usize>,
    /// Requests without an answer on each connection; over HTTP, one connection more for each.
    #[arg(long, default_value_t = 1)]
    pub per_connection: usize,
    /// How long each number of connections is measured.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub duration_s: Duration,
    /// Requests for so long come first and are not measured.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub warmup_s: Duration,
    /// Sends so many requests per second, however long answers take; latencies begin when a request was due.
    #[arg(long)]
    pub request_rate: Option<f64>,
    /// Inputs by name in a NumPy .npz file, or in_0, in_1, ... in the model's order; random ones without it.
    #[arg(long)]
    pub inputs: Option<PathBuf>,
    /// Sizes of a random input, as NAME:1,28,28.
    #[arg(long, value_parser = shape)]
    pub shape: Vec<(String, Vec<usize>)>,
    /// Of random inputs.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    #[arg(long, env = "SENTINEL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Certificates in PEM that wss and https are trusted by.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Measures again while so many more WebSockets only ping, and tells the worker's memory before and after.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// Calls this .onnx file directly in this process too, and tells how much the way to the worker adds.
    #[arg(long)]
    pub direct: Option<PathBuf>,
    /// Where --direct runs: auto, webgpu, wonnx, cpu or onnxruntime.
    #[arg(long, default_value = "cpu", value_parser = ProviderChoice::parse)]
    pub provider: ProviderChoice,
    /// Goes on at the largest concurrency for so long, and tells every ten seconds how much memory the worker has.
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub soak_s: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| "a number of seconds is expected")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let expected = || "NAME:SIZE,SIZE,... is expected".to_owned();
    let (name, sizes) = text.rsplit_once(':').ok_or_else(expected)?;
    let sizes = sizes.split(',').filter(|size| !size.is_empty());
    let sizes: Result<Vec<usize>, _> = sizes.map(str::parse).collect();
    Ok((name.to_owned(), sizes.map_err(|_| expected())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_a_name_and_sizes() {
        assert_eq!(shape("x:1,28"), Ok(("x".into(), vec![1, 28])));
        assert_eq!(shape("a:b:2"), Ok(("a:b".into(), vec![2])));
        assert_eq!(shape("scalar:"), Ok(("scalar".into(), vec![])));
        assert!(shape("x").is_err());
        assert!(shape("x:1,-1").is_err());
    }

    #[test]
    fn times_are_not_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err());
        assert!(seconds("NaN").is_err());
        assert!(seconds("soon").is_err());
    }
}
