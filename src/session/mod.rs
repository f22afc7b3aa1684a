//! A model made ready to run: prepared once, placed on a backend, checked at every run.

mod bind;
mod check;
mod concrete;
mod deciding;
mod gpu;
mod joining;
mod observe;
mod options;
mod reasons;

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
use crate::backend::webgpu::{
    Feed, Gpu,
    native::{AdapterChoice, NativeDevice},
};
use crate::backend::{cpu, wonnx};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, infer, text, verify};
use crate::inspect::Port;
use crate::kernel::Capabilities;
use crate::model::onnx::{WriteOptions, write};
use crate::passes;
use crate::plan::{MakePlan, plan};
use crate::tensor::{DType, Shape, Tensor};
use crate::trace::{Switch, tell};

use bind::{bind_free_dimensions, fix_defaults};
use reasons::Reasons;

pub use crate::passes::{Batch, Rows};
pub use crate::plan::{Placement, Provider};
pub use check::{check, check_feeds};
pub use gpu::{GpuSession, NodeTime};
pub use joining::{Joining, Key, Mode, Named, Signature};
pub use observe::Observed;
pub use options::{Adapter, Options};

/// How to run inputs of one shape.
pub enum Plan {
    Cpu,
    /// By a [`GpuSession`].
    Webgpu,
    /// The graph as wonnx takes it: static shapes, constants in place.
    Wonnx {
        model: Vec<u8>,
    },
}

pub struct Session {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    candidates: Vec<Provider>,
    /// Why a provider that the caller may expect is not among the candidates.
    passed_over: Option<String>,
    strict: bool,
    observes: bool,
    rows: Option<Rows>,
    /// The prepared graph, kept while plans for further shapes may be asked for.
    graph: RefCell<Option<Graph>>,
    /// The graph on `cpu`, or why it is not there; made when a plan comes to it.
    cpu: OnceCell<Result<cpu::CpuModel>>,
    /// What was planned last for wonnx and not yet asked for.
    planned: RefCell<Option<(Sizes, Plan)>>,
    placement: RefCell<Vec<Placement>>,
}

/// Sizes of inputs, by name.
pub type Sizes = HashMap<String, Vec<usize>>;

impl Session {
    /// Prepares a graph and chooses where it runs.
    ///
    /// # Errors
    /// `MODEL_PARSE`, `SHAPE_MISMATCH` or `DTYPE_MISMATCH` for a model that is wrong in itself;
    /// `MODEL_UNSUPPORTED` naming the operator when no provider takes it; `INVALID_INPUT` for an
    /// unknown dimension name.
    pub fn create(mut graph: Graph, options: &Options) -> Result<Session> {
        verify(&graph)?;
        fix_defaults(&mut graph);
        bind_free_dimensions(&mut graph, &options.free_dimensions)?;
        let rows = rows(&mut graph, options)?;
        let inputs = ports(&graph, &graph.inputs);
        tell(Switch::Graph, || text::print_short(&graph));
        passes::prepare(&mut graph, &cpu::evaluate)?;
        tell(Switch::Passes, || text::print_short(&graph));
        let outputs = ports(&graph, &graph.outputs);
        let (candidates, passed_over) = options::candidates(options);
        let session = Session {
            inputs,
            outputs,
            candidates,
            passed_over,
            strict: options.strict,
            observes: options.observes,
            rows,
            graph: RefCell::new(Some(graph)),
            cpu: OnceCell::new(),
            planned: RefCell::default(),
            placement: RefCell::default(),
        };
        let fixed = |port: &Port| port.fact.shape.as_ref().and_then(Shape::sizes);
        let sizes: Option<Vec<Vec<usize>>> = session.inputs.iter().map(fixed).collect();
        if let Some(sizes) = sizes {
            let names = session.inputs.iter().map(|port| port.name.clone());
            let sizes: Sizes = names.zip(sizes).collect();
            let plan = session.plan(&sizes)?;
            session.planned.replace(Some((sizes, plan)));
        } else if session.candidates == [Provider::Cpu] {
            session.plan(&HashMap::new())?;
        }
        // What is observed is told in the order of the graph's nodes.
        if session.candidates == [Provider::Cpu] && !session.observes {
            session.graph.take();
        }
        Ok(session)
    }

    /// The graph on `cpu`, loaded at the first call.
    fn on_cpu(&self) -> Result<&cpu::CpuModel> {
        let loaded = self.cpu.get_or_init(|| {
            let mut graph = self.graph()?;
            let refused = |graph: &Graph, id| cpu::refusal(graph, id).is_some();
            if passes::expand(&mut graph, &refused)? {
                passes::prepare(&mut graph, &cpu::evaluate)?;
            }
            refuse(&graph, cpu::refusal)?;
            if self.observes {
                observe::expose(&mut graph);
            }
            cpu::load(&graph)
        });
        loaded.as_ref().map_err(Error::clone)
    }

    /// The prepared graph.
    fn graph(&self) -> Result<Graph> {
        self.graph.borrow().clone().ok_or_else(graph_is_gone)
    }

    /// The prepared graph; no other plan is made after that.
    fn give_graph(&self) -> Result<Graph> {
        self.graph.take().ok_or_else(graph_is_gone)
    }

    /// The provider that is asked first.
    pub fn preferred(&self) -> Provider {
        self.candidates.first().copied().unwrap_or(Provider::Cpu)
    }

    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Which inputs may be joined and run at once; for sessions made with [`Options::batch_axis`].
    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }

    /// Where the nodes run for the shapes planned last; empty while that depends on the inputs.
    pub fn placement(&self) -> Vec<Placement> {
        self.placement.borrow().clone()
    }

    /// Chooses the provider for inputs of these sizes, by input name.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` with the reasons of every provider.
    pub fn plan(&self, sizes: &Sizes) -> Result<Plan> {
        if let Some((planned, plan)) = self.planned.take()
            && planned == *sizes
        {
            return Ok(plan);
        }
        let mut reasons = Reasons::default();
        let mut refusal = None;
        for provider in &self.candidates {
            match provider {
                Provider::Webgpu => return Ok(Plan::Webgpu),
                Provider::Wonnx => {
                    if let Some(plan) = self.plan_wonnx(sizes, &mut reasons)? {
                        return Ok(plan);
                    }
                }
                Provider::Cpu => match self.on_cpu() {
                    Err(error) => refusal = Some(error),
                    Ok(_) => {
                        if let Some(graph) = &*self.graph.borrow() {
                            let why = self.passed_over.as_deref();
                            *self.placement.borrow_mut() = reasons.rows(graph, Provider::Cpu, why);
                        }
                        return Ok(Plan::Cpu);
                    }
                },
            }
        }
        let refusal = refusal.or_else(|| reasons.first_error());
        Err(refusal.unwrap_or_else(|| {
            let why = self.passed_over.clone();
            Error::unsupported(
                "session",
                why.unwrap_or_else(|| "no execution provider".into()),
            )
        }))
    }

    fn plan_wonnx(&self, sizes: &Sizes, reasons: &mut Reasons) -> Result<Option<Plan>> {
        let mut graph = self.graph()?;
        bind::bind_sizes(&mut graph, &self.inputs, sizes)?;
        passes::prepare(&mut graph, &cpu::evaluate)?;
        passes::lower_for_wonnx(&mut graph, &cpu::evaluate)?;
        for (id, node) in graph.nodes() {
            if let Some(why) = wonnx::refusal(&graph, id) {
                reasons
                    .refused
                    .push((node.label(), node.op.to_string(), why));
            }
        }
        if let Some(why) = wonnx::graph_refusal(&graph) {
            reasons.refused.push((String::new(), String::new(), why));
        }
        if !reasons.refused.is_empty() {
            return Ok(None);
        }
        // wonnx reads 64-bit integers nowhere else.
        let options = WriteOptions {
            listed_i64: true,
            ..WriteOptions::default()
        };
        let model = write(&graph, &options)?.model;
        let why = "wonnx computes every operator of the graph";
        *self.placement.borrow_mut() = reasons.rows(&graph, Provider::Wonnx, Some(why));
        Ok(Some(Plan::Wonnx { model }))
    }

    /// [`check`] for the inputs of this model.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check<'a>(
        &self,
        feeds: impl Iterator<Item = (&'a str, DType, &'a [usize])>,
    ) -> Result<Sizes> {
        check(&self.inputs, feeds)
    }

    /// [`check_feeds`] for the inputs of this model.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check_feeds(&self, feeds: Named) -> Result<Named> {
        check_feeds(&self.inputs, feeds)
    }

    /// Runs on the CPU what [`Session::plan`] placed there; outputs in the order of `fetches`.
    ///
    /// # Errors
    /// As [`Session::check_feeds`]; then what the backend finds, naming the node.
    pub fn run(&self, feeds: Vec<(String, Tensor)>, fetches: &[&str]) -> Result<Vec<Tensor>> {
        let feeds = self.check_feeds(feeds)?;
        let cpu = self.on_cpu()?;
        let feeds: Vec<(&str, &Tensor)> =
            feeds.iter().map(|(name, x)| (name.as_str(), x)).collect();
        cpu.run(&feeds, fetches)
    }

    /// Runs on the CPU and gives every value that a node computes, in the order of the nodes; for
    /// sessions made with [`Options::observes`].
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn observe(&self, feeds: Vec<(String, Tensor)>) -> Result<Vec<Observed>> {
        let feeds = self.check_feeds(feeds)?;
        let graph = self.graph()?;
        let cpu = self.on_cpu()?;
        let feeds: Vec<(&str, &Tensor)> =
            feeds.iter().map(|(name, x)| (name.as_str(), x)).collect();
        let known: HashSet<&str> = cpu.output_names().collect();
        let mut given = Vec::new();
        for id in graph.order()? {
            let node = graph.node(id);
            let names = node.outputs.iter().flatten();
            let names = names.map(|&value| &*graph.value(value).name);
            let names = names.filter(|name| known.contains(name));
            given.extend(names.map(|name| (node, name)));
        }
        let names: Vec<&str> = given.iter().map(|&(_, name)| name).collect();
        let tensors = cpu.run(&feeds, &names)?;
        let observed = given
            .into_iter()
            .zip(tensors)
            .map(|((node, name), tensor)| Observed {
                value: name.to_owned(),
                node: node.name.to_string(),
                op: node.op.to_string(),
                provider: Provider::Cpu,
                kernel: String::new(),
                tensor,
            });
        Ok(observed.collect())
    }

    /// Plans, compiles and runs these feeds where the plan says; all outputs by name. For single
    /// runs: what is compiled for the GPU goes when the run is over.
    ///
    /// # Errors
    /// As [`Session::check_feeds`] and [`Session::plan`]; then what the backend finds.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub async fn run_once(&self, feeds: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        let feeds = self.check_feeds(feeds)?;
        let sizes = feeds
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()));
        match self.plan(&sizes.collect())? {
            Plan::Webgpu => {
                let device = NativeDevice::open(&AdapterChoice::from_env()).await?;
                let session = GpuSession::new(self, Gpu::new(device))?;
                let feeds = feeds.into_iter().map(|(name, x)| (name, Feed::Host(x)));
                let names: Vec<&str> = self.outputs.iter().map(|port| &*port.name).collect();
                let outputs = session.run_on_host(feeds.collect(), &names).await?;
                *self.placement.borrow_mut() = session.placement();
                let names = names.into_iter().map(str::to_owned);
                Ok(names.zip(outputs).collect())
            }
            #[cfg(not(feature = "wonnx"))]
            Plan::Wonnx { .. } => Err(Error::unsupported("wonnx", "this build is without it")),
            #[cfg(feature = "wonnx")]
            Plan::Wonnx { model } => {
                let session = wonnx::WonnxSession::create(&model).await?;
                session.run(feeds).await
            }
            Plan::Cpu => {
                let names: Vec<&str> = self.outputs.iter().map(|port| &*port.name).collect();
                let tensors = self.run(feeds, &names)?;
                let names = names.into_iter().map(str::to_owned);
                Ok(names.zip(tensors).collect())
            }
        }
    }
}

/// Brings a graph as far as a stage: `model` leaves it as read, `graph` infers shapes and types,
/// `passes` prepares it.
///
/// # Errors
/// As [`Session::create`]; `INVALID_INPUT` for another stage.
pub fn advance(graph: &mut Graph, options: &Options, stage: &str) -> Result<()> {
    fix_defaults(graph);
    bind_free_dimensions(graph, &options.free_dimensions)?;
    match stage {
        "model" => Ok(()),
        "graph" => infer(graph),
        "passes" => passes::prepare(graph, &cpu::evaluate),
        _ => {
            let why = "a stage is model, graph or passes";
            Err(Error::new(ErrorKind::InvalidInput, stage, why))
        }
    }
}

/// The plan for a device without anything special, as text; symbols take the caller's sizes.
///
/// # Errors
/// As [`Session::create`]; `INVALID_INPUT` when a size is left open.
pub fn plan_text(graph: Graph, options: &Options) -> Result<String> {
    let session = Session::create(graph, options)?;
    let mut graph = session.give_graph()?;
    passes::fuse(&mut graph, &cpu::evaluate)?;
    let key = session.inputs.iter().map(|port| {
        let sizes = port.fact.sizes().ok_or_else(|| {
            let shape = port
                .fact
                .shape
                .as_ref()
                .map_or_else(|| "?".into(), Shape::to_string);
            let why = format!("a plan is for known sizes, and this input is {shape}");
            Error::new(ErrorKind::InvalidInput, &port.name, why)
        })?;
        Ok((port.name.clone(), sizes, None))
    });
    let key = concrete::Key(key.collect::<Result<_>>()?);
    let caps = Capabilities::default();
    let graph = concrete::concrete(graph, &session.inputs, &key, &caps)?;
    let plan = plan(&MakePlan {
        graph: &graph,
        caps: &caps,
        cpu_refusal: &cpu::refusal,
        is_shared: &|_, _| false,
        strict: session.strict,
    })?;
    Ok(plan.to_string())
}

/// What the model does with rows along the axis of the options, after it was made to take any
/// number of them where they say so.
fn rows(graph: &mut Graph, options: &Options) -> Result<Option<Rows>> {
    let Some(axis) = options.batch_axis.or(options.rebatch.then_some(0)) else {
        return Ok(None);
    };
    if !options.rebatch {
        return passes::rows(graph, axis, &cpu::evaluate).map(Some);
    }
    let rows = passes::rebatch(graph, axis, &cpu::evaluate)?;
    match &rows.joinable {
        Err(why) => Err(Error::unsupported("rebatch", why.clone())),
        Ok(()) => Ok(Some(rows)),
    }
}

fn graph_is_gone() -> Error {
    let why = "the graph is gone and a plan is asked for";
    Error::internal("session", why)
}

/// # Errors
/// `MODEL_UNSUPPORTED` naming the first node that the backend does not take.
fn refuse(
    graph: &Graph,
    refusal: fn(&Graph, crate::graph::NodeId) -> Option<String>,
) -> Result<()> {
    for (id, node) in graph.nodes() {
        if let Some(why) = refusal(graph, id) {
            return Err(Error::unsupported(node.label(), why));
        }
    }
    Ok(())
}

fn ports(graph: &Graph, values: &[crate::graph::ValueId]) -> Vec<Port> {
    let port = |&value| {
        let value = graph.value(value);
        Port {
            name: value.name.to_string(),
            fact: value.fact.clone(),
        }
    };
    values.iter().map(port).collect()
}
