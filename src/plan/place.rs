//! From a graph with known shapes to a plan.

use std::collections::{HashMap, HashSet};

use super::memory::{Life, assign};
use super::order::runs;
use super::{Buffer, GpuValue, Output, Piece, Placed, Placement, Plan, Provider, Step, Weight};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, NodeId, Source, ValueId};
use crate::kernel::{Call, Capabilities, Dispatch, Operand, Storage};
use crate::ops;
use crate::tensor::{DType, Fact, Kind, Tensor};

/// What a plan is made from.
pub struct MakePlan<'a> {
    /// Inferred; sizes that only running tells keep their nodes from the GPU.
    pub graph: &'a Graph,
    pub caps: &'a Capabilities,
    /// Why `cpu` does not take a node.
    pub cpu_refusal: &'a dyn Fn(&Graph, NodeId) -> Option<String>,
    /// Whether every plan of the session has a constant.
    pub is_shared: &'a dyn Fn(&str, &Tensor) -> bool,
    /// Refuse a graph that is not whole on the GPU.
    pub strict: bool,
}

/// The kernels of one node.
///
/// # Errors
/// `MODEL_UNSUPPORTED` when there are none, `OUT_OF_MEMORY` when a tensor is larger than the
/// device's limits.
pub fn lower(graph: &Graph, id: NodeId, caps: &Capabilities) -> Result<Dispatch> {
    let node = graph.node(id);
    let refused = |why: String| Error::unsupported(node.label(), why);
    if !node.bodies.is_empty() {
        return Err(refused("control flow runs on the cpu".into()));
    }
    let def = ops::find(&node.op);
    let def = def.ok_or_else(|| refused("an unknown operator".into()))?;
    let fact = |value: &Option<ValueId>| value.map(|value| &graph.value(value).fact);
    let inputs: Vec<Option<&Fact>> = node.inputs.iter().map(fact).collect();
    let outputs: Vec<Option<&Fact>> = node.outputs.iter().map(fact).collect();
    for fact in inputs.iter().chain(&outputs).flatten() {
        check_fact(fact, caps).map_err(|error| error.within(node.label()))?;
    }
    let constant = |value: &Option<ValueId>| graph.weight((*value)?);
    let constants: Vec<_> = node.inputs.iter().map(constant).collect();
    let call = Call {
        caps,
        inputs: &inputs,
        constants: &constants,
        outputs: &outputs,
    };
    let op = (def.parse)(&node.attrs, graph.opset(def.domain))?;
    let dispatch = op.dispatch(&call).map_err(|why| refused(why.into()))?;
    if let Some(input_idx) = dispatch.view_of {
        call.input(input_idx).map_err(|why| refused(why.into()))?;
    }
    for &bytes in &dispatch.scratch {
        check_bytes(bytes, caps).map_err(|error| error.within(node.label()))?;
    }
    for launch in &dispatch.launches {
        let (bound, max) = (launch.bindings.len(), caps.max_storage_buffers as usize);
        if bound > max {
            return Err(refused(format!(
                "{bound} buffers at once, the device has {max}"
            )));
        }
        if launch.grid.iter().any(|&n| n > caps.max_workgroups) {
            return Err(refused(format!("a grid of {:?} workgroups", launch.grid)));
        }
    }
    Ok(dispatch)
}

fn check_fact(fact: &Fact, caps: &Capabilities) -> Result<()> {
    if fact.kind != Kind::Tensor {
        return Err(Error::unsupported("", "it is about sequences or optionals"));
    }
    let unknown = || Error::unsupported("", "a size is known only when the model runs");
    let sizes = fact.sizes().ok_or_else(unknown)?;
    let storage = fact.dtype.and_then(|dtype| Storage::of(dtype, caps));
    // Strings and doubles may still be operands that no kernel binds.
    let storage = storage.unwrap_or(Storage::F32);
    let n_elems = sizes
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    let n_elems = n_elems.filter(|&n| n <= u32::MAX as usize / 2);
    let too_many = || Error::new(ErrorKind::OutOfMemory, "", "a tensor of 2^31 elements");
    check_bytes(storage.size_bytes(n_elems.ok_or_else(too_many)?), caps)
}

fn check_bytes(bytes: u64, caps: &Capabilities) -> Result<()> {
    let max = caps.max_binding_bytes.min(caps.max_buffer_bytes);
    if bytes > max {
        let why = format!("a tensor of {bytes} bytes, the device binds {max}");
        return Err(Error::new(ErrorKind::OutOfMemory, "", why));
    }
    Ok(())
}

/// Places every node and every value.
///
/// # Errors
/// `MODEL_UNSUPPORTED` naming a node that neither backend takes or, when strict, one that the GPU
/// does not take; `OUT_OF_MEMORY` when that is for its size.
pub fn plan(make: &MakePlan) -> Result<Plan> {
    let graph = make.graph;
    let mut dispatches = HashMap::new();
    let mut reasons = HashMap::new();
    for id in graph.order()? {
        match lower(graph, id, make.caps) {
            Ok(dispatch) => {
                dispatches.insert(id, dispatch);
            }
            Err(error) if make.strict => return Err(error),
            Err(error) => {
                if let Some(why) = (make.cpu_refusal)(graph, id) {
                    let why = format!("webgpu: {}; {why}", error.why);
                    return Err(Error::unsupported(graph.node(id).label(), why));
                }
                reasons.insert(id, error.why);
            }
        }
    }
    let mut planner = Planner {
        graph,
        caps: make.caps,
        is_shared: make.is_shared,
        plan: Plan::default(),
        homes: HashMap::new(),
        virtuals: Vec::new(),
        on_host: graph.inputs.iter().copied().collect(),
        drafts: Vec::new(),
    };
    for run in runs(graph, &|id| dispatches.contains_key(&id))? {
        if dispatches.contains_key(&run[0]) {
            planner.gpu_run(&run, &dispatches)?;
        } else {
            planner.cpu_run(&run, &reasons)?;
        }
    }
    planner.outputs()?;
    Ok(planner.finish())
}

/// Where a value is before slots are assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Home {
    Weight(usize),
    Virtual(usize),
}

/// A buffer before slots are assigned.
struct Virtual {
    life: Life,
    /// Written by launches that read nothing but constants.
    is_constant: bool,
}

enum Draft {
    Upload(ValueId, Home),
    Launch(usize, crate::kernel::Launch, Vec<Home>),
    Download(ValueId, Home),
    Cpu(usize),
}

struct Planner<'a> {
    graph: &'a Graph,
    caps: &'a Capabilities,
    is_shared: &'a dyn Fn(&str, &Tensor) -> bool,
    plan: Plan,
    homes: HashMap<ValueId, Home>,
    virtuals: Vec<Virtual>,
    /// Values that the host has when the steps so far are done.
    on_host: HashSet<ValueId>,
    drafts: Vec<Draft>,
}

impl Planner<'_> {
    fn storage(&self, value: ValueId) -> Option<Storage> {
        Storage::of(self.graph.value(value).fact.dtype?, self.caps)
    }

    fn add_virtual(&mut self, size_bytes: u64) -> Home {
        let now = self.drafts.len();
        let life = Life {
            size_bytes,
            first: now,
            last: now,
        };
        self.virtuals.push(Virtual {
            life,
            is_constant: false,
        });
        Home::Virtual(self.virtuals.len() - 1)
    }

    fn size_bytes(&self, value: ValueId) -> u64 {
        let n_elems = self.graph.value(value).fact.sizes().unwrap_or_default();
        let storage = self.storage(value).unwrap_or(Storage::F32);
        storage.size_bytes(n_elems.iter().product())
    }

    fn name(&self, value: ValueId) -> String {
        self.graph.value(value).name.to_string()
    }

    fn touch(&mut self, home: Home) {
        if let Home::Virtual(idx) = home {
            self.virtuals[idx].life.last = self.drafts.len();
        }
    }

    fn gpu_run(&mut self, run: &[NodeId], dispatches: &HashMap<NodeId, Dispatch>) -> Result<()> {
        // Uploads stand before every launch of a run: they take effect when commands are handed
        // over, not where they stand among them.
        for &id in run {
            let used = used_inputs(&dispatches[&id]);
            for input_idx in used {
                let Some(value) = self.graph.node(id).input(input_idx) else {
                    continue;
                };
                if self.on_host.contains(&value) && !self.homes.contains_key(&value) {
                    let home = self.add_virtual(self.size_bytes(value));
                    self.drafts.push(Draft::Upload(value, home));
                    self.homes.insert(value, home);
                }
            }
        }
        for &id in run {
            self.gpu_node(id, &dispatches[&id])?;
        }
        Ok(())
    }

    fn gpu_node(&mut self, id: NodeId, dispatch: &Dispatch) -> Result<()> {
        let node = self.graph.node(id);
        let row = self.plan.placement.len();
        let mut names: Vec<&str> = Vec::new();
        for launch in &dispatch.launches {
            if names.last() != Some(&launch.name) {
                names.push(launch.name);
            }
        }
        self.place(
            id,
            Provider::Webgpu,
            names.join(", "),
            "its operator has a kernel".into(),
        );
        if let Some(input_idx) = dispatch.view_of {
            let home = self.home(id, Operand::Input(input_idx), &[])?;
            if let Some(output) = node.output(0) {
                self.homes.insert(output, home);
            }
            return Ok(());
        }
        let scratch: Vec<Home> = dispatch
            .scratch
            .iter()
            .map(|&n| self.add_virtual(n))
            .collect();
        for value in node.outputs.iter().flatten() {
            let home = self.add_virtual(self.size_bytes(*value));
            self.homes.insert(*value, home);
        }
        let mut placed = Vec::new();
        for launch in &dispatch.launches {
            let homes = launch.bindings.iter();
            let homes = homes.map(|binding| self.home(id, binding.operand, &scratch));
            placed.push((launch.clone(), homes.collect::<Result<Vec<Home>>>()?));
        }
        let constant = self.constant_launches(&placed);
        for ((launch, homes), is_constant) in placed.into_iter().zip(constant) {
            if launch.grid.contains(&0) {
                continue;
            }
            for (binding, &home) in launch.bindings.iter().zip(&homes) {
                self.touch(home);
                if let (Home::Virtual(idx), true) = (home, binding.writes) {
                    self.virtuals[idx].is_constant = is_constant;
                }
            }
            self.drafts.push(Draft::Launch(row, launch, homes));
        }
        Ok(())
    }

    /// Which launches of a node read nothing but constants and what such launches wrote, and share
    /// no buffer with one that does.
    fn constant_launches(&self, placed: &[(crate::kernel::Launch, Vec<Home>)]) -> Vec<bool> {
        let mut constant = vec![true; placed.len()];
        loop {
            let before = constant.clone();
            for (idx, (launch, homes)) in placed.iter().enumerate() {
                let pairs = launch.bindings.iter().zip(homes);
                constant[idx] &= pairs.clone().all(|(binding, home)| {
                    let writers = |other: &usize| {
                        let (launch, homes) = &placed[*other];
                        let pairs = launch.bindings.iter().zip(homes);
                        pairs.into_iter().any(|(b, h)| b.writes && h == home)
                    };
                    let mut writers = (0..placed.len()).filter(writers).peekable();
                    match home {
                        Home::Weight(_) => true,
                        Home::Virtual(_) if binding.writes || writers.peek().is_some() => {
                            writers.all(|other| before[other])
                        }
                        Home::Virtual(idx) => self.virtuals[*idx].is_constant,
                    }
                });
            }
            if constant == before {
                return constant;
            }
        }
    }

    fn home(&mut self, id: NodeId, operand: Operand, scratch: &[Home]) -> Result<Home> {
        let node = self.graph.node(id);
        let value = match operand {
            Operand::Scratch(idx) => return Ok(scratch[idx]),
            Operand::Input(idx) => node.input(idx),
            Operand::Output(idx) => node.output(idx),
        };
        self.home_of(value.expect("kernels bind what the node has"))
    }

    fn home_of(&mut self, value: ValueId) -> Result<Home> {
        if let Some(&home) = self.homes.get(&value) {
            return Ok(home);
        }
        let value_name = || self.name(value);
        let Source::Constant(tensor) = &self.graph.value(value).source else {
            return Err(Error::internal(
                value_name(),
                "a kernel reads what nothing made",
            ));
        };
        let storage = self
            .storage(value)
            .expect("kernels bind types that they compute with");
        self.plan.weights.push(Weight {
            name: value_name(),
            tensor: tensor.clone(),
            storage,
            n_elems: tensor.len(),
            is_shared: (self.is_shared)(&value_name(), tensor),
        });
        let home = Home::Weight(self.plan.weights.len() - 1);
        self.homes.insert(value, home);
        Ok(home)
    }

    fn cpu_run(
        &mut self,
        run: &[NodeId],
        reasons: &HashMap<NodeId, std::borrow::Cow<'static, str>>,
    ) -> Result<()> {
        let inside: HashSet<NodeId> = run.iter().copied().collect();
        let readers = self.graph.readers();
        let mut outputs = Vec::new();
        for &id in run {
            for &value in self.graph.node(id).outputs.iter().flatten() {
                let outside = |reader: &NodeId| !inside.contains(reader);
                if self.graph.outputs.contains(&value) || readers[value.idx()].iter().any(outside) {
                    outputs.push(value);
                }
            }
            let reason = reasons[&id].to_string();
            self.place(id, Provider::Cpu, String::new(), reason);
        }
        let piece = self.graph.subgraph(run, &outputs)?;
        for &input in &piece.inputs {
            let name = &piece.value(input).name;
            let value = self
                .graph
                .find(name)
                .expect("a part has the whole graph's names");
            if self.on_host.insert(value) {
                let home = self.home_of(value)?;
                self.touch(home);
                self.drafts.push(Draft::Download(value, home));
            }
        }
        self.on_host.extend(outputs);
        self.plan.pieces.push(Piece { graph: piece });
        self.drafts.push(Draft::Cpu(self.plan.pieces.len() - 1));
        Ok(())
    }

    fn place(&mut self, id: NodeId, provider: Provider, kernel: String, reason: String) {
        let node = self.graph.node(id);
        let size_bytes = node
            .outputs
            .iter()
            .flatten()
            .map(|&v| self.size_bytes(v))
            .sum();
        self.plan.placement.push(Placement {
            node: node.name.to_string(),
            op: node.op.to_string(),
            values: node
                .outputs
                .iter()
                .flatten()
                .map(|&value| self.name(value))
                .collect(),
            provider,
            kernel,
            reason,
            size_bytes,
        });
    }

    fn outputs(&mut self) -> Result<()> {
        for &value in &self.graph.outputs {
            if self.graph.weight(value).is_some_and(Tensor::is_forgotten) {
                self.home_of(value)?;
            }
            if let Some(Home::Virtual(idx)) = self.homes.get(&value)
                && !self.on_host.contains(&value)
            {
                self.virtuals[*idx].life.last = usize::MAX;
            }
        }
        Ok(())
    }

    /// Gives every buffer its slot and every step its buffers.
    fn finish(mut self) -> Plan {
        let slotted: Vec<usize> = (0..self.virtuals.len())
            .filter(|&idx| !self.virtuals[idx].is_constant)
            .collect();
        let lives: Vec<Life> = slotted.iter().map(|&idx| self.virtuals[idx].life).collect();
        let (slot_of, slots) = assign(&lives);
        let mut buffers = HashMap::new();
        for (idx, slot) in slotted.into_iter().zip(slot_of) {
            buffers.insert(Home::Virtual(idx), Buffer::Slot(slot));
        }
        for (idx, made) in self.virtuals.iter().enumerate() {
            if made.is_constant {
                buffers.insert(Home::Virtual(idx), Buffer::Kept(self.plan.kept.len()));
                self.plan.kept.push(made.life.size_bytes);
            }
        }
        for idx in 0..self.plan.weights.len() {
            buffers.insert(Home::Weight(idx), Buffer::Weight(idx));
        }
        self.plan.slots = slots;
        let drafts = std::mem::take(&mut self.drafts);
        for draft in drafts {
            match draft {
                Draft::Upload(value, home) => {
                    let value = self.gpu_value(value, buffers[&home]);
                    self.plan.steps.push(Step::Upload(value));
                }
                Draft::Download(value, home) => {
                    let value = self.gpu_value(value, buffers[&home]);
                    self.plan.steps.push(Step::Download(value));
                }
                Draft::Cpu(piece) => self.plan.steps.push(Step::Cpu(piece)),
                Draft::Launch(node_idx, launch, homes) => {
                    let pairs = launch.bindings.iter().zip(&homes);
                    let is_constant = pairs.into_iter().all(|(binding, home)| {
                        !binding.writes || matches!(buffers[home], Buffer::Kept(_))
                    });
                    let placed = Placed {
                        node_idx,
                        launch,
                        buffers: homes.iter().map(|home| buffers[home]).collect(),
                    };
                    if is_constant {
                        self.plan.setup.push(placed);
                    } else {
                        self.plan.steps.push(Step::Launch(placed));
                    }
                }
            }
        }
        for &value in &self.graph.outputs {
            let name = self.graph.value(value).name.to_string();
            let output = match (&self.graph.value(value).source, self.homes.get(&value)) {
                (Source::Constant(tensor), _) if !tensor.is_forgotten() => {
                    Output::Constant(name, tensor.clone())
                }
                (_, Some(home)) if !self.on_host.contains(&value) => {
                    Output::Gpu(self.gpu_value(value, buffers[home]))
                }
                _ => Output::Host(name),
            };
            self.plan.outputs.push(output);
        }
        self.plan
    }

    fn gpu_value(&self, value: ValueId, buffer: Buffer) -> GpuValue {
        let storage = self.storage(value).expect("it is on the GPU");
        let value = self.graph.value(value);
        GpuValue {
            name: value.name.to_string(),
            buffer,
            storage,
            dtype: value.fact.dtype.unwrap_or(DType::F32),
            sizes: value.fact.sizes().expect("plans are made for known shapes"),
        }
    }
}

/// The inputs that the launches of a node bind, or that it is a view of.
fn used_inputs(dispatch: &Dispatch) -> Vec<usize> {
    let bindings = dispatch.launches.iter().flat_map(|launch| &launch.bindings);
    let bound = bindings.filter_map(|binding| match binding.operand {
        Operand::Input(idx) => Some(idx),
        _ => None,
    });
    bound.chain(dispatch.view_of).collect()
}
