//! What runs where, in which order and in which buffers: data that can be printed.
//!
//! A plan is for one set of input shapes. Nodes with kernels run on the GPU, the others on `cpu`
//! in as few pieces as possible; copies between the two are steps of their own.

mod memory;
mod order;
mod place;
mod print;

use crate::graph::Graph;
use crate::kernel::{Launch, Storage};
use crate::tensor::{DType, Tensor};

pub use place::{MakePlan, lower, plan};

/// A backend by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Webgpu,
    Wonnx,
    Cpu,
}

impl Provider {
    pub const ALL: [Provider; 3] = [Provider::Webgpu, Provider::Wonnx, Provider::Cpu];

    pub fn name(self) -> &'static str {
        match self {
            Provider::Webgpu => "webgpu",
            Provider::Wonnx => "wonnx",
            Provider::Cpu => "cpu",
        }
    }

    pub fn from_name(name: &str) -> Option<Provider> {
        let mut all = Provider::ALL.into_iter();
        all.find(|provider| provider.name() == name)
    }
}

/// Where one node runs, and why there.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub node: String,
    pub op: String,
    /// Names of the values that it gives.
    pub values: Vec<String>,
    pub provider: Provider,
    /// The kernels that compute it on the GPU, or nothing.
    pub kernel: String,
    pub reason: String,
    /// Of its outputs.
    pub size_bytes: u64,
}

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// Holds a constant of the model.
    Weight(usize),
    /// Written once, when the plan is loaded.
    Kept(usize),
    /// Shared by values that do not live at the same time.
    Slot(usize),
}

/// A constant that kernels read.
#[derive(Clone, Debug)]
pub struct Weight {
    pub name: String,
    /// Empty once it is uploaded.
    pub tensor: Tensor,
    pub storage: Storage,
    pub n_elems: usize,
    /// Every plan of the session has it, whatever the shapes of its inputs.
    pub is_shared: bool,
}

/// A launch with its buffers, in the order of its bindings.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The row of [`Plan::placement`].
    pub node_idx: usize,
    pub launch: Launch,
    pub buffers: Vec<Buffer>,
}

/// A value as it lies on the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuValue {
    pub name: String,
    pub buffer: Buffer,
    pub storage: Storage,
    pub dtype: DType,
    pub sizes: Vec<usize>,
}

impl GpuValue {
    /// Of its buffer.
    pub fn size_bytes(&self) -> u64 {
        self.storage.size_bytes(self.sizes.iter().product())
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Host to GPU.
    Upload(GpuValue),
    Launch(Placed),
    /// GPU to host.
    Download(GpuValue),
    /// A part of the graph on `cpu`, by its number in [`Plan::pieces`].
    Cpu(usize),
}

/// A part of the graph that runs on `cpu`; its inputs and outputs are host values by name.
#[derive(Clone, Debug)]
pub struct Piece {
    pub graph: Graph,
}

/// Where an output of the model is when the steps are done.
#[derive(Clone, Debug)]
pub enum Output {
    Gpu(GpuValue),
    /// A host value: what the caller fed, what a piece computed.
    Host(String),
    Constant(String, Tensor),
}

impl Output {
    pub fn name(&self) -> &str {
        match self {
            Output::Gpu(value) => &value.name,
            Output::Host(name) | Output::Constant(name, _) => name,
        }
    }
}

/// Bytes of GPU memory that a plan takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub weights: u64,
    /// Activations at their peak.
    pub activations: u64,
    /// Buffers that the host reads from.
    pub staging: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub weights: Vec<Weight>,
    /// Sizes in bytes.
    pub kept: Vec<u64>,
    pub slots: Vec<u64>,
    /// Launches that read nothing but weights; they run when the plan is loaded.
    pub setup: Vec<Placed>,
    pub steps: Vec<Step>,
    pub outputs: Vec<Output>,
    pub pieces: Vec<Piece>,
    pub placement: Vec<Placement>,
}

impl Plan {
    /// True for a buffer that a step reads or an output is in.
    pub fn reads(&self, buffer: Buffer) -> bool {
        let step_reads = |step: &Step| match step {
            Step::Launch(placed) => placed.buffers.contains(&buffer),
            Step::Download(value) => value.buffer == buffer,
            Step::Upload(_) | Step::Cpu(_) => false,
        };
        let is_there =
            |output: &Output| matches!(output, Output::Gpu(value) if value.buffer == buffer);
        self.steps.iter().any(step_reads) || self.outputs.iter().any(is_there)
    }

    pub fn memory(&self) -> Memory {
        let weights = self.weights.iter().map(Weight::size_bytes).sum::<u64>();
        let downloads = self.steps.iter().map(|step| match step {
            Step::Download(value) => value.size_bytes(),
            _ => 0,
        });
        let outputs = self.outputs.iter().map(|output| match output {
            Output::Gpu(value) => value.size_bytes(),
            _ => 0,
        });
        Memory {
            weights: weights + self.kept.iter().sum::<u64>(),
            activations: self.slots.iter().sum(),
            staging: downloads.chain(outputs).sum(),
        }
    }
}

impl Weight {
    pub fn size_bytes(&self) -> u64 {
        self.storage.size_bytes(self.n_elems)
    }
}
