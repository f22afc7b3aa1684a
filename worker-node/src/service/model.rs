//! A version of a model that is loaded.

use std::sync::Arc;
use std::time::Instant;

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::inspect::Port;
use sentinel_inference::schedule::Policy;
use sentinel_inference::session::{Batch, Joining, Named, check_feeds};
use sentinel_inference::tensor::Dim;
use sentinel_inference::wire::{ModelOf, PortOf};

use super::lane::{self, Facts};
use super::queue::{Pending, Queue};
use super::repository::ModelFile;
use super::state::{Refused, Request};
use super::{ModelStatistics, ServiceOptions};
use crate::runner::{OpenModel, Runner};

/// How often a request may lose the device that runs it.
const MAX_ATTEMPTS: u32 = 2;

pub struct Model {
    pub name: String,
    pub version: u64,
    pub file: ModelFile,
    pub provider: &'static str,
    /// Why it runs there.
    pub reason: String,
    joining: Joining,
    /// As they are declared.
    inputs: Vec<Port>,
    /// As they are accepted.
    feeds: Vec<Port>,
    outputs: Vec<Port>,
    queue: Arc<Queue>,
}

/// A request to a model, as its sender has made it.
pub struct Unchecked {
    pub inputs: Named,
    /// All of them, where it is empty.
    pub outputs: Vec<String>,
    pub deadline: Option<Instant>,
    pub priority: i32,
}

pub enum Submitted {
    Pending(Pending),
    /// The model is given back: another one may be in its place.
    Closed(Unchecked),
}

impl Model {
    /// # Errors
    /// What the engine finds.
    pub async fn open(
        name: &str,
        version: u64,
        file: ModelFile,
        options: &ServiceOptions,
    ) -> Result<Model> {
        let policy = Policy {
            batch_size: options.batch_size,
            max_delay: options.max_delay,
            learns_to_wait: true,
            max_queue: options.max_queue_size,
            max_attempts: MAX_ATTEMPTS,
            goal: None,
        };
        let model = OpenModel {
            path: file.path.clone(),
            provider: options.provider,
            adapter: options.adapter.clone(),
        };
        let (queue, facts) = lane::open(name, policy, move || Runner::open(&model)).await?;
        Ok(Model {
            name: name.to_owned(),
            version,
            file,
            provider: facts.provider,
            joining: facts.joining(),
            feeds: feeds(&facts),
            reason: facts.reason,
            inputs: facts.inputs,
            outputs: facts.outputs,
            queue,
        })
    }

    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Puts a request into the queue, after its inputs have been held against the model's.
    ///
    /// # Errors
    /// `INVALID_INPUT`, `SHAPE_MISMATCH` and `DTYPE_MISMATCH` naming the input or output; `QUEUE_FULL`;
    /// `WORKER_UNAVAILABLE` when nothing runs here any more.
    pub fn submit(&self, request: Unchecked) -> Result<Submitted> {
        let inputs = check_feeds(&self.feeds, request.inputs)?;
        let outputs = self.names(request.outputs)?;
        let submitted = self.queue.submit(Request {
            signature: self.joining.signature(&inputs),
            inputs,
            outputs,
            deadline: request.deadline,
            priority: request.priority,
        });
        let refused = |kind, why| Err(Error::new(kind, format!("model {}", self.name), why));
        match submitted {
            Ok(pending) => Ok(Submitted::Pending(pending)),
            Err(Refused::Closed(request)) => Ok(Submitted::Closed(Unchecked {
                inputs: request.inputs,
                outputs: request.outputs,
                deadline: request.deadline,
                priority: request.priority,
            })),
            Err(Refused::Full(n_waiting)) => {
                let why = format!("{n_waiting} requests wait, and no more may");
                refused(ErrorKind::QueueFull, why)
            }
            Err(Refused::Broken(error)) => {
                let why = format!("it is not ready any more: {error}");
                refused(ErrorKind::WorkerUnavailable, why)
            }
        }
    }

    /// The outputs that are wanted.
    fn names(&self, wanted: Vec<String>) -> Result<Vec<String>> {
        let mut known = self.outputs.iter().map(|port| &port.name);
        if wanted.is_empty() {
            return Ok(known.cloned().collect());
        }
        let invalid = |name: &str, why: String| Err(Error::new(ErrorKind::InvalidInput, name, why));
        for (idx, name) in wanted.iter().enumerate() {
            if wanted[..idx].contains(name) {
                return invalid(name, "the output is asked for twice".into());
            }
            if !known.clone().any(|known| known == name) {
                let known: Vec<&str> = known.by_ref().map(String::as_str).collect();
                let known = known.join(", ");
                return invalid(
                    name,
                    format!("the model has no such output; it has {known}"),
                );
            }
        }
        Ok(wanted)
    }

    /// As clients see it.
    pub fn told(&self, state: &str) -> ModelOf {
        let ports = |ports: &[Port]| ports.iter().map(PortOf::new).collect();
        ModelOf {
            name: self.name.clone(),
            version: self.version.to_string(),
            sha256: self.file.sha256.clone(),
            state: state.to_owned(),
            reason: self.reason.clone(),
            provider: self.provider.to_owned(),
            inputs: ports(&self.inputs),
            outputs: ports(&self.outputs),
        }
    }

    pub fn statistics(&self) -> ModelStatistics {
        let (snapshot, latencies, in_flight) = self.queue.statistics();
        ModelStatistics {
            name: self.name.clone(),
            version: self.version.to_string(),
            provider: self.provider,
            snapshot,
            latencies,
            in_flight,
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Where a batch of a fixed size is filled up, requests may have fewer rows than the model declares.
fn feeds(facts: &Facts) -> Vec<Port> {
    let mut feeds = facts.inputs.clone();
    let Some(rows) = &facts.rows else {
        return feeds;
    };
    if rows.joinable.is_err() || !matches!(rows.batch, Batch::Fixed(size) if size > 1) {
        return feeds;
    }
    let axis_of = |name: &str| rows.inputs.iter().find(|(input, _)| input == name)?.1;
    for port in &mut feeds {
        if let (Some(shape), Some(axis)) = (&mut port.fact.shape, axis_of(&port.name)) {
            shape.0[axis] = Dim::symbol("rows of a request");
        }
    }
    feeds
}
