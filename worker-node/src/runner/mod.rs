//! Where a model runs: on ONNX Runtime, on a GPU, on the CPU.

mod auto;
mod cpu;
mod onnxruntime;
#[cfg(test)]
mod tests;
mod webgpu;
mod wonnx;

use std::path::PathBuf;

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::inspect::Port;
use sentinel_inference::session::{Named, Options, Provider, Rows, Session};
use sentinel_inference::tensor::Tensor;

pub use onnxruntime::library;

use crate::run::graph;
use crate::service::ProviderChoice;

impl ProviderChoice {
    const ALL: [(&str, ProviderChoice); 5] = [
        ("auto", ProviderChoice::Auto),
        ("webgpu", ProviderChoice::Webgpu),
        ("wonnx", ProviderChoice::Wonnx),
        ("cpu", ProviderChoice::Cpu),
        ("onnxruntime", ProviderChoice::Onnxruntime),
    ];

    /// # Errors
    /// With the names that there are.
    pub fn parse(name: &str) -> Result<ProviderChoice, String> {
        let found = ProviderChoice::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let known = ProviderChoice::ALL.map(|(known, _)| known);
            format!("expected one of {}", known.join(", "))
        })
    }
}

/// Which model, and where.
#[derive(Clone, Debug)]
pub struct OpenModel {
    /// An .onnx file; its external data lies beside it.
    pub path: PathBuf,
    pub provider: ProviderChoice,
    /// Words that the name of a GPU adapter must have.
    pub adapter: Option<String>,
}

/// A model ready to run, in the thread that opened it. After `DEVICE_LOST` it runs no more; another one has to be opened.
pub struct Runner {
    model: Model,
    provider: &'static str,
    reason: String,
    engine: Box<dyn Engine>,
}

/// What the provider makes of the model, before it runs.
struct Model {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    rows: Option<Rows>,
}

/// What computes.
trait Engine {
    /// Checks the feeds and runs; outputs in the order of `fetches`, which are names of outputs.
    fn run(&mut self, feeds: Named, fetches: &[&str]) -> Result<Vec<Tensor>>;
}

/// Whether this machine has the provider, before any model is opened there.
///
/// # Errors
/// `MODEL_UNSUPPORTED` with what was looked for.
pub fn check(provider: ProviderChoice, adapter: Option<&str>) -> Result<()> {
    match provider {
        ProviderChoice::Auto | ProviderChoice::Cpu => Ok(()),
        ProviderChoice::Onnxruntime => library().map(drop),
        ProviderChoice::Webgpu | ProviderChoice::Wonnx => webgpu::device(adapter).map(drop),
    }
}

impl Runner {
    /// # Errors
    /// `IO`; what the model's reader and the session find; `MODEL_UNSUPPORTED` when the machine lacks the provider, or the
    /// provider does not take the model.
    pub fn open(open: &OpenModel) -> Result<Runner> {
        match open.provider {
            ProviderChoice::Auto => auto::open(open),
            ProviderChoice::Onnxruntime => onnxruntime::open(open),
            ProviderChoice::Webgpu => webgpu::open(open),
            ProviderChoice::Wonnx => wonnx::open(open),
            ProviderChoice::Cpu => cpu::open(open),
        }
    }

    /// Runs the model; outputs in the order of `fetches`, or all of them where that is empty.
    ///
    /// # Errors
    /// `INVALID_INPUT`, `DTYPE_MISMATCH` or `SHAPE_MISMATCH` for feeds and fetches that are not the model's; what running
    /// finds.
    pub fn run(&mut self, feeds: Named, fetches: &[String]) -> Result<Named> {
        let outputs = &self.model.outputs;
        let known = outputs.iter().map(|port| port.name.as_str());
        let known: Vec<&str> = known.collect();
        for fetch in fetches {
            if !known.contains(&fetch.as_str()) {
                let why = format!("the model has no such output; it has {}", known.join(", "));
                return Err(Error::new(ErrorKind::InvalidInput, fetch, why));
            }
        }
        let fetches = match fetches {
            [] => known,
            _ => fetches.iter().map(String::as_str).collect(),
        };
        let tensors = self.engine.run(feeds, &fetches)?;
        let names = fetches.into_iter().map(str::to_owned);
        Ok(names.zip(tensors).collect())
    }

    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Why it runs there and on what, in one line without paths.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn inputs(&self) -> &[Port] {
        &self.model.inputs
    }

    pub fn outputs(&self) -> &[Port] {
        &self.model.outputs
    }

    /// Which inputs may be joined and run at once; `None` where the engine cannot tell.
    pub fn rows(&self) -> Option<&Rows> {
        self.model.rows.as_ref()
    }
}

impl Model {
    fn of(session: &Session) -> Model {
        Model {
            inputs: session.inputs().to_vec(),
            outputs: session.outputs().to_vec(),
            rows: session.rows().cloned(),
        }
    }
}

/// A session of the engine for this provider.
fn session(open: &OpenModel, provider: Provider) -> Result<Session> {
    let options = Options {
        // wonnx takes whole models or none; only the engine's own kernels share one with the cpu.
        strict: provider != Provider::Webgpu,
        batch_axis: Some(0),
        ..Options::only(provider)
    };
    Session::create(graph(&open.path)?, &options)
}
