//! A session whose plans run on a WebGPU device.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Session;
use super::concrete::{Key, concrete};
use super::deciding::deciding_inputs;
use super::observe::{self, Observed};
use crate::backend::cpu;
use crate::backend::webgpu::{Device, Executor, Feed, Fetched, Gpu, HostPiece, Loaded, Location};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::inspect::Port;
use crate::passes;
use crate::plan::{MakePlan, Memory, Placement, Plan, plan};
use crate::tensor::{Dim, Tensor};
use crate::trace::{Switch, is_on, tell};

/// Plans for other shapes that stay compiled.
const MAX_PLANS: usize = 8;

/// Constants up to this size stay on the host too: they are shapes and axes, which rules ask for.
const MAX_HOST_BYTES: usize = 4096;

/// What open sizes beside the batch often are: of sequences, of pictures.
const LIKELY_SIZES: &[usize] = &[64, 224, 320, 1];

/// The plans of one model on one device.
pub struct GpuSession<D: Device> {
    executor: Executor<D>,
    /// Prepared for any shape; `None` once the only plan there can be is made.
    graph: RefCell<Option<Graph>>,
    inputs: Vec<Port>,
    /// Inputs whose elements are part of a plan's key.
    deciding: Vec<String>,
    /// The key of the only plan, where nothing is left open.
    only: Option<Key>,
    strict: bool,
    observes: bool,
    /// The latest at the end.
    plans: RefCell<Vec<(Key, Rc<Loaded<D>>)>>,
    timings: RefCell<Vec<NodeTime>>,
    n_planned: Cell<usize>,
}

/// How long one launch took.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTime {
    pub node: String,
    pub op: String,
    pub kernel: &'static str,
    pub elapsed_ns: u64,
}

impl<D: Device> GpuSession<D> {
    /// Makes the graph of a session ready for plans on this device. The session gives its graph
    /// away: weights are to lie in one place only.
    ///
    /// # Errors
    /// What the passes find, which for a prepared graph is nothing new.
    pub fn new(session: &Session, gpu: Rc<Gpu<D>>) -> Result<GpuSession<D>> {
        let mut graph = session.give_graph()?;
        passes::fuse(&mut graph, &cpu::evaluate)?;
        let deciding = deciding_inputs(&graph);
        let fixed = session.inputs.iter().map(|port| {
            let sizes = port.fact.sizes()?;
            Some((port.name.clone(), sizes, None))
        });
        let only = fixed.collect::<Option<Vec<_>>>().map(Key);
        Ok(GpuSession {
            executor: Executor::new(gpu),
            only: only.filter(|_| deciding.is_empty()),
            deciding,
            inputs: session.inputs.clone(),
            strict: session.strict,
            observes: session.observes,
            graph: RefCell::new(Some(graph)),
            plans: RefCell::default(),
            timings: RefCell::default(),
            n_planned: Cell::new(0),
        })
    }

    pub fn gpu(&self) -> &Rc<Gpu<D>> {
        self.executor.gpu()
    }

    /// Plans and compiles ahead of the first run, where the model's inputs have fixed sizes;
    /// returns whether they have.
    ///
    /// # Errors
    /// As [`GpuSession::run`].
    pub async fn compile(&self) -> Result<bool> {
        let Some(key) = &self.only else {
            return Ok(false);
        };
        self.loaded(key.clone()).await?;
        Ok(true)
    }

    /// Runs feeds that [`Session::check`] has accepted; outputs in the order of `fetches`. With
    /// `timed`, [`GpuSession::timings`] then tells how long each launch took.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` and `OUT_OF_MEMORY` when no plan can be made, naming the node;
    /// `DEVICE_LOST`, after which the session needs another device; what running finds.
    pub async fn run(
        &self,
        feeds: HashMap<String, Feed<D>>,
        fetches: &[(&str, Location)],
        timed: bool,
    ) -> Result<Vec<Fetched<D>>> {
        let timed = timed || is_on(Switch::Time);
        let feeds = self.with_deciding_on_host(feeds).await?;
        let loaded = self.loaded(self.key(&feeds)).await?;
        let fetched = self.executor.run(&loaded, &feeds, fetches, timed).await?;
        if timed {
            self.keep_timings(&loaded).await?;
        }
        Ok(fetched)
    }

    /// [`GpuSession::run`] with all outputs on the host.
    ///
    /// # Errors
    /// As [`GpuSession::run`].
    pub async fn run_on_host(
        &self,
        feeds: HashMap<String, Feed<D>>,
        fetches: &[&str],
    ) -> Result<Vec<Tensor>> {
        let fetches: Vec<_> = fetches.iter().map(|&name| (name, Location::Host)).collect();
        let fetched = self.run(feeds, &fetches, false).await?;
        let tensors = fetched.into_iter().map(|fetched| match fetched {
            Fetched::Host(tensor) => tensor,
            Fetched::Gpu { .. } => unreachable!("the host was asked for"),
        });
        Ok(tensors.collect())
    }

    /// Runs and gives every value that a node computes, in the order in which they ran; for
    /// sessions made with [`Options::observes`](super::Options::observes).
    ///
    /// # Errors
    /// As [`GpuSession::run`].
    pub async fn observe(&self, feeds: HashMap<String, Feed<D>>) -> Result<Vec<Observed>> {
        let feeds = self.with_deciding_on_host(feeds).await?;
        let loaded = self.loaded(self.key(&feeds)).await?;
        let plan = loaded.plan();
        let rows = plan.placement.iter();
        let given = rows.flat_map(|row| row.values.iter().map(move |value| (row, value)));
        let is_output = |name: &str| plan.outputs.iter().any(|output| output.name() == name);
        let given: Vec<_> = given.filter(|(_, value)| is_output(value)).collect();
        let fetches: Vec<&str> = given.iter().map(|(_, value)| value.as_str()).collect();
        let tensors = self.run_on_host(feeds, &fetches).await?;
        let observed = given
            .into_iter()
            .zip(tensors)
            .map(|((row, value), tensor)| Observed {
                value: value.clone(),
                node: row.node.clone(),
                op: row.op.clone(),
                provider: row.provider,
                kernel: row.kernel.clone(),
                tensor,
            });
        Ok(observed.collect())
    }

    fn key(&self, feeds: &HashMap<String, Feed<D>>) -> Key {
        let key = self.inputs.iter().filter_map(|port| {
            let feed = feeds.get(&port.name)?;
            let value = match feed {
                Feed::Host(tensor) if self.deciding.contains(&port.name) => Some(tensor.clone()),
                _ => None,
            };
            Some((port.name.clone(), feed.sizes().to_vec(), value))
        });
        Key(key.collect())
    }

    /// Elements that decide are needed before there is a plan.
    async fn with_deciding_on_host(
        &self,
        mut feeds: HashMap<String, Feed<D>>,
    ) -> Result<HashMap<String, Feed<D>>> {
        for name in &self.deciding {
            if let Some(feed @ Feed::Gpu { .. }) = feeds.get(name) {
                let tensor = self.executor.fetch(feed).await?;
                feeds.insert(name.clone(), Feed::Host(tensor));
            }
        }
        Ok(feeds)
    }

    async fn keep_timings(&self, loaded: &Loaded<D>) -> Result<()> {
        let elapsed = self.gpu().device.timings().await?;
        let rows = loaded.launch_rows().zip(elapsed);
        let times = rows.map(|((row, kernel), elapsed_ns)| {
            let Placement { node, op, .. } = &loaded.plan().placement[row];
            NodeTime {
                node: node.clone(),
                op: op.clone(),
                kernel,
                elapsed_ns,
            }
        });
        let times: Vec<NodeTime> = times.collect();
        tell(Switch::Time, || table(&times));
        *self.timings.borrow_mut() = times;
        Ok(())
    }

    async fn loaded(&self, key: Key) -> Result<Rc<Loaded<D>>> {
        let known = {
            let mut plans = self.plans.borrow_mut();
            let idx = plans.iter().position(|(known, _)| *known == key);
            idx.map(|idx| plans.remove(idx).1)
        };
        let loaded = match known {
            Some(loaded) => loaded,
            None => {
                let plan = self.plan(&key)?;
                self.n_planned.set(self.n_planned.get() + 1);
                tell(Switch::Plan, || plan.to_string());
                let loaded = self.executor.load(plan, &load_piece).await?;
                self.let_go();
                Rc::new(loaded)
            }
        };
        let mut plans = self.plans.borrow_mut();
        if plans.len() == MAX_PLANS {
            plans.remove(0);
        }
        plans.push((key, loaded.clone()));
        Ok(loaded)
    }

    /// Gives back the memory of what the GPU has now.
    fn let_go(&self) {
        let mut graph = self.graph.borrow_mut();
        if self.only.is_some() {
            *graph = None;
        }
        let Some(graph) = &mut *graph else { return };
        graph.forget(&|name, tensor| {
            tensor.bytes().len() > MAX_HOST_BYTES && self.executor.holds(name)
        });
        if self.n_planned.get() == 1 {
            graph.detach();
        }
    }

    fn plan(&self, key: &Key) -> Result<Plan> {
        let caps = self.gpu().device.capabilities();
        let gone = || Error::internal("session", "its only plan is made, and another asked for");
        let graph = self.graph.borrow().clone().ok_or_else(gone)?;
        let mut graph = concrete(graph, &self.inputs, key, caps)?;
        if self.observes {
            observe::expose(&mut graph);
        }
        let general = self.graph.borrow();
        let is_shared = |name: &str, tensor: &Tensor| {
            let general = general.as_ref().filter(|_| self.only.is_none());
            let constant = general.and_then(|graph| graph.weight(graph.find(name)?));
            constant.is_some_and(|constant| constant.shares_elements(tensor))
        };
        plan(&MakePlan {
            graph: &graph,
            caps,
            cpu_refusal: &cpu::refusal,
            is_shared: &is_shared,
            strict: self.strict,
        })
    }

    fn latest(&self) -> Option<Rc<Loaded<D>>> {
        self.plans.borrow().last().map(|(_, loaded)| loaded.clone())
    }

    /// Where the nodes run, as of the latest plan. Before the first run of a model with open sizes
    /// this is for sizes that it may have; empty where none of [`LIKELY_SIZES`] fit it.
    pub fn placement(&self) -> Vec<Placement> {
        match self.latest() {
            Some(loaded) => loaded.plan().placement.clone(),
            None => self.likely_placement().unwrap_or_default(),
        }
    }

    fn likely_placement(&self) -> Option<Vec<Placement>> {
        if !self.deciding.is_empty() {
            return None;
        }
        let plans = LIKELY_SIZES.iter().filter_map(|&size| {
            let mut symbols: HashMap<Arc<str>, usize> = HashMap::new();
            let key = self.inputs.iter().map(|port| {
                let dims = port.fact.shape.as_ref()?.iter().enumerate();
                let sizes = dims.map(|(axis, dim)| {
                    // The first axis is the batch.
                    let likely = if axis == 0 { 1 } else { size };
                    match dim {
                        Dim::Symbol(name) => *symbols.entry(name.clone()).or_insert(likely),
                        dim => dim.size().unwrap_or(likely),
                    }
                });
                Some((port.name.clone(), sizes.collect(), None))
            });
            self.plan(&Key(key.collect::<Option<_>>()?)).ok()
        });
        plans.map(|plan| plan.placement).next()
    }

    /// The latest plan as text.
    pub fn plan_text(&self) -> String {
        let latest = self.latest();
        latest.map_or_else(String::new, |loaded| loaded.plan().to_string())
    }

    /// GPU memory of the latest plan.
    pub fn memory(&self) -> Memory {
        let latest = self.latest();
        latest.map_or_else(Memory::default, |loaded| loaded.plan().memory())
    }

    /// How many plans were made so far.
    pub fn n_planned(&self) -> usize {
        self.n_planned.get()
    }

    /// How long each launch of the latest timed run took; empty where the device cannot tell.
    pub fn timings(&self) -> Vec<NodeTime> {
        self.timings.borrow().clone()
    }
}

/// One line for each launch, in the order they ran.
fn table(times: &[NodeTime]) -> String {
    let total: u64 = times.iter().map(|time| time.elapsed_ns).sum();
    let lines = times.iter().map(|time| {
        let NodeTime {
            node,
            op,
            kernel,
            elapsed_ns,
        } = time;
        let micros = *elapsed_ns as f64 / 1e3;
        let share = 100.0 * *elapsed_ns as f64 / total.max(1) as f64;
        format!("{micros:10.1} us {share:5.1} %  {kernel:24} {op} {node}\n")
    });
    lines.collect::<String>() + &format!("{:10.1} us in all\n", total as f64 / 1e3)
}

struct CpuPiece {
    model: cpu::CpuModel,
}

impl HostPiece for CpuPiece {
    fn run(&self, feeds: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>> {
        self.model.run(feeds, fetches)
    }
}

fn load_piece(graph: &Graph) -> Result<Box<dyn HostPiece>> {
    Ok(Box::new(CpuPiece {
        model: cpu::load(graph)?,
    }))
}
