//! The same model without a worker in between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::tensor::Tensor;
use tokio_util::sync::CancellationToken;

use super::histogram::Histogram;
use crate::runner::{OpenModel, Runner};
use crate::service::ProviderChoice;

/// Calls one after the other, each timed until its outputs are on the host; and where they ran.
///
/// # Errors
/// As [`Runner::open`] and [`Runner::run`].
pub fn call(
    path: PathBuf,
    provider: ProviderChoice,
    inputs: &[(String, Tensor)],
    warmup: Duration,
    duration: Duration,
    stop: &CancellationToken,
) -> Result<(&'static str, Histogram)> {
    let mut runner = Runner::open(&OpenModel {
        path,
        provider,
        adapter: None,
    })?;
    let mut latencies = Histogram::default();
    let from = Instant::now() + warmup;
    while !stop.is_cancelled() {
        let begin = Instant::now();
        if begin >= from + duration {
            return Ok((runner.provider(), latencies));
        }
        runner.run(inputs.to_vec(), &[])?;
        if begin >= from {
            latencies.record(begin.elapsed());
        }
    }
    Err(Error::new(ErrorKind::Cancelled, "direct", "it was stopped"))
}
