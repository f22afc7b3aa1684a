//! Carries plans out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::constants::Constants;
use super::convert::from_gpu;
use super::device::{Bound, Command, Device, Shader, Usage};
use super::memory::{Gpu, GpuBuffer};
use super::run::Run;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::kernel::{Launch, Storage};
use crate::plan::{Buffer, Output, Placed, Plan, Step};
use crate::tensor::{DType, Tensor};

/// WebGPU's largest `minUniformBufferOffsetAlignment`.
const UNIFORM_ALIGNMENT: usize = 256;

/// A part of a graph, ready to run on the host.
pub trait HostPiece {
    /// # Errors
    /// What the backend finds, naming the node.
    fn run(&self, feeds: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>>;
}

/// Makes a part of a graph ready for the host.
pub type LoadPiece<'a> = &'a dyn Fn(&Graph) -> Result<Box<dyn HostPiece>>;

/// An input of a run.
pub enum Feed<D: Device> {
    Host(Tensor),
    /// Laid out as the backend stores the type.
    Gpu {
        buffer: D::Buffer,
        dtype: DType,
        sizes: Vec<usize>,
    },
}

impl<D: Device> Feed<D> {
    pub fn sizes(&self) -> &[usize] {
        match self {
            Feed::Host(tensor) => tensor.sizes(),
            Feed::Gpu { sizes, .. } => sizes,
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Feed::Host(tensor) => tensor.dtype(),
            Feed::Gpu { dtype, .. } => *dtype,
        }
    }
}

/// Where the caller wants an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Host,
    Gpu,
}

/// An output of a run.
pub enum Fetched<D: Device> {
    Host(Tensor),
    Gpu {
        buffer: GpuBuffer<D>,
        dtype: DType,
        sizes: Vec<usize>,
    },
}

/// The buffers that the plans of one session share.
pub struct Executor<D: Device> {
    gpu: Rc<Gpu<D>>,
    slots: RefCell<Slots<D>>,
    constants: Constants<D>,
}

/// Slots from the largest to the smallest.
struct Slots<D: Device> {
    buffers: Vec<Rc<GpuBuffer<D>>>,
    /// Goes up when a buffer is replaced by a larger one.
    generation: u64,
}

/// A plan on the device: constants uploaded, shaders compiled.
pub struct Loaded<D: Device> {
    pub(super) plan: Plan,
    /// `None` where only launches that ran once read it.
    weights: Vec<Option<Rc<GpuBuffer<D>>>>,
    kept: Vec<Rc<GpuBuffer<D>>>,
    uniforms: Option<GpuBuffer<D>>,
    pub(super) staging: GpuBuffer<D>,
    /// Of the launches among the steps, in order.
    pub(super) pipelines: Vec<D::Pipeline>,
    uniform_offsets: Vec<u64>,
    /// The place of each slot among the session's.
    slot_ranks: Vec<usize>,
    bound: RefCell<Option<(u64, Rc<BoundSlots<D>>)>>,
    pub(super) pieces: Vec<Box<dyn HostPiece>>,
}

/// The slots that a plan was bound to, and the bindings of its launches.
pub(super) struct BoundSlots<D: Device> {
    pub(super) slots: Vec<Rc<GpuBuffer<D>>>,
    pub(super) bindings: Vec<D::Bindings>,
}

impl<D: Device> Executor<D> {
    pub fn new(gpu: Rc<Gpu<D>>) -> Executor<D> {
        Executor {
            gpu,
            slots: RefCell::new(Slots {
                buffers: Vec::new(),
                generation: 0,
            }),
            constants: Constants::default(),
        }
    }

    pub fn gpu(&self) -> &Rc<Gpu<D>> {
        &self.gpu
    }

    /// True for a constant whose elements stay on the GPU for plans to come.
    pub fn holds(&self, constant: &str) -> bool {
        self.constants.holds(constant)
    }

    /// Compiles the shaders while the constants are uploaded, and runs what needs to run once.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `DEVICE_LOST`, `INTERNAL` for a shader that the device refuses;
    /// `INVALID_INPUT` for a constant beyond 32 bits; what loading the pieces finds.
    pub async fn load(&self, plan: Plan, load_piece: LoadPiece<'_>) -> Result<Loaded<D>> {
        let device = &self.gpu.device;
        device.open_scopes();
        let loaded = self.load_in_scopes(plan, load_piece).await;
        match device.close_scopes().await {
            // What failed here says more than that the device did not like it.
            Err(error) if loaded.is_ok() || error.kind != ErrorKind::Internal => Err(error),
            _ => loaded,
        }
    }

    async fn load_in_scopes(&self, mut plan: Plan, load_piece: LoadPiece<'_>) -> Result<Loaded<D>> {
        let device = &self.gpu.device;
        let kept = self.constants.kept(&self.gpu, &mut plan)?;
        let setup = std::mem::take(&mut plan.setup);
        let launches: Vec<&Placed> = setup.iter().chain(launches(&plan)).collect();
        let shaders: Vec<Shader> = launches
            .iter()
            .map(|placed| Shader::of(&placed.launch))
            .collect();
        let compiling = self.gpu.pipelines(&shaders);

        let weights = self.constants.weights(&self.gpu, &plan, &setup)?;
        let (bytes, uniform_offsets) = uniforms(launches.iter().map(|placed| &placed.launch));
        let uniforms = if bytes.is_empty() {
            None
        } else {
            let buffer = self.gpu.buffer(bytes.len() as u64, Usage::Uniform)?;
            device.write_buffer(&buffer.buffer, &bytes);
            Some(buffer)
        };
        let staging = self.gpu.buffer(plan.memory().staging, Usage::Staging)?;
        let pieces = plan.pieces.iter().map(|piece| load_piece(&piece.graph));
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        let pipelines = compiling.await?;
        let mut loaded = Loaded {
            slot_ranks: ranks(&plan.slots),
            plan,
            weights,
            kept,
            uniforms,
            staging,
            pipelines,
            uniform_offsets,
            bound: RefCell::default(),
            pieces,
        };
        loaded.set_up(device, &setup);
        loaded.plan.setup = setup;
        // The constants are on the GPU and in the pieces now.
        for weight in &mut loaded.plan.weights {
            weight.tensor.forget();
        }
        for piece in &mut loaded.plan.pieces {
            piece.graph = std::mem::take(&mut piece.graph).without_constants();
        }
        Ok(loaded)
    }

    /// The bindings of a plan's launches to slots that are large enough.
    fn bind(&self, loaded: &Loaded<D>) -> Result<Rc<BoundSlots<D>>> {
        let mut slots = self.slots.borrow_mut();
        for (&bytes, &rank) in loaded.plan.slots.iter().zip(&loaded.slot_ranks) {
            while slots.buffers.len() <= rank {
                let buffer = self.gpu.buffer(16, Usage::Storage)?;
                slots.buffers.push(Rc::new(buffer));
            }
            if slots.buffers[rank].size_bytes < bytes {
                slots.buffers[rank] = Rc::new(self.gpu.buffer(bytes, Usage::Storage)?);
                slots.generation += 1;
            }
        }
        let generation = slots.generation;
        let mut bound = loaded.bound.borrow_mut();
        if let Some((of, bindings)) = &*bound
            && *of == generation
        {
            return Ok(bindings.clone());
        }
        let own = loaded
            .slot_ranks
            .iter()
            .map(|&rank| slots.buffers[rank].clone());
        let own: Vec<_> = own.collect();
        let bindings = launches(&loaded.plan)
            .enumerate()
            .map(|(idx, placed)| loaded.bind(&self.gpu.device, placed, idx, &own));
        let made = Rc::new(BoundSlots {
            bindings: bindings.collect(),
            slots: own,
        });
        *bound = Some((generation, made.clone()));
        Ok(made)
    }

    /// Brings a feed to the host.
    ///
    /// # Errors
    /// `DEVICE_LOST`, `OUT_OF_MEMORY`.
    pub async fn fetch(&self, feed: &Feed<D>) -> Result<Tensor> {
        let (buffer, dtype, sizes) = match feed {
            Feed::Host(tensor) => return Ok(tensor.clone()),
            Feed::Gpu {
                buffer,
                dtype,
                sizes,
            } => (buffer, *dtype, sizes),
        };
        let device = &self.gpu.device;
        let storage = Storage::of(dtype, device.capabilities());
        let unknown = || Error::dtype("", format!("no kernel computes with {dtype}"));
        let storage = storage.ok_or_else(unknown)?;
        // A caller's buffer may end with its elements.
        let size_bytes = storage.used_bytes(sizes.iter().product());
        if size_bytes == 0 {
            return from_gpu(&[], storage, dtype, sizes);
        }
        let staging = self.gpu.buffer(size_bytes, Usage::Staging)?;
        let copy = Command::Copy {
            from: buffer,
            to: &staging.buffer,
            to_offset: 0,
            size_bytes,
        };
        device.submit(&[copy], false);
        let bytes = device.read_buffer(&staging.buffer, size_bytes).await?;
        from_gpu(&bytes, storage, dtype, sizes)
    }

    /// Runs a plan; `fetches` are names of its outputs.
    ///
    /// # Errors
    /// `DEVICE_LOST`, `OUT_OF_MEMORY` and `INTERNAL` from the GPU, `INVALID_INPUT` for integers
    /// beyond 32 bits, and what the pieces on the host find.
    pub async fn run(
        &self,
        loaded: &Loaded<D>,
        feeds: &HashMap<String, Feed<D>>,
        fetches: &[(&str, Location)],
        timed: bool,
    ) -> Result<Vec<Fetched<D>>> {
        let bound = self.bind(loaded)?;
        Run::new(self, loaded, &bound, feeds, timed)
            .carry_out(fetches)
            .await
    }
}

impl<D: Device> Loaded<D> {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The rows of the placement that the timed dispatches of a run belong to, in order.
    pub fn launch_rows(&self) -> impl Iterator<Item = (usize, &'static str)> {
        launches(&self.plan).map(|placed| (placed.node_idx, placed.launch.name))
    }

    /// Runs what runs once; these launches come before those of the steps.
    fn set_up(&mut self, device: &D, setup: &[Placed]) {
        let placed = setup.iter().enumerate();
        let bindings: Vec<D::Bindings> = placed
            .map(|(idx, placed)| self.bind(device, placed, idx, &[]))
            .collect();
        let launches = setup.iter().zip(&bindings).zip(&self.pipelines);
        let commands: Vec<Command<D>> = launches
            .map(|((placed, bindings), pipeline)| Command::Dispatch {
                pipeline,
                bindings,
                grid: placed.launch.grid,
            })
            .collect();
        if !commands.is_empty() {
            device.submit(&commands, false);
        }
        drop(commands);
        self.pipelines.drain(..setup.len());
        self.uniform_offsets.drain(..setup.len());
        for (idx, weight) in self.weights.iter_mut().enumerate() {
            if !self.plan.reads(Buffer::Weight(idx)) {
                *weight = None;
            }
        }
    }

    pub(super) fn output(&self, name: &str) -> Result<&Output> {
        let output = self
            .plan
            .outputs
            .iter()
            .find(|output| output.name() == name);
        output.ok_or_else(|| {
            let why = "the model has no output of this name";
            Error::new(ErrorKind::InvalidInput, name, why)
        })
    }

    pub(super) fn buffer<'a>(
        &'a self,
        buffer: Buffer,
        slots: &'a [Rc<GpuBuffer<D>>],
    ) -> &'a GpuBuffer<D> {
        match buffer {
            Buffer::Weight(idx) => self.weights[idx].as_ref().expect("a step reads it"),
            Buffer::Kept(idx) => &self.kept[idx],
            Buffer::Slot(idx) => &slots[idx],
        }
    }

    fn bind(
        &self,
        device: &D,
        placed: &Placed,
        launch_idx: usize,
        slots: &[Rc<GpuBuffer<D>>],
    ) -> D::Bindings {
        let params = (!placed.launch.params.is_empty()).then(|| Bound {
            binding: 0,
            buffer: &self.uniforms.as_ref().expect("there are parameters").buffer,
            offset: self.uniform_offsets[launch_idx],
            size: Some(placed.launch.params.len() as u64 * 4),
        });
        let storage = placed
            .buffers
            .iter()
            .enumerate()
            .map(|(idx, &buffer)| Bound {
                binding: idx as u32 + 1,
                buffer: &self.buffer(buffer, slots).buffer,
                offset: 0,
                size: None,
            });
        let bound: Vec<Bound<D::Buffer>> = params.into_iter().chain(storage).collect();
        device.bind(&self.pipelines[launch_idx], &bound)
    }
}

fn launches(plan: &Plan) -> impl Iterator<Item = &Placed> {
    plan.steps.iter().filter_map(|step| match step {
        Step::Launch(placed) => Some(placed),
        _ => None,
    })
}

/// The place of each slot when the largest comes first.
fn ranks(slots: &[u64]) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..slots.len()).collect();
    by_size.sort_by_key(|&slot| std::cmp::Reverse(slots[slot]));
    let mut ranks = vec![0; slots.len()];
    for (rank, slot) in by_size.into_iter().enumerate() {
        ranks[slot] = rank;
    }
    ranks
}

/// The parameters of all launches in one buffer, and where those of each begin.
pub(super) fn uniforms<'a>(launches: impl Iterator<Item = &'a Launch>) -> (Vec<u8>, Vec<u64>) {
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for launch in launches {
        offsets.push(bytes.len() as u64);
        if !launch.params.is_empty() {
            bytes.extend_from_slice(bytemuck::cast_slice(&launch.params));
            bytes.resize(bytes.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
        }
    }
    (bytes, offsets)
}
