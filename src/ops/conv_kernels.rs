//! Kernels of convolutions: which of them computes a node, and how it is put together.

use super::window::Slide;
use crate::kernel::{Call, Dispatch, Kernel, Map, Port, Refusal};

/// x: [batch, groups * channels, d..], w: [groups * features, channels, k..]
/// -> [batch, groups * features, d'..].
pub(super) struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Of one group, as are the features.
    pub channels: usize,
    pub features: usize,
    pub slides: [Slide; 3],
}

impl Geometry {
    fn declare(&self, kernel: Kernel) -> Kernel {
        let kernel = kernel
            .param("groups", self.groups)
            .param("channels", self.channels)
            .param("features", self.features);
        Slide::declare(&self.slides, kernel)
    }
}

/// What happens to a sum before it is stored: `activate(sum + bias + z)`.
struct Epilogue {
    bias: Option<Port>,
    z: Option<Port>,
}

impl Epilogue {
    /// Adds `fn finish(sum: f32, m: u32, i: u32) -> f32` for element `i` of feature `m`.
    fn declare(&self, mut kernel: Kernel) -> Kernel {
        let mut sum = "sum".to_owned();
        if let Some(bias) = self.bias {
            kernel = kernel.read("bias", bias);
            sum.push_str(" + load_bias(m)");
        }
        if let Some(z) = self.z {
            kernel = kernel.read("z", z);
            sum.push_str(" + load_z(i)");
        }
        kernel.snippet(&format!(
            "fn finish(sum: f32, m: u32, i: u32) -> f32 {{ return {sum}; }}"
        ))
    }
}

/// Inputs: x, w, bias, z.
pub(super) fn dispatch(
    call: &Call,
    geometry: Geometry,
    activation: &(String, Vec<f32>),
) -> Result<Dispatch, Refusal> {
    if !activation.0.is_empty() {
        return Err("activations are computed apart".into());
    }
    let optional = |idx| call.has_input(idx).then(|| call.input(idx)).transpose();
    let epilogue = Epilogue {
        bias: optional(2)?,
        z: optional(3)?,
    };
    let (x, w, y) = (call.input(0)?, call.input(1)?, call.output(0)?);
    if !x.storage.is_float() {
        return Err("it is not over floats".into());
    }
    let n_elems = call.output_sizes(0).iter().product();
    let kernel = Map::kernel("conv_direct", include_str!("conv_direct.wgsl"));
    let kernel = geometry.declare(kernel).read("x", x).read("w", w);
    let kernel = epilogue.declare(kernel);
    Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
}
