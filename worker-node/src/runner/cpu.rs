//! The engine's `cpu` backend, with all cores.

use std::thread::available_parallelism;

use sentinel_inference::error::Result;
use sentinel_inference::session::{Named, Provider, Session};
use sentinel_inference::tensor::Tensor;

use super::{Engine, Model, OpenModel, Runner, session};

struct OnCpu(Session);

impl Engine for OnCpu {
    fn run(&mut self, feeds: Named, fetches: &[&str]) -> Result<Vec<Tensor>> {
        self.0.run(feeds, fetches)
    }
}

pub fn open(open: &OpenModel) -> Result<Runner> {
    let session = session(open, Provider::Cpu)?;
    let n_threads = available_parallelism().map_or(1, usize::from);
    Ok(Runner {
        model: Model::of(&session),
        provider: Provider::Cpu.name(),
        reason: format!("{n_threads} threads"),
        engine: Box::new(OnCpu(session)),
    })
}
