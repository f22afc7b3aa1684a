//! One run of one model.

use std::collections::HashMap;
use std::path::Path;

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::graph::Graph;
use sentinel_inference::inspect::Port;
use sentinel_inference::model::npz::{read_npz, write_npz};
use sentinel_inference::model::onnx::{FolderExternal, read};
use sentinel_inference::session::{Named, Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// Reads the model and the arrays, runs on `provider` and writes the outputs.
///
/// # Errors
/// `IO` for files, what the model's reader and the session find, and `MODEL_UNSUPPORTED` when the
/// provider does not take the model.
pub fn run(
    model: &Path,
    inputs: &Path,
    output: &Path,
    provider: Provider,
    strict: bool,
) -> Result<()> {
    let options = Options {
        // wonnx takes whole models or none; only the engine's own kernels share one with the cpu.
        strict: strict || provider == Provider::Wonnx,
        ..Options::only(provider)
    };
    let session = Session::create(graph(model)?, &options)?;
    let feeds = feeds(session.inputs(), inputs)?;
    let outputs = pollster::block_on(session.run_once(feeds))?;
    write(output, &outputs)
}

/// The graph of a model in a file, with the external data beside it.
///
/// # Errors
/// `IO`, and what the model's reader finds.
pub fn graph(model: &Path) -> Result<Graph> {
    let folder = model.parent().unwrap_or(Path::new(""));
    Ok(read(file(model)?.into(), &FolderExternal::new(folder))?.graph)
}

/// The arrays of a file for the inputs of a model, in the model's order.
///
/// # Errors
/// `IO`; `INVALID_INPUT` for an input without an array.
pub fn feeds(inputs: &[Port], path: &Path) -> Result<Named> {
    let mut arrays: HashMap<String, Tensor> = read_npz(&file(path)?)?.into_iter().collect();
    let feeds = inputs.iter().enumerate().map(|(idx, port)| {
        let array = arrays.remove(&port.name);
        let Some(array) = array.or_else(|| arrays.remove(&format!("in_{idx}"))) else {
            let why = format!("{} has no array for it", path.display());
            return Err(Error::new(ErrorKind::InvalidInput, &port.name, why));
        };
        Ok((port.name.clone(), array))
    });
    feeds.collect()
}

/// Writes arrays by name as `.npz`.
///
/// # Errors
/// `IO`.
pub fn write(path: &Path, arrays: &[(String, Tensor)]) -> Result<()> {
    std::fs::write(path, write_npz(arrays)?).map_err(|error| io(path.display(), error))
}

fn file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| io(path.display(), error))
}

pub fn io(place: impl std::fmt::Display, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, place.to_string(), error.to_string())
}
