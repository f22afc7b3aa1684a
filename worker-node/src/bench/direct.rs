//! The same model without a worker in between.

use std::path::Path;
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::model::onnx::{FolderExternal, read};
use sentinel_inference::session::{Options, Provider, Session};
use sentinel_inference::tensor::Tensor;
use tokio_util::sync::CancellationToken;

use super::histogram::Histogram;
use crate::run::io;
use crate::time::Ready;

/// Calls one after the other, each timed until its outputs are on the host.
///
/// # Errors
/// `IO`, and what the model's reader, the session and a call find.
pub fn call(
    model: &Path,
    provider: Provider,
    inputs: &[(String, Tensor)],
    warmup: Duration,
    duration: Duration,
    stop: &CancellationToken,
) -> Result<Histogram> {
    let bytes = std::fs::read(model).map_err(|error| io(model.display(), error))?;
    let folder = model.parent().unwrap_or(Path::new(""));
    let graph = read(bytes.into(), &FolderExternal::new(folder))?.graph;
    let options = Options {
        strict: provider == Provider::Wonnx,
        ..Options::only(provider)
    };
    let session = Session::create(graph, &options)?;
    pollster::block_on(async {
        let inputs = inputs.to_vec();
        let ready = Ready::new(session, &inputs).await?;
        let mut latencies = Histogram::default();
        let from = Instant::now() + warmup;
        while !stop.is_cancelled() {
            let begin = Instant::now();
            if begin >= from + duration {
                return Ok(latencies);
            }
            ready.run(inputs.clone()).await?;
            if begin >= from {
                latencies.record(begin.elapsed());
            }
        }
        Err(Error::new(ErrorKind::Cancelled, "direct", "it was stopped"))
    })
}
