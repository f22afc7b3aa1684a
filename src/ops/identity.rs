//! Operators that give their input back: `Identity`, and `Dropout` outside of training.

use super::rules::{expect_dtype, onnx, tensor};
use super::{Inputs, Op, OpDef};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Fact, Kind};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Dropout",
        |_, version| {
            Ok(Box::new(Dropout {
                bool_mask: version >= 10,
            }))
        },
        &[
            "input x: f16[n, 3]\n y, mask = Dropout(x)\n output y: f16[n, 3]\n output mask: bool[n, 3]",
            "opset 7\n input x: f32[4]\n y, mask = Dropout(x) {ratio = 0.1}\n output y: f32[4]\n output mask: f32[4]",
        ],
    ),
    onnx(
        "Identity",
        |_, _| Ok(Box::new(Identity)),
        &[
            "input x: seq(f32[2])\n y = Identity(x)\n output y: seq(f32[2])",
            "input x: str[n]\n y = Identity(x)\n output y: str[n]",
            "input x: f32[n, 2]\n s = Shape(x)\n t = Identity(s)\n y = ConstantOfShape(t)\n output y: f32[n, 2]",
        ],
    ),
];

/// `Identity` takes whatever a value can be.
struct Identity;

impl Op for Identity {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![inputs.need(0)?.clone()])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        call.input(0)?;
        Ok(Dispatch::view(0))
    }
}

/// `Dropout` gives the output and, if asked, the mask of what it kept.
struct Dropout {
    bool_mask: bool,
}

impl Op for Dropout {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, DType::is_float, "a float type")?;
        let y = Fact {
            kind: Kind::Tensor,
            value: None,
            ..x.clone()
        };
        let mask_dtype = if self.bool_mask {
            Some(DType::Bool)
        } else {
            x.dtype
        };
        let mask = Fact {
            dtype: mask_dtype,
            ..y.clone()
        };
        Ok(vec![y, mask])
    }

    /// Outside of training it gives its input back.
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if call.has_output(1) {
            return Err("no kernel for its mask".into());
        }
        if call.has_input(2) && call.ints(2)? != [0] {
            return Err("it is in training mode".into());
        }
        call.input(0)?;
        Ok(Dispatch::view(0))
    }
}
