//! Quantisation: `q = round(x / scale) + zero_point`, kept within the type of `q`, and back:
//! `x = (q - zero_point) * scale`. Scales are for the whole tensor, for each index of an axis, or
//! for each block of indices along it.

use super::pointwise::{Operand, pointwise};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Port, Refusal, Storage};
use crate::tensor::{DType, Dim, Fact, Shape};

const QUANTIZE_CASES: &[&str] = &[
    "input x: f32[n, 3, 4]\n const s: f32[3] = [0.01, 0.02, 0.3]\n const z: u8[3] = [0, 128, 7]\n y = QuantizeLinear(x, s, z)\n output y: u8[n, 3, 4]",
    "input x: f32[n, 7]\n const s: f32[] = [0.015]\n const z: i8[] = [-3]\n y = QuantizeLinear(x, s, z)\n output y: i8[n, 7]",
    "input x: f32[4, 6]\n const s: f32[4, 2] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]\n y = QuantizeLinear(x, s) {axis = 1, block_size = 3, output_dtype = 3}\n output y: i8[4, 6]",
    "input x: f32[n, 3, 4]\n input s: f32[]\n y = QuantizeLinear(x, s)\n output y: u8[n, 3, 4]",
    "input x: f16[n, 3, 4]\n input s: f16[3]\n input z: i8[3]
     y = QuantizeLinear(x, s, z) {axis = 1}\n output y: i8[n, 3, 4]",
    "input x: f32[8, 10]\n input s: f32[8, 3]
     y = QuantizeLinear(x, s) {axis = -1, block_size = 4, output_dtype = 22}
     output y: i4[8, 10]",
    "opset 10\n input x: f32[?, 2]\n input s: f32[]\n input z: u8[]
     y = QuantizeLinear(x, s, z)\n output y: u8[?, 2]",
];

const DEQUANTIZE_CASES: &[&str] = &[
    "input x: u8[n, 3, 8]\n input s: f32[8]\n input z: u8[8]\n y = DequantizeLinear(x, s, z) {axis = -1}\n output y: f32[n, 3, 8]",
    "input x: i8[n, 7]\n input s: f32[1]\n input z: i8[]\n y = DequantizeLinear(x, s, z)\n output y: f32[n, 7]",
    "input x: i32[n, 3, 5]\n input s: f32[3]\n y = DequantizeLinear(x, s)\n output y: f32[n, 3, 5]",
    "input x: i8[n, 3]\n input s: f32[3]\n input z: i8[3]\n y = DequantizeLinear(x, s, z)\n output y: f32[n, 3]",
    "input x: u4[8, 10]\n input s: f16[8, 5]\n y = DequantizeLinear(x, s) {block_size = 2}\n output y: f16[8, 10]",
    "opset 23\n input x: i32[4]\n input s: f32[]
     y = DequantizeLinear(x, s) {output_dtype = 10}\n output y: f16[4]",
    "opset 13\n input x: u8\n input s: f32[1]\n y = DequantizeLinear(x, s)\n output y: f32",
];

pub const DEFS: &[OpDef] = &[
    rules::onnx("QuantizeLinear", quantize, QUANTIZE_CASES),
    check::microsoft(
        "QuantizeLinear",
        quantize,
        &["opset com.microsoft 1
        input x: f32[n]\n input s: f32[]\n input z: u16[]
        y = com.microsoft::QuantizeLinear(x, s, z)\n output y: u16[n]"],
    ),
    rules::onnx("DequantizeLinear", dequantize, DEQUANTIZE_CASES),
    check::microsoft(
        "DequantizeLinear",
        dequantize,
        &["opset com.microsoft 1
        input x: u16[n]\n input s: f32[]\n input z: u16[]
        y = com.microsoft::DequantizeLinear(x, s, z)\n output y: f32[n]"],
    ),
    rules::onnx(
        "DynamicQuantizeLinear",
        |_, _| Ok(Box::new(Dynamic)),
        &[
            "input x: f32[n, 3]\n y, s, z = DynamicQuantizeLinear(x)
           output y: u8[n, 3]\n output s: f32[]\n output z: u8[]",
            "input x: f32[n, 3, 97]\n y, s, z = DynamicQuantizeLinear(x)
           output y: u8[n, 3, 97]\n output s: f32[]\n output z: u8[]",
        ],
    ),
];

struct Linear {
    direction: Direction,
    axis: i64,
    /// 0 where a scale is not for a block.
    block_size: i64,
    output_dtype: Option<DType>,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Quantize,
    Dequantize,
}

fn quantize(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Direction::Quantize)
}

fn dequantize(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Direction::Dequantize)
}

fn parse(attrs: &Attrs, direction: Direction) -> Result<Box<dyn Op>> {
    let output_dtype = match attrs.int("output_dtype") {
        None | Some(0) => None,
        Some(number) => Some(rules::dtype_attr(number, "output_dtype")?),
    };
    Ok(Box::new(Linear {
        direction,
        axis: attrs.int("axis").unwrap_or(1),
        block_size: check::count(attrs, "block_size", 0)?.unwrap_or(0),
        output_dtype,
    }))
}

impl Op for Linear {
    /// x: [d..], scale, zero point: [], [1], [d of the axis], or like x with blocks along the axis.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let scale = rules::tensor(inputs, 1)?;
        let zero_point = inputs.get(2);
        let dtype = match self.direction {
            Direction::Quantize => match (zero_point.map(|fact| fact.dtype), self.output_dtype) {
                (Some(Some(given)), Some(named)) if given != named => {
                    let why = format!("the zero point is {given}, output_dtype names {named}");
                    return Err(Error::dtype("", why));
                }
                (Some(given), named) => given.or(named),
                (None, named) => named.or(Some(DType::U8)),
            },
            Direction::Dequantize => {
                rules::same_dtype(inputs, [0, 2])?;
                self.output_dtype.or(scale.dtype)
            }
        };
        if let (Some(x), Some(scale)) = (&x.shape, &scale.shape) {
            self.check_scale(x, scale)?;
        }
        // Exporters write a zero point for the whole tensor as [] beside a scale of [1].
        let single = |idx| {
            inputs
                .shape(idx)
                .is_some_and(|s: &Shape| s.elements() == Dim::Size(1))
        };
        if !(single(1) && single(2)) {
            rules::unify_shapes(inputs.shape(1), inputs.shape(2), "scale and zero point")?;
        }
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, scale, y) = (call.input(0)?, call.input(1)?, call.output(0)?);
        let (x_sizes, scale_sizes) = self.aligned(&call.sizes(0), &call.sizes(1))?;
        let mut operands = vec![(x, x_sizes.clone()), (scale, scale_sizes.clone())];
        let (mut argument, mut zero_point) = ("", "real(0.0)");
        if call.has_input(2) {
            // A single zero point may have another rank than its scale.
            let is_single = call.sizes(2).iter().product::<usize>() == 1;
            let sizes = if is_single { vec![] } else { scale_sizes };
            operands.push((call.input(2)?, sizes));
            (argument, zero_point) = (", z: in2", "real(z)");
        }
        let expression = match self.direction {
            Direction::Quantize => {
                let (low, high) = ends(y)?;
                format!("out(clamp(round(real(x) / s) + {zero_point}, real({low}), real({high})))")
            }
            Direction::Dequantize => format!("(real(x) - {zero_point}) * s"),
        };
        let apply = format!(
            "alias real = in1;\nfn apply(x: in0, s: in1{argument}) -> out {{ return {expression}; }}"
        );
        let name = match self.direction {
            Direction::Quantize => "quantize",
            Direction::Dequantize => "dequantize",
        };
        let kernel = Kernel::new(name, &apply);
        let launch = pointwise(kernel, &operands, (y, x_sizes), call.caps);
        Ok(Dispatch::one(launch))
    }
}

/// The ends of a type of 8 bits, as WGSL writes them.
fn ends(y: Port) -> Result<(&'static str, &'static str), Refusal> {
    match y.storage {
        Storage::I8 => Ok(("-128.0", "127.0")),
        Storage::U8 => Ok(("0.0", "255.0")),
        _ => Err("no kernel quantizes to its type".into()),
    }
}

impl Linear {
    /// Shapes under which x and the scale broadcast as in ONNX: the axis of blocks is split in two.
    fn aligned(&self, x: &[usize], scale: &[usize]) -> Result<(Vec<usize>, Vec<usize>), Refusal> {
        if self.block_size == 0 {
            if scale.iter().product::<usize>() == 1 {
                return Ok((x.to_vec(), vec![]));
            }
            let axis = Shape::unknown(x.len()).axis(self.axis).unwrap_or(0);
            let mut sizes = vec![1; x.len() - axis];
            sizes[0] = x[axis];
            return Ok((x.to_vec(), sizes));
        }
        let axis = Shape::unknown(x.len()).axis(self.axis).unwrap_or(0);
        let block_size = self.block_size as usize;
        if x[axis] % block_size != 0 {
            return Err("no kernel for a last block that is shorter".into());
        }
        let split = |sizes: &[usize], inside: usize, n_blocks: usize| {
            let mut split = sizes.to_vec();
            split[axis] = n_blocks;
            split.insert(axis + 1, inside);
            split
        };
        let n_blocks = x[axis] / block_size;
        Ok((split(x, block_size, n_blocks), split(scale, 1, n_blocks)))
    }

    fn check_scale(&self, x: &Shape, scale: &Shape) -> Result<()> {
        if self.block_size > 0 {
            let axis = rules::axis_in(x.rank(), self.axis)?;
            let mut blocks = x.0.clone();
            blocks[axis] = x[axis].ceil_div(&Dim::Size(self.block_size));
            return check::meet_shape("scale", Some(scale), &mut blocks);
        }
        // One scale for everything needs no axis: the default one may be outside.
        if scale.elements() == Dim::Size(1) {
            return Ok(());
        }
        check::rank("scale", scale, 1)?;
        let axis = rules::axis_in(x.rank(), self.axis)?;
        check::meet("scales and indices of the axis", &scale[0], &x[axis])?;
        Ok(())
    }
}

/// Finds the scale and the zero point from the range of `x`.
struct Dynamic;

impl Op for Dynamic {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        rules::expect_dtype(inputs, 0, |dtype| dtype == DType::F32, "f32")?;
        Ok(vec![
            rules::fact(Some(DType::U8), x.shape.clone()),
            Fact::tensor(DType::F32, Shape::scalar()),
            Fact::tensor(DType::U8, Shape::scalar()),
        ])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        let (scale, zero_point) = (call.output(1)?, call.output(2)?);
        let sizes = call.sizes(0);
        let n_elems: usize = sizes.iter().product();
        if n_elems == 0 {
            return Err("no kernel for the range of nothing".into());
        }
        // The last step reads what each of these invocations has found.
        let n_groups = n_elems
            .div_ceil(64 * 16)
            .min(if call.caps.software { 1 } else { 32 });
        let mut dispatch = Dispatch::default();
        let ranges = dispatch.add_scratch(Storage::F32, n_groups * 64 * 2);
        let range = Kernel::new("dynamic_range", include_str!("dynamic_range.wgsl"))
            .param("n_elems", n_elems)
            .param("step", n_groups * 64)
            .read("x", x)
            .write("range", ranges)
            .launch([n_groups as u32, 1, 1]);
        let fit = Kernel::new("dynamic_fit", include_str!("dynamic_fit.wgsl"))
            .param("n_ranges", n_groups * 64)
            .constant("WORKGROUP", 64)
            .snippet(include_str!("../wgsl/reduce.wgsl"))
            .read("range", ranges)
            .write("scale", scale)
            .write("zero_point", zero_point)
            .launch([1, 1, 1]);
        let apply = "fn apply(x: in0, s: in1, z: in2) -> out {
  return out(clamp(round(x / s) + in0(z), in0(0.0), in0(255.0)));
}";
        let operands: [Operand; 3] = [(x, sizes.clone()), (scale, vec![]), (zero_point, vec![])];
        let kernel = Kernel::new("quantize", apply);
        let quantize = pointwise(kernel, &operands, (y, sizes), call.caps);
        dispatch.launches = vec![range, fit, quantize];
        Ok(dispatch)
    }
}
