//! ONNX Runtime, with the GPU that its library is made for.

mod library;
mod values;

use std::path::Path;

use ort::ep::CUDA;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::session::{OutputSelector, RunOptions, Session};
use sentinel_inference::backend::cpu;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::inspect::Port;
use sentinel_inference::passes;
use sentinel_inference::session::{Named, Options, Rows, advance, check_feeds};
use sentinel_inference::tensor::Tensor;

use library::Library;

use super::{Engine, Model, OpenModel, Runner};
use crate::run::graph;

pub use library::library;

const AT: &str = "onnxruntime";
const ON_CUDA: &str = "CUDAExecutionProvider";
const ON_CPU: &str = "CPUExecutionProvider";

struct OnOrt {
    inputs: Vec<Port>,
    session: Session,
}

impl Engine for OnOrt {
    fn run(&mut self, feeds: Named, fetches: &[&str]) -> Result<Vec<Tensor>> {
        let feeds = check_feeds(&self.inputs, feeds)?;
        let values = feeds.iter().map(|(name, tensor)| {
            let value = values::to_value(tensor).map_err(|error| error.within(name))?;
            Ok((name.as_str(), value))
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let none = OutputSelector::no_default();
        let wanted = fetches.iter().fold(none, |some, fetch| some.with(*fetch));
        let options = RunOptions::new().map_err(failed)?.with_outputs(wanted);
        let outputs = self.session.run_with_options(values, &options);
        let outputs = outputs.map_err(failed)?;
        let fetched = fetches.iter().map(|fetch| {
            let value = outputs.get(fetch);
            let value = value.ok_or_else(|| Error::internal(*fetch, "it was not given"))?;
            values::from_value(value).map_err(|error| error.within(fetch))
        });
        fetched.collect()
    }
}

pub fn open(open: &OpenModel) -> Result<Runner> {
    let library = library()?;
    let (session, provider) = session(library, &open.path)?;
    let inputs = session.inputs().iter();
    let inputs = inputs.map(|port| values::port(port.name(), port.dtype()));
    let inputs: Vec<Port> = inputs.collect::<Result<_>>()?;
    let outputs = session.outputs().iter();
    let outputs = outputs.map(|port| values::port(port.name(), port.dtype()));
    let model = Model {
        inputs: inputs.clone(),
        outputs: outputs.collect::<Result<_>>()?,
        rows: rows(&open.path),
    };
    Ok(Runner {
        model,
        provider: AT,
        reason: format!(
            "ONNX Runtime {} with {provider}, found {}",
            library.version, library.found
        ),
        engine: Box::new(OnOrt { inputs, session }),
    })
}

/// As [`open`], for a machine that may have no library and need not be told where it could be.
pub fn open_if_present(model: &OpenModel) -> Result<Runner> {
    if library().is_err() {
        return Err(Error::unsupported(AT, "no library that can be used"));
    }
    open(model)
}

/// On CUDA where the library and the machine have it; and what it runs on.
fn session(library: &Library, path: &Path) -> Result<(Session, String)> {
    let without_path = |error: ort::Error| {
        let path = path.display().to_string();
        let error = failed(error);
        Error::new(error.kind, error.at, error.why.replace(&path, "the model"))
    };
    let mut why_not = String::new();
    if library.providers.iter().any(|name| name == ON_CUDA) {
        match on_cuda(library, path) {
            Ok(session) => return Ok((session, ON_CUDA.into())),
            Err(error) => why_not = format!(" and not {ON_CUDA}: {}", without_path(error).why),
        }
    }
    let builder = Session::builder(&library.environment);
    let session = builder.and_then(|mut builder| builder.commit_from_file(path));
    Ok((session.map_err(without_path)?, format!("{ON_CPU}{why_not}")))
}

fn on_cuda(library: &Library, path: &Path) -> ort::Result<Session> {
    // Batches come in many sizes, and an exhaustive search for each would be paid by whoever comes first.
    let cuda = CUDA::default().with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    let builder = Session::builder(&library.environment)?;
    let mut builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
    builder.commit_from_file(path)
}

/// What the engine can prove of the same graph; nothing, where it does not read the model.
fn rows(path: &Path) -> Option<Rows> {
    let rows = graph(path).and_then(|mut graph| {
        advance(&mut graph, &Options::default(), "model")?;
        passes::rows(&graph, 0, &cpu::evaluate)
    });
    rows.inspect_err(|error| {
        tracing::debug!("{}: its rows are not joined: {error}", path.display())
    })
    .ok()
}

fn failed(error: ort::Error) -> Error {
    use ort::ErrorCode;
    let why = error.message();
    let has = |text: &str| why.contains(text);
    let kind = match error.code() {
        _ if has("out of memory") || has("bad_alloc") || has("Failed to allocate memory") => {
            ErrorKind::OutOfMemory
        }
        ErrorCode::DeviceReset => ErrorKind::DeviceLost,
        _ if has("CUDA failure") => ErrorKind::DeviceLost,
        ErrorCode::NoSuchFile => ErrorKind::Io,
        ErrorCode::InvalidProtobuf => ErrorKind::ModelParse,
        ErrorCode::InvalidGraph | ErrorCode::NoModel => ErrorKind::ModelParse,
        ErrorCode::NotImplemented => ErrorKind::ModelUnsupported,
        ErrorCode::InvalidArgument => ErrorKind::InvalidInput,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, AT, why.to_owned())
}
