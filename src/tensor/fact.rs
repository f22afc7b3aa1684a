//! What is known of a value before it exists.

use super::{DType, Dim, Shape, Tensor};

/// What a value is, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fact {
    pub kind: Kind,
    /// Of a tensor, or of the tensors in a sequence or an optional.
    pub dtype: Option<DType>,
    pub shape: Option<Shape>,
    /// The elements of a small integer tensor (rank 0 or 1), when they follow from shapes.
    pub value: Option<Vec<Dim>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Tensor,
    Sequence,
    Optional,
    /// An optional sequence of tensors.
    OptionalSequence,
    /// Maps, sparse tensors and opaque types, which no backend takes.
    Other,
}

impl Fact {
    pub fn tensor(dtype: DType, shape: Shape) -> Fact {
        Fact {
            dtype: Some(dtype),
            shape: Some(shape),
            ..Fact::default()
        }
    }

    /// The fact of a constant; small integers keep their value.
    pub fn of(tensor: &Tensor) -> Fact {
        let small = tensor.sizes().len() <= 1 && tensor.len() <= MAX_VALUE_ELEMENTS;
        let value = small.then(|| tensor.to_i64s()).flatten();
        Fact {
            value: value.map(|elements| elements.into_iter().map(Dim::Size).collect()),
            ..Fact::tensor(tensor.dtype(), tensor.shape())
        }
    }

    /// All sizes as numbers.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.sizes()
    }
}

/// Longer integer tensors are data, not shapes.
pub const MAX_VALUE_ELEMENTS: usize = 64;
