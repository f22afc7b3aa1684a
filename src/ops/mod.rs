//! Operators: for each its attributes, its rule for shapes and types, and its kernels.
//!
//! One family per file, its shaders beside it, and one line in [`OPS`]. A rule sees facts only,
//! never a graph: it is the one home of what an operator accepts.

mod activation;
mod attention;
mod attention_fused;
mod attention_kernel;
mod attention_rotary;
mod attrs;
mod axis;
mod binary;
mod boxes;
mod cast;
pub(crate) mod chain;
mod check;
mod choose;
mod classify;
mod clip;
mod concat;
mod conv;
mod conv_block;
mod conv_integer;
mod conv_kernels;
mod conv_sums;
mod conv_transpose;
mod det;
mod einsum;
mod elementwise;
mod expand;
mod gather;
mod gemm;
mod generate;
mod identity;
mod image;
mod layout;
mod loss;
mod matmul;
mod matmul_fused;
mod norm;
mod norm_channel;
mod norm_layer;
mod norm_lp;
mod norm_plain;
mod pointwise;
mod pool;
mod pool_kernels;
mod pow;
mod product;
mod product_kernel;
mod qlinear;
mod quantize;
mod random;
mod reduce;
mod reduce_kernel;
mod reshape;
mod resize;
mod resize_kernel;
mod resize_taps;
mod rnn;
mod rnn_kernel;
mod rules;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod slice;
mod sliding;
mod softmax;
mod string;
mod variadic;
mod window;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape, Tensor};

pub use attrs::{Attr, Attrs};
pub use chain::Function;

/// The name of an operator. The default domain is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpName {
    pub domain: Arc<str>,
    pub name: Arc<str>,
}

impl OpName {
    pub fn onnx(name: &str) -> OpName {
        OpName::new("", name)
    }

    /// `ai.onnx` is the default domain's other name.
    pub fn new(domain: &str, name: &str) -> OpName {
        OpName {
            domain: if domain == "ai.onnx" { "" } else { domain }.into(),
            name: name.into(),
        }
    }

    /// True for this operator of the default domain.
    pub fn is(&self, name: &str) -> bool {
        self.domain.is_empty() && &*self.name == name
    }
}

impl std::fmt::Display for OpName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.domain.is_empty() {
            write!(f, "{}::", self.domain)?;
        }
        f.write_str(&self.name)
    }
}

/// An operator as the registry knows it.
pub struct OpDef {
    /// `""` for ONNX's own.
    pub domain: &'static str,
    pub name: &'static str,
    /// Reads the attributes of one node under a version of the operator's domain.
    pub parse: fn(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>>,
    /// Graphs in text form, whose outputs declare what inference must find.
    pub cases: &'static [&'static str],
}

/// One node's operator with its attributes.
pub trait Op {
    /// The facts of the outputs, one for each that the operator makes; what cannot be known stays
    /// unknown in the fact.
    ///
    /// # Errors
    /// `SHAPE_MISMATCH` or `DTYPE_MISMATCH` when the inputs can never be right.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>>;

    /// The kernels that compute the outputs from facts that `infer` accepted, a pure function of
    /// these and of what the device can do.
    ///
    /// # Errors
    /// Why there is no kernel for the node; it then runs on another backend.
    fn dispatch(&self, _call: &Call) -> Result<Dispatch, Refusal> {
        Err("there is no kernel for it".into())
    }

    /// The function over floats that the operator computes element by element from this many
    /// inputs, for kernels that compute several operators at once.
    fn function(&self, _n_operands: usize) -> Option<Function> {
        None
    }
}

/// What a rule may know of its node's inputs.
pub struct Inputs<'a> {
    /// `None` where an optional input is left out.
    pub facts: &'a [Option<&'a Fact>],
    /// The tensors of constant inputs.
    pub constants: &'a [Option<&'a Tensor>],
    /// How many outputs the node names, for operators with a varying number.
    pub n_outputs: usize,
}

impl<'a> Inputs<'a> {
    /// The fact of an input, if the node has it.
    pub fn get(&self, idx: usize) -> Option<&'a Fact> {
        self.facts.get(idx).copied().flatten()
    }

    /// # Errors
    /// `SHAPE_MISMATCH` when a required input is left out.
    pub fn need(&self, idx: usize) -> Result<&'a Fact> {
        let missing = || Error::shape("", format!("input {idx} is missing"));
        self.get(idx).ok_or_else(missing)
    }

    pub fn dtype(&self, idx: usize) -> Option<DType> {
        self.get(idx)?.dtype
    }

    pub fn shape(&self, idx: usize) -> Option<&'a Shape> {
        self.get(idx)?.shape.as_ref()
    }

    pub fn constant(&self, idx: usize) -> Option<&'a Tensor> {
        self.constants.get(idx).copied().flatten()
    }

    /// The elements of an integer input, from a constant or from shape arithmetic.
    pub fn dims(&self, idx: usize) -> Option<Vec<Dim>> {
        if let Some(value) = &self.get(idx)?.value {
            return Some(value.clone());
        }
        let elements = self.constant(idx)?.to_i64s()?;
        Some(elements.into_iter().map(Dim::Size).collect())
    }

    /// The elements of an integer input when all are numbers.
    pub fn ints(&self, idx: usize) -> Option<Vec<i64>> {
        self.dims(idx)?.iter().map(Dim::value).collect()
    }
}

/// Every operator, one line per family.
pub const OPS: &[&[OpDef]] = &[
    attention::DEFS,
    attention_fused::DEFS,
    axis::DEFS,
    binary::DEFS,
    boxes::DEFS,
    cast::DEFS,
    chain::DEFS,
    choose::DEFS,
    classify::DEFS,
    clip::DEFS,
    concat::DEFS,
    conv::DEFS,
    conv_transpose::DEFS,
    det::DEFS,
    einsum::DEFS,
    elementwise::DEFS,
    expand::DEFS,
    gather::DEFS,
    gemm::DEFS,
    generate::DEFS,
    identity::DEFS,
    image::DEFS,
    layout::DEFS,
    loss::DEFS,
    matmul::DEFS,
    matmul_fused::DEFS,
    norm::DEFS,
    norm_lp::DEFS,
    norm_plain::DEFS,
    pool::DEFS,
    pow::DEFS,
    qlinear::DEFS,
    quantize::DEFS,
    random::DEFS,
    reduce::DEFS,
    reshape::DEFS,
    resize::DEFS,
    rnn::DEFS,
    scatter::DEFS,
    sequence::DEFS,
    shape::DEFS,
    signal::DEFS,
    slice::DEFS,
    softmax::DEFS,
    string::DEFS,
    variadic::DEFS,
];

/// The definition of an operator, if the engine has it.
pub fn find(op: &OpName) -> Option<&'static OpDef> {
    let mut defs = OPS.iter().copied().flatten();
    defs.find(|def| def.domain == &*op.domain && def.name == &*op.name)
}
