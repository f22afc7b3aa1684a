//! Kernels as data: shader text made from parts, what it binds, its parameters and its grid.
//!
//! An operator answers [`Call`] with a [`Dispatch`]: a few launches over its inputs, its outputs
//! and scratch buffers. Nothing here knows a device; the plan places the buffers and a backend
//! compiles the text.

mod copy;
mod index;
mod map;
mod text;
mod unit;
mod view;

use std::borrow::Cow;
use std::sync::Arc;

use crate::tensor::{DType, Fact, Tensor};

pub use copy::{copy, copy_all, view_of_input};
pub use index::{Axes, collapse, dense_strides};
pub use map::{Map, grid};
pub use text::Kernel;
pub use unit::Unit;
pub use view::View;

/// What a device can do, as far as kernels are chosen by it.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// The CPU plays GPU: kernels without workgroup memory win there.
    pub software: bool,
    pub shader_f16: bool,
    pub subgroups: bool,
    pub timestamps: bool,
    /// The largest part of a buffer that a shader sees, in bytes.
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// Storage buffers of one launch.
    pub max_storage_buffers: u32,
    /// Workgroups along each axis of a grid.
    pub max_workgroups: u32,
    pub max_workgroup_size: u32,
    pub max_workgroup_bytes: u32,
}

impl Default for Capabilities {
    /// What every WebGPU device has (WebGPU, section 3.6.2).
    fn default() -> Capabilities {
        Capabilities {
            software: false,
            shader_f16: false,
            subgroups: false,
            timestamps: false,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_storage_buffers: 8,
            max_workgroups: 65_535,
            max_workgroup_size: 256,
            max_workgroup_bytes: 16 << 10,
        }
    }
}

/// How the elements of a tensor lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    F32,
    F16,
    /// Also 64-bit integers, which are checked to fit on their way in.
    I32,
    U32,
    /// Four to a word, the first in the low bits, as are `U8` and `Bool`.
    I8,
    U8,
    Bool,
}

impl Storage {
    /// `None` for types that no kernel takes.
    pub fn of(dtype: DType, caps: &Capabilities) -> Option<Storage> {
        Some(match dtype {
            DType::F32 => Storage::F32,
            DType::F16 if caps.shader_f16 => Storage::F16,
            // As on the cpu, doubles are computed in single precision.
            DType::F16 | DType::F64 => Storage::F32,
            DType::I32 | DType::I64 => Storage::I32,
            DType::U32 | DType::U64 => Storage::U32,
            DType::I8 => Storage::I8,
            DType::U8 => Storage::U8,
            DType::Bool => Storage::Bool,
            _ => return None,
        })
    }

    /// The type of the array that a shader binds.
    pub fn element(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::I32 => "i32",
            Storage::U32 | Storage::I8 | Storage::U8 | Storage::Bool => "u32",
        }
    }

    /// The type that shaders compute with.
    pub fn value(self) -> &'static str {
        match self {
            // Sums run in f32: in f16, 2048 + 1 is still 2048.
            Storage::F32 | Storage::F16 => "f32",
            Storage::I32 | Storage::I8 => "i32",
            Storage::U32 | Storage::U8 => "u32",
            Storage::Bool => "bool",
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Storage::F32 | Storage::F16)
    }

    /// True where four elements share a word.
    pub fn is_packed(self) -> bool {
        matches!(self, Storage::I8 | Storage::U8 | Storage::Bool)
    }

    /// Bytes of a buffer for this many elements: whole vectors of four, never none.
    pub fn size_bytes(self, n_elems: usize) -> u64 {
        self.used_bytes(n_elems).next_multiple_of(16).max(16)
    }

    /// Bytes that this many elements take, in whole words.
    pub fn used_bytes(self, n_elems: usize) -> u64 {
        let bytes = match self {
            Storage::I8 | Storage::U8 | Storage::Bool => 1,
            Storage::F16 => 2,
            Storage::F32 | Storage::I32 | Storage::U32 => 4,
        };
        (n_elems as u64 * bytes).next_multiple_of(4)
    }
}

/// Whose buffer a launch binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Input(usize),
    Output(usize),
    /// Of [`Dispatch::scratch`].
    Scratch(usize),
}

/// An operand with the layout of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    pub operand: Operand,
    pub storage: Storage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    pub operand: Operand,
    pub writes: bool,
}

/// One run of one shader.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub name: &'static str,
    /// The whole shader: equal texts are one pipeline.
    pub code: Arc<str>,
    /// The words of the uniform buffer at binding 0.
    pub params: Vec<u32>,
    /// From binding 1 on.
    pub bindings: Vec<Binding>,
    /// Workgroups along x, y and z; none run when one of them is 0.
    pub grid: [u32; 3],
}

/// How a node is computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dispatch {
    /// The first output has the elements of this input: nothing runs.
    pub view_of: Option<usize>,
    /// In this order, each seeing what those before it wrote.
    pub launches: Vec<Launch>,
    /// Sizes in bytes of buffers that live as long as the node runs. Launches that read nothing
    /// but constants run once, and what they write is kept: that is how weights are packed.
    pub scratch: Vec<u64>,
}

impl Dispatch {
    pub fn one(launch: Launch) -> Dispatch {
        Dispatch {
            launches: vec![launch],
            ..Dispatch::default()
        }
    }

    /// The first output is the bytes of the input under another shape.
    pub fn view(input_idx: usize) -> Dispatch {
        Dispatch {
            view_of: Some(input_idx),
            ..Dispatch::default()
        }
    }

    /// A buffer of words that the plan knows. They travel as parameters of launches that read
    /// nothing, which therefore run once.
    pub fn add_words(&mut self, words: &[u32]) -> Port {
        let port = self.add_scratch(Storage::U32, words.len());
        for (idx, chunk) in words.chunks(WORDS_PER_LAUNCH).enumerate() {
            let mut padded = chunk.to_vec();
            padded.resize(WORDS_PER_LAUNCH, 0);
            let kernel = Kernel::new("words", include_str!("../wgsl/words.wgsl"))
                .param("first", idx * WORDS_PER_LAUNCH)
                .param("n", chunk.len())
                .param_words("words", &padded)
                .write("y", port);
            self.launches.push(kernel.launch([16, 1, 1]));
        }
        port
    }

    /// A buffer for intermediate values.
    pub fn add_scratch(&mut self, storage: Storage, n_elems: usize) -> Port {
        self.scratch.push(storage.size_bytes(n_elems));
        Port {
            operand: Operand::Scratch(self.scratch.len() - 1),
            storage,
        }
    }
}

/// One text for every length: a part of the words that a uniform buffer may hold.
const WORDS_PER_LAUNCH: usize = 1024;

/// Why there is no kernel for a node.
pub type Refusal = Cow<'static, str>;

/// One node as its operator sees it when a plan is made: every shape is known.
pub struct Call<'a> {
    pub caps: &'a Capabilities,
    /// `None` where an optional input is left out.
    pub inputs: &'a [Option<&'a Fact>],
    /// The tensors of constant inputs.
    pub constants: &'a [Option<&'a Tensor>],
    /// `None` where an output is not asked for.
    pub outputs: &'a [Option<&'a Fact>],
}

impl<'a> Call<'a> {
    pub fn has_input(&self, idx: usize) -> bool {
        self.inputs.get(idx).is_some_and(Option::is_some)
    }

    pub fn has_output(&self, idx: usize) -> bool {
        self.outputs.get(idx).is_some_and(Option::is_some)
    }

    /// # Errors
    /// A refusal when the input is left out or has a type that no kernel takes.
    pub fn input(&self, idx: usize) -> Result<Port, Refusal> {
        let fact = self.inputs.get(idx).copied().flatten();
        self.port(Operand::Input(idx), fact)
    }

    /// # Errors
    /// A refusal when the output is not asked for or has a type that no kernel takes.
    pub fn output(&self, idx: usize) -> Result<Port, Refusal> {
        let fact = self.outputs.get(idx).copied().flatten();
        self.port(Operand::Output(idx), fact)
    }

    fn port(&self, operand: Operand, fact: Option<&Fact>) -> Result<Port, Refusal> {
        let dtype = fact.and_then(|fact| fact.dtype);
        let dtype = dtype.ok_or_else(|| Refusal::from(format!("{operand:?} has no known type")))?;
        let storage = Storage::of(dtype, self.caps);
        let storage = storage.ok_or_else(|| format!("no kernel computes with {dtype}"))?;
        Ok(Port { operand, storage })
    }

    /// The sizes of an input, empty where it is left out: binding it is what refuses the node.
    pub fn sizes(&self, idx: usize) -> Vec<usize> {
        let fact = self.inputs.get(idx).copied().flatten();
        let sizes = fact.map(|fact| fact.sizes().expect("plans are made for known shapes"));
        sizes.unwrap_or_default()
    }

    pub fn output_sizes(&self, idx: usize) -> Vec<usize> {
        let fact = self.outputs.get(idx).copied().flatten();
        let fact = fact.expect("the caller has seen the output");
        fact.sizes().expect("plans are made for known shapes")
    }

    pub fn input_dtype(&self, idx: usize) -> Option<DType> {
        self.inputs.get(idx).copied().flatten()?.dtype
    }

    pub fn output_dtype(&self, idx: usize) -> Option<DType> {
        self.outputs.get(idx).copied().flatten()?.dtype
    }

    pub fn constant(&self, idx: usize) -> Option<&'a Tensor> {
        self.constants.get(idx).copied().flatten()
    }

    /// The elements of a constant integer input.
    ///
    /// # Errors
    /// A refusal when they are only known when the model runs.
    pub fn ints(&self, idx: usize) -> Result<Vec<i64>, Refusal> {
        let ints = self.constant(idx).and_then(Tensor::to_i64s);
        ints.ok_or_else(|| format!("input {idx} is not constant").into())
    }
}
