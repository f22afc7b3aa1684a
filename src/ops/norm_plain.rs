//! Normalisation without parameters: by mean and variance, or over neighbouring channels. The
//! shape stays.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Map, Refusal};
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "MeanVarianceNormalization",
        mean_variance,
        &[
            "input x: f32[1, 3, h, w]\n y = MeanVarianceNormalization(x)\n output y: f32[1, 3, h, w]",
            "input x: f32[2, 3]\n y = MeanVarianceNormalization(x) {axes = [-1]}\n output y: f32[2, 3]",
        ],
    ),
    rules::onnx(
        "LRN",
        lrn,
        &[
            "opset 1\n input x: f32[n, 16, 5, 5]\n y = LRN(x) {size = 3}\n output y: f32[n, 16, 5, 5]",
            "input x: f32[2, 5, 7]\n y = LRN(x) {size = 4, alpha = 0.5, beta = 0.6, bias = 2.0}
             output y: f32[2, 5, 7]",
        ],
    ),
];

/// `y` has the shape and type of `x`, which must have the axes.
struct Plain {
    axes: Vec<i64>,
    min_rank: usize,
}

fn mean_variance(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Plain {
        axes: attrs.ints("axes").unwrap_or(&[0, 2, 3]).to_vec(),
        min_rank: 0,
    }))
}

impl Op for Plain {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        if let Some(shape) = &x.shape {
            check::min_rank("x", shape, self.min_rank)?;
            rules::axes_in(shape.rank(), &self.axes)?;
        }
        Ok(vec![rules::fact(x.dtype, x.shape.clone())])
    }
}

/// `y = x / (bias + alpha / size * sum of squares of size neighbouring channels) ^ beta`.
struct Lrn {
    size: i64,
    alpha: f32,
    beta: f32,
    bias: f32,
}

fn lrn(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Lrn {
        size: rules::required(check::count(attrs, "size", 1)?, "size")?,
        alpha: attrs.float("alpha").unwrap_or(1e-4),
        beta: attrs.float("beta").unwrap_or(0.75),
        bias: attrs.float("bias").unwrap_or(1.0),
    }))
}

const LRN: &str = "fn element(i: u32) -> f32 {
  let channel = i / params.inner % params.channels;
  let first = i - channel * params.inner;
  // Channels before the first wrap around to numbers beyond all.
  var sum = 0.0;
  for (var k = 0u; k < params.size; k++) {
    let c = channel + k - (params.size - 1u) / 2u;
    if c < params.channels {
      let x = load_x(first + c * params.inner);
      sum += x * x;
    }
  }
  return load_x(i) * pow(params.bias + params.share * sum, -params.beta);
}";

impl Op for Lrn {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        if let Some(shape) = &x.shape {
            check::min_rank("x", shape, 2)?;
        }
        Ok(vec![rules::fact(x.dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if self.alpha < 0.0 || self.bias <= 0.0 {
            return Err("its base may be negative".into());
        }
        let sizes = call.sizes(0);
        let size = usize::try_from(self.size).expect("parse has seen it");
        let kernel = Map::kernel("lrn", LRN)
            .param("size", size)
            .param("channels", sizes[1])
            .param("inner", sizes[2..].iter().product())
            .param_f32("share", self.alpha / self.size as f32)
            .param_f32("beta", self.beta)
            .param_f32("bias", self.bias)
            .read("x", call.input(0)?);
        let n_elems = sizes.iter().product();
        let launch = Map::launch(kernel, call.output(0)?, n_elems, call.caps);
        Ok(Dispatch::one(launch))
    }
}
