//! `Shape` and `Size`: from where shapes become values.

use super::rules::{onnx, with_value};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::Result;
use crate::tensor::{DType, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Shape",
        parse_shape,
        &[
            "input x: f32[n, 3]\n s = Shape(x)\n y = ConstantOfShape(s)\n output s: i64[2]\n output y: f32[n, 3]",
            "input x: f32[n, 3, 4]\n s = Shape(x) {start = -2, end = 9}\n y = ConstantOfShape(s)\n output y: f32[3, 4]",
            "opset 13\n input x: f32\n s = Shape(x)\n output s: i64[?]",
            "input x: f32[2, 3]\n s = Shape(x) {start = 2, end = 1}\n output s: i64[0]",
        ],
    ),
    onnx(
        "Size",
        |_, _| Ok(Box::new(Size)),
        &[
            "input x: f32[n, 3]\n s = Size(x)\n const axes: i64[1] = [0]\n t = Unsqueeze(s, axes)\n y = ConstantOfShape(t)\n output s: i64[]\n output y: f32[(n * 3)]",
        ],
    ),
];

struct ShapeOf {
    start: i64,
    end: Option<i64>,
}

fn parse_shape(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(ShapeOf {
        start: attrs.int("start").unwrap_or(0),
        end: attrs.int("end"),
    }))
}

impl Op for ShapeOf {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let Some(shape) = &inputs.need(0)?.shape else {
            return Ok(vec![Fact::tensor(DType::I64, Shape::unknown(1))]);
        };
        // Bounds beyond the rank are clamped, as in Python's slices.
        let bound = |bound: i64| {
            let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
            let bound = if bound < 0 {
                bound.saturating_add(rank)
            } else {
                bound
            };
            usize::try_from(bound.clamp(0, rank)).unwrap_or(0)
        };
        let start = bound(self.start);
        let end = self.end.map_or(shape.rank(), bound).max(start);
        let dims = shape[start..end].to_vec();
        let fact = Fact::tensor(DType::I64, Shape::known(&[dims.len()]));
        Ok(vec![with_value(fact, Some(dims))])
    }
}

struct Size;

impl Op for Size {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let shape = inputs.need(0)?.shape.as_ref();
        let fact = Fact::tensor(DType::I64, Shape::scalar());
        Ok(vec![with_value(
            fact,
            shape.map(|shape| vec![shape.elements()]),
        )])
    }
}
