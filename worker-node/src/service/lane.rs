//! The thread where a model's batches run, one after the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::inspect::Port;
use sentinel_inference::schedule::Policy;
use sentinel_inference::session::{Joining, Named, Rows};
use tokio::sync::oneshot;

use super::queue::Queue;
use super::state::Work;
use super::told::told;
use crate::runner::Runner;

/// Graphs are walked by functions that call themselves.
const STACK_BYTES: usize = 16 << 20;

/// What runs batches. It is made in the thread where it stays.
pub trait Engine {
    fn facts(&self) -> Facts;

    /// # Errors
    /// What the model makes of the inputs; after `DEVICE_LOST` another engine is made.
    fn run(&mut self, inputs: Named, outputs: &[String]) -> Result<Named>;
}

/// What is known of a model once it is loaded.
#[derive(Clone, Debug)]
pub struct Facts {
    pub provider: &'static str,
    /// Why it runs there, in one line.
    pub reason: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub rows: Option<Rows>,
}

impl Engine for Runner {
    fn facts(&self) -> Facts {
        Facts {
            provider: self.provider(),
            reason: self.reason().to_owned(),
            inputs: self.inputs().to_vec(),
            outputs: self.outputs().to_vec(),
            rows: self.rows().cloned(),
        }
    }

    fn run(&mut self, inputs: Named, outputs: &[String]) -> Result<Named> {
        Runner::run(self, inputs, outputs)
    }
}

impl Facts {
    pub fn joining(&self) -> Joining {
        match &self.rows {
            Some(rows) => Joining::of(rows),
            None => Joining::alone("it is not known what the model does with rows"),
        }
    }
}

/// Starts the thread and makes the engine there; `make` is called again when an engine is lost.
///
/// # Errors
/// What `make` finds; `INTERNAL` when it panics.
pub async fn open<E: Engine>(
    name: &str,
    policy: Policy,
    mut make: impl FnMut() -> Result<E> + Send + 'static,
) -> Result<(Arc<Queue>, Facts)> {
    let queue = Arc::new(Queue::new(policy));
    let (sender, made) = oneshot::channel();
    let lane = Lane {
        model: format!("model {name}"),
        queue: queue.clone(),
    };
    let run = move || {
        let engine = match lane.guarded(&mut make) {
            Err(error) => return drop(sender.send(Err(error))),
            Ok(engine) => engine,
        };
        let facts = engine.facts();
        let joining = facts.joining();
        // Whoever loads the model may be gone; the queue has no other owner then, and is closed.
        let _ = sender.send(Ok(facts));
        lane.serve(engine, &joining, &mut make);
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let started = thread.name(format!("model {name}")).spawn(run);
    started.map_err(|error| {
        let why = format!("no thread for it: {error}");
        Error::new(ErrorKind::OutOfMemory, format!("model {name}"), why)
    })?;
    let facts = made.await.unwrap_or_else(|_| {
        let why = "its thread ended while it was loaded";
        Err(Error::internal(format!("model {name}"), why))
    })?;
    Ok((queue, facts))
}

/// What happens in the thread.
struct Lane {
    model: String,
    queue: Arc<Queue>,
}

impl Lane {
    /// Runs batches until the queue is closed and empty.
    fn serve<E: Engine>(
        &self,
        mut engine: E,
        joining: &Joining,
        make: &mut impl FnMut() -> Result<E>,
    ) {
        while !self.serve_with(&mut engine, joining) {
            self.queue.lose_lane();
            let made = self.guarded(|| {
                drop(engine);
                make()
            });
            engine = match made {
                Ok(engine) => engine,
                Err(error) => return self.queue.abandon(&told(&error)),
            };
            self.queue.open_lane();
        }
    }

    /// The same with one engine: false where that cannot be used any more.
    fn serve_with<E: Engine>(&self, engine: &mut E, joining: &Joining) -> bool {
        while let Some(work) = self.queue.next_work() {
            let begun = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| run(engine, joining, &work))) {
                Ok(Ok(outputs)) => self.queue.complete(work, begun, outputs),
                Ok(Err(error)) if error.kind != ErrorKind::DeviceLost => {
                    self.queue.fail(&work, &error);
                }
                Ok(Err(error)) => {
                    tracing::warn!(model = self.model, %error, "the device was lost");
                    return false;
                }
                // What an engine was about to write when it panicked is not to be read by others.
                Err(panic) => {
                    self.queue.fail(&work, &self.panicked(&*panic));
                    return false;
                }
            }
        }
        true
    }

    fn guarded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(self.panicked(&*panic)))
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Error {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let why = format!("it panicked: {}", text.unwrap_or("without words"));
        told(&Error::internal(&self.model, why))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.queue.end();
    }
}

/// The outputs of each part.
fn run<E: Engine>(engine: &mut E, joining: &Joining, work: &Work) -> Result<Vec<Named>> {
    let Some(rows) = &work.rows else {
        let parts = work.parts.iter().cloned();
        let runs = parts.map(|inputs| engine.run(inputs, &work.outputs));
        return runs.collect();
    };
    let joined = joining.join(&work.parts)?;
    joining.split(engine.run(joined, &work.outputs)?, rows)
}
