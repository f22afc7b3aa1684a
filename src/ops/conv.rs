//! Convolutions: `y[n, m, o] = sum_{c, k} x[n, c, o * stride + k * dilation - pad] * w[m, c, k] + b[m]`,
//! and the same over quantised elements.

use super::conv_integer;
use super::conv_kernels::{self, Activation, Geometry};
use super::window::Window;
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "Conv",
        conv,
        &[
            "input x: f32[n, 3, 224, w]\n input k: f32[16, 3, 3, 3]\n input b: f32[16]
             y = Conv(x, k, b) {strides = [2, 2], pads = [1, 1, 1, 1]}
             output y: f32[n, 16, 112, (((w - 1) / 2) + 1)]",
            "input x: f16[1, 4, 9]\n input k: f16[4, 1, 3]
             y = Conv(x, k) {group = 4, dilations = [2], auto_pad = \"VALID\"}
             output y: f16[1, 4, 5]",
            "opset 1\n input x: f32[1, 2, 5, 8]\n input k: f32[6, 2, 3, 3]
             y = Conv(x, k) {strides = [2, 3], auto_pad = \"SAME_LOWER\"}
             output y: f32[1, 6, 3, 3]",
            "input x: f32\n input k: f32[6, 2, 3, 3]\n y = Conv(x, k)\n output y: f32[?, 6, ?, ?]",
            // Depthwise, odd rows.
            "input x: f32[n, 5, 9, w]\n input k: f32[5, 1, 3, 3]\n input b: f32[5]
             y = Conv(x, k, b) {group = 5, pads = [1, 1, 1, 1]}
             output y: f32[n, 5, 9, w]",
            "input x: f32[1, 8, 12, 11]\n input k: f32[8, 1, 5, 5]
             y = Conv(x, k) {group = 8, strides = [2, 2], pads = [2, 2, 2, 2]}
             output y: f32[1, 8, 6, 6]",
            // Depthwise with two features for each channel, and dilated.
            "input x: f32[2, 3, 9, 9]\n input k: f32[6, 1, 3, 3]
             y = Conv(x, k) {group = 3, dilations = [2, 2], pads = [0, 1, 2, 3]}
             output y: f32[2, 6, 7, 9]",
            // Groups of several channels.
            "input x: f32[2, 6, 7, 5]\n input k: f32[10, 3, 3, 3]\n input b: f32[10]
             y = Conv(x, k, b) {group = 2, pads = [1, 1, 1, 1]}
             output y: f32[2, 10, 7, 5]",
            // 1x1: a product of matrices, with features and places that fill no tile.
            "input x: f32[2, 7, 5, 5]\n input k: f32[6, 7, 1, 1]\n input b: f32[6]
             y = Conv(x, k, b)\n output y: f32[2, 6, 5, 5]",
            "input x: f32[1, 36, 10, 7]\n input k: f32[70, 36, 1, 1]\n input b: f32[70]
             y = Conv(x, k, b)\n output y: f32[1, 70, 10, 7]",
            // Few places and many channels.
            "input x: f32[2, 130, 1, 1]\n input k: f32[14, 65, 1, 1]\n input b: f32[14]
             y = Conv(x, k, b) {group = 2}\n output y: f32[2, 14, 1, 1]",
            "input x: f16[2, 20, 8, 8]\n input k: f16[24, 20, 1, 1]
             y = Conv(x, k) {strides = [2, 2]}\n output y: f16[2, 24, 4, 4]",
            // More features, places and terms than one tile has.
            "input x: f32[2, 9, 13, 11]\n input k: f32[68, 9, 3, 3]\n input b: f32[68]
             y = Conv(x, k, b) {pads = [1, 1, 1, 1]}\n output y: f32[2, 68, 13, 11]",
            "input x: f32[1, 16, 8, 16]\n input k: f32[64, 16, 3, 3]
             y = Conv(x, k) {pads = [1, 1, 1, 1]}\n output y: f32[1, 64, 8, 16]",
            "input x: f32[1, 2, 5, 6, 7]\n input k: f32[3, 2, 3, 2, 3]\n input b: f32[3]
             y = Conv(x, k, b) {strides = [1, 2, 1], pads = [1, 0, 1, 1, 1, 1]}
             output y: f32[1, 3, 5, 3, 7]",
        ],
    ),
    check::microsoft(
        "FusedConv",
        conv,
        &[
            "opset com.microsoft 1\n input x: f32[1, 2, 5]\n input k: f32[3, 2, 3]
             y = com.microsoft::FusedConv(x, k) {activation = \"Relu\"}
             output y: f32[1, 3, 3]",
            "opset com.microsoft 1\n input x: f32[1, 8, 9, 9]\n input k: f32[12, 8, 3, 3]
             input b: f32[12]\n input z: f32[1, 12, 5, 5]
             y = com.microsoft::FusedConv(x, k, b, z) {activation = \"Clip\", activation_params = [-0.5, 2.0], strides = [2, 2], auto_pad = \"SAME_UPPER\"}
             output y: f32[1, 12, 5, 5]",
            "opset com.microsoft 1\n input x: f32[1, 6, 7, 8]\n input k: f32[6, 1, 3, 3]\n input b: f32[6]
             y = com.microsoft::FusedConv(x, k, b) {group = 6, activation = \"HardSigmoid\", activation_params = [0.2, 0.5], pads = [1, 1, 1, 1]}
             output y: f32[1, 6, 7, 8]",
            "opset com.microsoft 1\n input x: f32[1, 33, 9, 8]\n input k: f32[17, 33, 1, 1]\n input b: f32[17]
             input z: f32[1, 17, 9, 8]
             y = com.microsoft::FusedConv(x, k, b, z) {activation = \"Relu\", gain = -1.5, shift = 0.25}
             output y: f32[1, 17, 9, 8]",
        ],
    ),
    rules::onnx(
        "ConvInteger",
        conv_integer,
        &[
            "input x: u8[1, 1, 3, 3]\n input k: i8[1, 1, 2, 2]\n input z: u8[]
             y = ConvInteger(x, k, z) {pads = [1, 1, 1, 1]}
             output y: i32[1, 1, 4, 4]",
            "input x: u8[2, 3, 5, 6]\n input k: i8[4, 3, 3, 2]\n input z: u8[]\n input w: i8[4]
             y = ConvInteger(x, k, z, w) {strides = [2, 1], pads = [1, 0, 0, 0]}
             output y: i32[2, 4, 2, 5]",
            "input x: u8[1, 4, 5, 5]\n input k: u8[4, 1, 3, 3]
             y = ConvInteger(x, k) {group = 4}
             output y: i32[1, 4, 3, 3]",
            "input x: i8[2, 9, 3, 6]\n input k: i8[5, 9, 1, 1]\n input z: i8[]
             y = ConvInteger(x, k, z) {strides = [2, 1]}
             output y: i32[2, 5, 2, 6]",
        ],
    ),
    rules::onnx(
        "QLinearConv",
        qlinear_conv,
        &["input x: u8[n, 3, 8, 8]\n input xs: f32[]\n input xz: u8[]
             input k: i8[4, 3, 1, 1]\n input ks: f32[4]\n input kz: i8[4]
             input ys: f32[]\n input yz: u8[]\n input b: i32[4]
             y = QLinearConv(x, xs, xz, k, ks, kz, ys, yz, b) {strides = [2, 2]}
             output y: u8[n, 4, 4, 4]",
          "input x: u8[2, 3, 5, 6]\n const xs: f32[] = [0.02]\n input xz: u8[]
             input k: i8[4, 3, 3, 3]\n const ks: f32[4] = [0.05, 0.1, 0.02, 0.03]\n input kz: i8[4]
             const ys: f32[] = [0.125]\n const yz: i8[] = [3]\n input b: i32[4]
             y = QLinearConv(x, xs, xz, k, ks, kz, ys, yz, b) {pads = [1, 1, 1, 1]}
             output y: i8[2, 4, 5, 6]"],
    ),
    rules::onnx(
        "DeformConv",
        deform_conv,
        &[
            "input x: f32[1, 1, 3, 3]\n input k: f32[1, 1, 2, 2]\n input o: f32[1, 8, 4, 4]
             y = DeformConv(x, k, o) {kernel_shape = [2, 2], pads = [1, 1, 1, 1]}
             output y: f32[1, 1, 4, 4]",
        ],
    ),
    rules::onnx(
        "CausalConvWithState",
        |_, _| Ok(Box::new(CausalConv)),
        &["opset 27\n input x: f32[b, 8, t]\n input k: f32[8, 1, 4]
             y, s = CausalConvWithState(x, k)
             output y: f32[b, 8, t]\n output s: f32[b, 8, 3]"],
    ),
];

/// Where the inputs of a convolution stand and what type its output has.
struct Conv {
    window: Window,
    group: i64,
    roles: Roles,
    activation: Activation,
}

enum Roles {
    /// x, w, b; all of one type.
    Float,
    /// x, w and zero points; sums in i32.
    Integer,
    /// x and w with scale and zero point each, those of y, b in i32.
    QLinear,
    /// x, w, offset, b, mask.
    Deform { offset_group: i64 },
}

fn conv(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Roles::Float)
}

fn conv_integer(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Roles::Integer)
}

fn qlinear_conv(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Roles::QLinear)
}

fn deform_conv(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let offset_group = check::count(attrs, "offset_group", 1)?.unwrap_or(1);
    parse(attrs, Roles::Deform { offset_group })
}

fn parse(attrs: &Attrs, roles: Roles) -> Result<Box<dyn Op>> {
    Ok(Box::new(Conv {
        window: Window::parse(attrs)?,
        group: check::count(attrs, "group", 1)?.unwrap_or(1),
        roles,
        activation: Activation {
            name: attrs.str("activation").unwrap_or_default().to_owned(),
            params: attrs
                .floats("activation_params")
                .unwrap_or_default()
                .to_vec(),
            gain: attrs.float("gain").unwrap_or(1.0),
            shift: attrs.float("shift").unwrap_or(0.0),
        },
    }))
}

impl Op for Conv {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (w_idx, bias_idx) = match self.roles {
            Roles::Float => (1, 2),
            Roles::Integer => (1, usize::MAX),
            Roles::QLinear => (3, 8),
            Roles::Deform { .. } => (1, 3),
        };
        rules::tensor(inputs, 0)?;
        rules::tensor(inputs, w_idx)?;
        let dtype = match self.roles {
            Roles::Float => rules::same_dtype(inputs, [0, 1, 2])?,
            Roles::Integer => {
                rules::same_dtype(inputs, [0, 2])?;
                rules::same_dtype(inputs, [1, 3])?;
                Some(DType::I32)
            }
            Roles::QLinear => {
                rules::same_dtype(inputs, [0, 2])?;
                rules::same_dtype(inputs, [3, 5])?;
                rules::tensor(inputs, 7)?.dtype
            }
            Roles::Deform { .. } => rules::same_dtype(inputs, [0, 1, 2, 3, 4])?,
        };
        let shape = self.shape(inputs.shape(0), inputs.shape(w_idx), inputs.shape(bias_idx))?;
        if let Roles::Deform { offset_group } = self.roles
            && let (Some(y), Some(w)) = (&shape, inputs.shape(1))
        {
            let taps = w[2..].iter().fold(Dim::Size(offset_group), |n, k| &n * k);
            let coordinates = &taps * (y.rank() as i64 - 2);
            for (idx, what, channels) in [(2, "offset", coordinates), (4, "mask", taps)] {
                let mut expected = y.to_vec();
                expected[1] = channels;
                check::meet_shape(what, inputs.shape(idx), &mut expected)?;
            }
        }
        Ok(vec![rules::fact(dtype, shape)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        match self.roles {
            Roles::Float => conv_kernels::dispatch(call, self.geometry(call, 1)?, &self.activation),
            Roles::Integer => conv_integer::integer(call, self.geometry(call, 1)?),
            Roles::QLinear => conv_integer::quantised(call, self.geometry(call, 3)?),
            Roles::Deform { .. } => Err("deformable convolutions have no kernel".into()),
        }
    }
}

impl Conv {
    fn geometry(&self, call: &Call, w_idx: usize) -> Result<Geometry, Refusal> {
        let (x, w, y) = (call.sizes(0), call.sizes(w_idx), call.output_sizes(0));
        let groups = usize::try_from(self.group).expect("parse has seen it");
        Ok(Geometry {
            batch: x[0],
            groups,
            channels: w[1],
            features: w[0] / groups,
            slides: self.window.slides(&x[2..], &w[2..], &y[2..])?,
        })
    }

    /// x: [n, c, d..], w: [m, c / group, k..], bias: [m] -> [n, m, d'..].
    fn shape(
        &self,
        x: Option<&Shape>,
        w: Option<&Shape>,
        bias: Option<&Shape>,
    ) -> Result<Option<Shape>> {
        let Some(rank) = x.or(w).map(Shape::rank) else {
            return Ok(None);
        };
        let unknown = Shape::unknown(rank);
        let (x, w) = (x.unwrap_or(&unknown), w.unwrap_or(&unknown));
        check::min_rank("x", x, 3)?;
        check::rank("w", w, rank)?;
        self.window.check_rank(rank - 2)?;
        let channels = &w[1] * self.group;
        check::meet("channels of x and of w times group", &x[1], &channels)?;
        let mut features = [w[0].clone()];
        check::meet_shape("bias", bias, &mut features)?;
        let [features] = features;
        if features.value().is_some_and(|m| m % self.group != 0) {
            let why = format!(
                "{features} features do not split into {} groups",
                self.group
            );
            return Err(Error::shape("", why));
        }
        let mut shape = vec![x[0].clone(), features];
        for axis in 0..rank - 2 {
            let kernel = check::meet(
                "kernel of w and kernel_shape",
                &w[axis + 2],
                &self.window.kernel(axis),
            )?;
            shape.push(self.window.outputs(axis, &x[axis + 2], &kernel)?);
        }
        Ok(Some(Shape(shape)))
    }
}

/// x: [n, c, t], w: [c, 1, k], bias: [c], past: [n, c, k - 1] -> [n, c, t], [n, c, k - 1].
struct CausalConv;

impl Op for CausalConv {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let dtype = rules::same_dtype(inputs, [0, 1, 2, 3])?;
        let mut x = vec![Dim::Unknown; 3];
        check::meet_shape("x", rules::tensor(inputs, 0)?.shape.as_ref(), &mut x)?;
        let mut w = [x[1].clone(), Dim::Size(1), Dim::Unknown];
        check::meet_shape("w", rules::tensor(inputs, 1)?.shape.as_ref(), &mut w)?;
        let [channels, _, kernel] = w;
        check::meet_shape("bias", inputs.shape(2), &mut [channels.clone()])?;
        let mut state = vec![x[0].clone(), channels.clone(), &kernel - 1];
        check::meet_shape("past state", inputs.shape(3), &mut state)?;
        x[0] = state[0].clone();
        x[1] = channels;
        Ok([x, state]
            .map(|dims| rules::fact(dtype, Some(Shape(dims))))
            .into())
    }
}
