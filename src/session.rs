//! A model made ready to run: prepared once, placed on a backend, checked at every run.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};

use crate::backend::{cpu, wonnx};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Source, infer, specialize, verify};
use crate::inspect::Port;
use crate::model::onnx::{WriteOptions, write};
use crate::passes;
use crate::tensor::{Dim, Fact, Shape, Tensor};

/// A backend by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Wonnx,
    Cpu,
}

impl Provider {
    pub fn name(self) -> &'static str {
        match self {
            Provider::Wonnx => "wonnx",
            Provider::Cpu => "cpu",
        }
    }

    pub fn from_name(name: &str) -> Option<Provider> {
        [Provider::Wonnx, Provider::Cpu]
            .into_iter()
            .find(|provider| provider.name() == name)
    }
}

/// What the host found of a WebGPU adapter.
#[derive(Clone, Debug, Default)]
pub struct Adapter {
    pub present: bool,
    /// A GPU that the CPU plays: SwiftShader, llvmpipe, or `isFallbackAdapter`.
    pub software: bool,
    /// Its name, or why there is none.
    pub description: String,
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In order of preference; `None` lets the engine choose.
    pub providers: Option<Vec<Provider>>,
    /// Refuse a model that the named providers do not take, instead of falling back to `cpu`.
    pub strict: bool,
    pub adapter: Adapter,
    /// Sizes for symbolic dimensions, by name.
    pub free_dimensions: BTreeMap<String, i64>,
}

impl Options {
    /// This provider and no other. Whether there is an adapter shows when the device is opened.
    pub fn only(provider: Provider) -> Options {
        Options {
            providers: Some(vec![provider]),
            strict: true,
            adapter: Adapter {
                present: true,
                ..Adapter::default()
            },
            ..Options::default()
        }
    }
}

/// Where one node runs, and why there.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub node: String,
    pub op: String,
    pub provider: Provider,
    pub reason: String,
}

/// How to run inputs of one shape.
pub enum Plan {
    Cpu,
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
    /// The prepared graph, kept while plans for further shapes may be asked for.
    graph: Option<Graph>,
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
        let inputs = ports(&graph, &graph.inputs);
        passes::prepare(&mut graph, &cpu::evaluate)?;
        let outputs = ports(&graph, &graph.outputs);
        let (candidates, passed_over) = candidates(options);
        let mut session = Session {
            inputs,
            outputs,
            candidates,
            passed_over,
            graph: Some(graph),
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
            session.planned = RefCell::new(Some((sizes, plan)));
        } else if session.candidates == [Provider::Cpu] {
            session.plan(&HashMap::new())?;
        }
        if session.candidates == [Provider::Cpu] {
            session.graph = None;
        }
        Ok(session)
    }

    /// The graph on `cpu`, loaded at the first call.
    fn on_cpu(&self) -> Result<&cpu::CpuModel> {
        let loaded = self.cpu.get_or_init(|| {
            let mut graph = self.graph.clone().ok_or_else(graph_is_gone)?;
            let refused = |graph: &Graph, id| cpu::refusal(graph, id).is_some();
            if passes::expand(&mut graph, &refused)? {
                passes::prepare(&mut graph, &cpu::evaluate)?;
            }
            refuse(&graph, cpu::refusal)?;
            cpu::load(&graph)
        });
        loaded.as_ref().map_err(Error::clone)
    }

    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Port] {
        &self.outputs
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
                Provider::Wonnx => {
                    if let Some(plan) = self.plan_wonnx(sizes, &mut reasons)? {
                        return Ok(plan);
                    }
                }
                Provider::Cpu => match self.on_cpu() {
                    Err(error) => refusal = Some(error),
                    Ok(_) => {
                        if let Some(graph) = &self.graph {
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
        let graph = self.graph.as_ref().ok_or_else(graph_is_gone)?;
        let mut graph = graph.clone();
        let symbols = self.symbols(sizes)?;
        specialize(&mut graph, &|name| symbols.get(name).copied());
        for &input in &graph.inputs.clone() {
            let value = graph.value_mut(input);
            if let Some(sizes) = sizes.get(&*value.name) {
                value.fact.shape = Some(Shape::known(sizes));
            }
        }
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

    /// The sizes that inputs give to the symbols in their declared shapes.
    fn symbols(&self, sizes: &Sizes) -> Result<HashMap<String, i64>> {
        let mut symbols: HashMap<String, (i64, &str)> = HashMap::new();
        for port in &self.inputs {
            let (Some(shape), Some(sizes)) = (&port.fact.shape, sizes.get(&port.name)) else {
                continue;
            };
            let fits = shape.rank() == sizes.len();
            let wrong = || {
                Error::shape(
                    &port.name,
                    format!("expected {shape}, got {}", Shape::known(sizes)),
                )
            };
            if !fits {
                return Err(wrong());
            }
            for (dim, &size) in shape.iter().zip(sizes) {
                let size = i64::try_from(size).map_err(|_| wrong())?;
                match dim {
                    Dim::Size(expected) if *expected != size => return Err(wrong()),
                    Dim::Symbol(name) => {
                        let known = symbols
                            .entry(name.to_string())
                            .or_insert((size, &port.name));
                        if known.0 != size {
                            let why = format!(
                                "dimension {name} is {size} here and {} in input {}",
                                known.0, known.1
                            );
                            return Err(Error::shape(&port.name, why));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(symbols
            .into_iter()
            .map(|(name, (size, _))| (name, size))
            .collect())
    }

    /// Checks names, types and shapes of what a caller feeds, and gives the tensors in the shapes
    /// that the model declares: one element stands for a scalar.
    ///
    /// # Errors
    /// `INVALID_INPUT`, `DTYPE_MISMATCH` or `SHAPE_MISMATCH` naming the input, what was expected
    /// and what was given.
    pub fn check_feeds(&self, feeds: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        let mut checked = Vec::with_capacity(feeds.len());
        for (name, tensor) in feeds {
            let Some(port) = self.inputs.iter().find(|port| port.name == name) else {
                let known: Vec<&str> = self.inputs.iter().map(|port| port.name.as_str()).collect();
                let why = format!("the model has no such input; it has {}", known.join(", "));
                return Err(Error::new(ErrorKind::InvalidInput, name, why));
            };
            if let Some(expected) = port.fact.dtype
                && expected != tensor.dtype()
            {
                let (expected, given) = (expected.long_name(), tensor.dtype().long_name());
                return Err(Error::dtype(
                    name,
                    format!("expected {expected}, got {given}"),
                ));
            }
            let is_scalar = port
                .fact
                .shape
                .as_ref()
                .is_some_and(|shape| shape.rank() == 0);
            let tensor = if is_scalar && tensor.len() == 1 {
                tensor.reshaped(&[])?
            } else {
                tensor
            };
            checked.push((name, tensor));
        }
        for port in &self.inputs {
            if !checked.iter().any(|(name, _)| *name == port.name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    &port.name,
                    "the input is missing",
                ));
            }
        }
        let sizes = checked
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()));
        self.symbols(&sizes.collect())?;
        Ok(checked)
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

    /// Plans, compiles and runs these feeds where the plan says; all outputs by name. For single
    /// runs: what is compiled for the GPU goes when the run is over.
    ///
    /// # Errors
    /// As [`Session::check_feeds`] and [`Session::plan`]; then what the backend finds.
    #[cfg(feature = "wonnx")]
    pub async fn run_once(&self, feeds: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        let feeds = self.check_feeds(feeds)?;
        let sizes = feeds
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()));
        match self.plan(&sizes.collect())? {
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

fn graph_is_gone() -> Error {
    let why = "the graph is gone and a plan is asked for";
    Error::internal("session", why)
}

/// Why wonnx does not take a graph.
#[derive(Default)]
struct Reasons {
    /// label, operator, reason; an empty label speaks of the whole graph.
    refused: Vec<(String, String, String)>,
}

impl Reasons {
    fn first_error(&self) -> Option<Error> {
        let (label, _, why) = self.refused.first()?;
        Some(Error::unsupported(label, why.clone()))
    }

    /// One row for each node of the graph as it runs.
    fn rows(&self, graph: &Graph, provider: Provider, why: Option<&str>) -> Vec<Placement> {
        let order = graph.order().unwrap_or_default();
        let whole = match self.refused.first() {
            Some((label, _, why)) if !label.is_empty() => {
                format!("wonnx takes whole graphs, and not this one: {label}: {why}")
            }
            Some((_, _, why)) => why.clone(),
            None => why.unwrap_or("asked for").to_owned(),
        };
        let rows = order.into_iter().map(|id| {
            let node = graph.node(id);
            let label = node.label();
            let own = self
                .refused
                .iter()
                .find(|(refused, _, _)| *refused == label);
            Placement {
                node: if node.name.is_empty() {
                    label
                } else {
                    node.name.to_string()
                },
                op: node.op.to_string(),
                provider,
                reason: own.map_or_else(|| whole.clone(), |(_, _, why)| why.clone()),
            }
        });
        rows.collect()
    }
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

/// The providers to try, and why one that the caller may expect is not among them.
fn candidates(options: &Options) -> (Vec<Provider>, Option<String>) {
    let adapter = &options.adapter;
    let absent = || format!("no WebGPU adapter: {}", adapter.description);
    let Some(named) = &options.providers else {
        if !adapter.present {
            return (vec![Provider::Cpu], Some(absent()));
        }
        if adapter.software {
            let why = format!("the WebGPU adapter is software: {}", adapter.description);
            return (vec![Provider::Cpu], Some(why));
        }
        return (vec![Provider::Wonnx, Provider::Cpu], None);
    };
    let mut candidates = named.clone();
    if !options.strict && !candidates.contains(&Provider::Cpu) {
        candidates.push(Provider::Cpu);
    }
    let mut passed_over = None;
    if !adapter.present && candidates.contains(&Provider::Wonnx) {
        candidates.retain(|&provider| provider != Provider::Wonnx);
        passed_over = Some(absent());
    }
    (candidates, passed_over)
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

/// Makes constants of inputs that have an initializer: callers see and feed the others.
fn fix_defaults(graph: &mut Graph) {
    let inputs = std::mem::take(&mut graph.inputs);
    for id in inputs {
        let value = graph.value_mut(id);
        match &mut value.source {
            Source::Input { default } if default.is_some() => {
                let tensor = default.take().expect("the guard has seen it");
                value.fact = Fact::of(&tensor);
                value.source = Source::Constant(tensor);
            }
            _ => graph.inputs.push(id),
        }
    }
}

/// Puts the caller's sizes in place of symbolic dimensions.
fn bind_free_dimensions(graph: &mut Graph, sizes: &BTreeMap<String, i64>) -> Result<()> {
    if sizes.is_empty() {
        return Ok(());
    }
    let mut known: Vec<String> = Vec::new();
    for &input in &graph.inputs {
        for dim in graph
            .value(input)
            .fact
            .shape
            .iter()
            .flat_map(|shape| shape.iter())
        {
            if let Dim::Symbol(name) = dim {
                known.push(name.to_string());
            }
        }
    }
    for (name, &size) in sizes {
        let wrong = |why: String| Err(Error::new(ErrorKind::InvalidInput, name, why));
        if !known.contains(name) {
            let known = known.join(", ");
            return wrong(format!(
                "no input has a dimension of this name; there are: {known}"
            ));
        }
        if size < 0 {
            return wrong(format!("{size} is no size"));
        }
    }
    specialize(graph, &|name| sizes.get(name).copied());
    Ok(())
}
