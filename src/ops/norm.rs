//! Normalisation with parameters per channel or per element:
//! `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`, where the operators differ in what
//! the mean and the variance run over.

use super::norm_channel;
use super::norm_layer::{self, LayerKernel};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "BatchNormalization",
        batch,
        &[
            "input x: f16[n, c, h, w]\n input s: f16[16]\n input m: f32[16]
             y = BatchNormalization(x, s, s, m, m)
             output y: f16[n, c, h, w]",
            "input x: f32[n, 5, 4, 3]\n input s: f32[5]\n const v: f32[5] = [1.0, 0.5, 2.0, 0.25, 3.0]
             y = BatchNormalization(x, s, s, s, v) {epsilon = 0.01}
             output y: f32[n, 5, 4, 3]",
            "input x: f32[2, 3, 7]\n input s: f32[3]\n const v: f32[3] = [1.0, 0.5, 2.0]
             y = BatchNormalization(x, s, s, s, v)
             output y: f32[2, 3, 7]",
            "input x: f32[2, 3]\n input s: f32[3]\n input m: f32[?]
             y, rm, rv = BatchNormalization(x, s, s, m, m) {training_mode = 1}
             output y: f32[2, 3]\n output rm: f32[3]\n output rv: f32[3]",
            "opset 7\n input x: f32[2, 3, 4]\n input s: f32[3, 4]
             y, m, v, sm, sv = BatchNormalization(x, s, s, s, s) {spatial = 0}
             output y: f32[2, 3, 4]\n output m: f32[3, 4]\n output v: f32[3, 4]
             output sm: f32[3, 4]\n output sv: f32[3, 4]",
        ],
    ),
    rules::onnx(
        "InstanceNormalization",
        instance,
        &[
            "input x: f32[n, 3, h]\n input s: f32[3]\n y = InstanceNormalization(x, s, s)\n output y: f32[n, 3, h]",
            "input x: f16[2, 3, 9, 8]\n input s: f16[3]\n input b: f16[3]
             y = InstanceNormalization(x, s, b) {epsilon = 0.1}\n output y: f16[2, 3, 9, 8]",
        ],
    ),
    rules::onnx(
        "GroupNormalization",
        group,
        &[
            "input x: f32[n, 6, h]\n input s: f32[6]
             y = GroupNormalization(x, s, s) {num_groups = 2}
             output y: f32[n, 6, h]",
            "input x: f32[2, 6, 5, 7]\n input s: f32[6]\n input b: f32[6]
             y = GroupNormalization(x, s, b) {num_groups = 3, epsilon = 0.01}
             output y: f32[2, 6, 5, 7]",
            "opset 18\n input x: f32[n, 6, h]\n input s: f32[2]
             y = GroupNormalization(x, s, s) {num_groups = 2}
             output y: f32[n, 6, h]",
        ],
    ),
    rules::onnx(
        "LayerNormalization",
        layer,
        &[
            "input x: f16[b, s, 64]\n input w: f16[64]
             y, m, d = LayerNormalization(x, w, w)
             output y: f16[b, s, 64]\n output m: f32[b, s, 1]\n output d: f32[b, s, 1]",
            "input x: f32[n, 70]\n input w: f32[70]\n y = LayerNormalization(x, w, w)\n output y: f32[n, 70]",
            "input x: f32[2, 3, 33]\n input w: f32[3, 33]\n y = LayerNormalization(x, w) {axis = 1, epsilon = 0.5}
             output y: f32[2, 3, 33]",
            "input x: f32[5, 3]\n input w: f32[3]\n y, m, d = LayerNormalization(x, w)
             output y: f32[5, 3]\n output m: f32[5, 1]\n output d: f32[5, 1]",
            "opset 17\n input x: f32[2, 3, 4]\n input w: f32[3, 4]
             y, _, d = LayerNormalization(x, w) {axis = 1, stash_type = 16}
             output y: f32[2, 3, 4]\n output d: bf16[2, 1, 1]",
        ],
    ),
    rules::onnx(
        "SimplifiedLayerNormalization",
        simplified_layer,
        &["input x: f32[b, 64]\n input w: f32[64]
           y, d = SimplifiedLayerNormalization(x, w)
           output y: f32[b, 64]\n output d: f32[b, 1]"],
    ),
    rules::onnx(
        "RMSNormalization",
        rms,
        &[
            "opset 23\n input x: f32[b, 65]\n input w: f32[65]\n y = RMSNormalization(x, w)\n output y: f32[b, 65]",
            "opset 23\n input x: f32[b, 8]\n input w: f16[8]\n y = RMSNormalization(x, w)\n output y: f16[b, 8]",
        ],
    ),
    check::microsoft(
        "SkipLayerNormalization",
        skip_layer,
        &[
            "opset com.microsoft 1\n input x: f32[b, s, 40]\n input w: f32[40]
           y = com.microsoft::SkipLayerNormalization(x, x, w, w)\n output y: f32[b, s, 40]",
            "opset com.microsoft 1\n input x: f32[2, 3, 40]\n input k: f32[1, 3, 40]\n input w: f32[40]
           y, _, _, t = com.microsoft::SkipLayerNormalization(x, k, w)\n output y: f32[2, 3, 40]\n output t: f32[2, 3, 40]",
            "opset com.microsoft 1\n input x: f16[b, s, 8]\n input w: f16[8]
           y, m, _, t = com.microsoft::SkipLayerNormalization(x, x, w, w, w)
           output y: f16[b, s, 8]\n output m: f32[b, s, 1]\n output t: f16[b, s, 8]",
        ],
    ),
    check::microsoft(
        "SkipSimplifiedLayerNormalization",
        skip_simplified_layer,
        &[
            "opset com.microsoft 1\n input x: f32[b, s, 8]\n input w: f32[8]
           y, _, _, t = com.microsoft::SkipSimplifiedLayerNormalization(x, x, w)
           output y: f32[b, s, 8]\n output t: f32[b, s, 8]",
        ],
    ),
];

/// Over all axes but the channels, with means and variances from outside unless training.
struct Batch {
    version: i64,
    /// Before version 9 the parameters may be for each channel and place.
    per_place: bool,
    epsilon: f32,
    training: bool,
}

fn batch(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let per_place = version < 9 && attrs.int("spatial") == Some(0);
    Ok(Box::new(Batch {
        version,
        per_place,
        epsilon: attrs.float("epsilon").unwrap_or(1e-5),
        training: check::flag(attrs, "training_mode"),
    }))
}

impl Op for Batch {
    /// x: [n, c, d..], the others: [c] -> y like x, the other outputs [c].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        for idx in 1..5 {
            rules::tensor(inputs, idx)?;
        }
        // Version 14 gives the means, version 15 also the scales, a type of their own.
        let stats_dtype = match self.version {
            ..14 => rules::same_dtype(inputs, 0..5)?,
            14 => {
                rules::same_dtype(inputs, 0..3)?;
                rules::same_dtype(inputs, 3..5)?
            }
            _ => {
                rules::same_dtype(inputs, 1..3)?;
                rules::same_dtype(inputs, 3..5)?
            }
        };
        let mut channels = vec![match &x.shape {
            // A vector is a batch of one channel.
            Some(x) if x.rank() == 1 => Dim::Size(1),
            Some(x) => {
                check::min_rank("x", x, 1)?;
                x[1].clone()
            }
            None => Dim::Unknown,
        }];
        if self.per_place {
            channels = match &x.shape {
                Some(x) => x[1..].to_vec(),
                None => return Ok(vec![rules::fact(x.dtype, None)]),
            };
        }
        for (idx, what) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
            check::meet_shape(what, inputs.shape(idx), &mut channels)?;
        }
        let stats = rules::fact(stats_dtype, Some(Shape(channels)));
        let y = rules::fact(x.dtype, x.shape.clone());
        Ok(vec![y, stats.clone(), stats.clone(), stats.clone(), stats])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if self.training || self.per_place || call.has_output(1) {
            return Err("it is not for inference with parameters per channel".into());
        }
        norm_channel::batch(call, self.epsilon)
    }
}

/// Over the spatial axes of each channel or group of channels.
struct Channelwise {
    n_groups: Option<i64>,
    /// True when the parameters are per group.
    per_group: bool,
    epsilon: f32,
}

fn instance(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Channelwise {
        n_groups: None,
        per_group: false,
        epsilon: attrs.float("epsilon").unwrap_or(1e-5),
    }))
}

fn group(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let n_groups = check::count(attrs, "num_groups", 1)?;
    Ok(Box::new(Channelwise {
        n_groups: Some(rules::required(n_groups, "num_groups")?),
        per_group: version < 21,
        epsilon: attrs.float("epsilon").unwrap_or(1e-5),
    }))
}

impl Op for Channelwise {
    /// x: [n, c, d..], scale, bias: [c] or [groups] -> y like x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        rules::tensor(inputs, 2)?;
        let dtype = rules::same_dtype(inputs, 0..3)?;
        let mut channels = Dim::Unknown;
        if let Some(x) = &x.shape {
            check::min_rank("x", x, 2)?;
            channels = x[1].clone();
        }
        if let (Some(c), Some(n_groups)) = (channels.value(), self.n_groups)
            && c % n_groups != 0
        {
            let why = format!("{c} channels do not split into {n_groups} groups");
            return Err(Error::shape("", why));
        }
        let mut parameters = [match self.n_groups {
            Some(n_groups) if self.per_group => Dim::Size(n_groups),
            _ => channels,
        }];
        check::meet_shape("scale", inputs.shape(1), &mut parameters)?;
        check::meet_shape("bias", inputs.shape(2), &mut parameters)?;
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let n_groups = match self.n_groups {
            Some(n_groups) => usize::try_from(n_groups).expect("parse has seen it"),
            None => call.sizes(0)[1],
        };
        norm_channel::groups(call, n_groups, self.epsilon)
    }
}

/// Over the axes from `axis` on.
struct Layer {
    axis: i64,
    epsilon: f32,
    stats_dtype: DType,
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// x, scale, bias -> y, mean, 1 / deviation.
    Layer,
    /// x, scale -> y, 1 / root mean square.
    Simplified,
    /// x, scale -> y, of the type of the scale.
    Rms,
    /// x, skip, scale, bias, bias of x -> y, mean, 1 / deviation, sum.
    SkipLayer,
    /// x, skip, scale, bias of x -> y, mean, 1 / deviation, sum.
    SkipSimplified,
}

fn parse_layer(attrs: &Attrs, form: Form) -> Result<Box<dyn Op>> {
    let stash_type = attrs.int("stash_type").unwrap_or(1);
    let epsilon = match form {
        Form::SkipLayer | Form::SkipSimplified => 1e-12,
        _ => 1e-5,
    };
    Ok(Box::new(Layer {
        axis: attrs.int("axis").unwrap_or(-1),
        epsilon: attrs.float("epsilon").unwrap_or(epsilon),
        stats_dtype: rules::dtype_attr(stash_type, "stash_type")?,
        form,
    }))
}

fn layer(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse_layer(attrs, Form::Layer)
}

fn simplified_layer(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse_layer(attrs, Form::Simplified)
}

fn rms(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse_layer(attrs, Form::Rms)
}

fn skip_layer(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse_layer(attrs, Form::SkipLayer)
}

fn skip_simplified_layer(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse_layer(attrs, Form::SkipSimplified)
}

impl Op for Layer {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let (scale_idx, parameters) = match self.form {
            Form::Layer => (1, 1..3),
            Form::Simplified | Form::Rms => (1, 1..2),
            Form::SkipLayer => (2, 2..5),
            Form::SkipSimplified => (2, 2..4),
        };
        rules::tensor(inputs, scale_idx)?;
        let dtype = match self.form {
            Form::Rms => inputs.dtype(1),
            Form::Simplified => inputs.dtype(1).or(x.dtype),
            _ => rules::same_dtype(inputs, 0..parameters.end)?,
        };
        let mut stats_shape = x.shape.clone();
        if let Some(shape) = &mut stats_shape {
            let axis = rules::axis_in(shape.rank(), self.axis)?;
            for idx in parameters {
                if let Some(given) = inputs.shape(idx) {
                    check::broadcasts_to("scale or bias", given, shape)?;
                }
            }
            shape.0[axis..].fill(Dim::Size(1));
        }
        let y = rules::fact(dtype, x.shape.clone());
        let stats = rules::fact(Some(self.stats_dtype), stats_shape);
        Ok(match self.form {
            Form::Layer => vec![y, stats.clone(), stats],
            Form::Simplified => vec![y, stats],
            Form::Rms => vec![y],
            Form::SkipLayer | Form::SkipSimplified => vec![y.clone(), stats.clone(), stats, y],
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let rank = call.sizes(0).len();
        let plain = LayerKernel {
            axis: rules::axis_in(rank, self.axis).expect("infer has accepted the axis"),
            epsilon: self.epsilon,
            centred: true,
            skip: None,
            scale: 1,
            bias: None,
            x_bias: None,
            mean: None,
            inverse: None,
            sum: None,
        };
        let kernel = match self.form {
            Form::Layer => LayerKernel {
                bias: Some(2),
                mean: Some(1),
                inverse: Some(2),
                ..plain
            },
            Form::Simplified => LayerKernel {
                centred: false,
                inverse: Some(1),
                ..plain
            },
            Form::Rms => LayerKernel {
                centred: false,
                ..plain
            },
            Form::SkipLayer => LayerKernel {
                skip: Some(1),
                scale: 2,
                bias: Some(3),
                x_bias: Some(4),
                mean: Some(1),
                inverse: Some(2),
                sum: Some(3),
                ..plain
            },
            Form::SkipSimplified => LayerKernel {
                centred: false,
                skip: Some(1),
                scale: 2,
                x_bias: Some(3),
                mean: Some(1),
                inverse: Some(2),
                sum: Some(3),
                ..plain
            },
        };
        norm_layer::dispatch(&kernel, call)
    }
}
