//! What convolutions sum, and what becomes of the sums, whichever kernel computes them.

use super::activation;
use crate::kernel::{Kernel, Port, Storage};

/// What the sums are made of.
pub(super) struct Terms {
    pub x: Port,
    /// What stands for zero in x: one number.
    pub x_zero: Option<Port>,
    pub w: Port,
    /// What stands for zero in w: one number, or one for each feature.
    pub w_zero: Option<(Port, &'static str)>,
    pub bias: Option<Port>,
}

impl Terms {
    /// The type that sums have.
    pub(super) fn storage(&self) -> Storage {
        if self.x.storage.is_float() {
            Storage::F32
        } else {
            Storage::I32
        }
    }

    /// Adds `alias acc`.
    pub(super) fn declare(&self, kernel: Kernel) -> Kernel {
        kernel.snippet(&format!("alias acc = {};", self.storage().value()))
    }

    /// Adds `fn x_at(i: u32) -> acc`, of x itself or of what was made of it.
    pub(super) fn read_x(&self, kernel: Kernel, x: Port) -> Kernel {
        let mut kernel = kernel.read("x", x);
        let mut number = "acc(load_x(i))".to_owned();
        if let Some(zero) = self.x_zero.filter(|_| x == self.x) {
            kernel = kernel.read("x_zero", zero);
            number.push_str(" - acc(load_x_zero(0u))");
        }
        kernel.snippet(&format!("fn x_at(i: u32) -> acc {{ return {number}; }}"))
    }

    /// Adds `fn w_at(i: u32, m: u32) -> acc`, for feature m.
    pub(super) fn read_w(&self, kernel: Kernel) -> Kernel {
        let mut kernel = kernel.read("w", self.w);
        let mut number = "acc(load_w(i))".to_owned();
        if let Some((zero, idx)) = self.w_zero {
            kernel = kernel.read("w_zero", zero);
            number.push_str(&format!(" - acc(load_w_zero({idx}))"));
        }
        kernel.snippet(&format!(
            "fn w_at(i: u32, m: u32) -> acc {{ return {number}; }}"
        ))
    }
}

/// What happens to a sum before it is stored: `gain * activate(sum + z) + shift`.
pub(super) struct Epilogue {
    pub z: Option<Port>,
    /// An expression of `x`, of sums that are floats.
    pub activation: Option<String>,
    /// Gain and shift, where they change anything.
    pub line: Option<[f32; 2]>,
}

impl Epilogue {
    /// Adds `fn begin(m: u32) -> acc`, what the sums of feature m start at, `fn end(sum: acc, i: u32)
    /// -> acc`, what element `i` is made of its sum, and `fn finish(sum: acc, m: u32, i: u32) -> acc`,
    /// which is both for sums that start at zero.
    pub(super) fn declare(&self, bias: Option<Port>, mut kernel: Kernel) -> Kernel {
        let mut start = "acc()";
        if let Some(bias) = bias {
            kernel = kernel.read("bias", bias);
            start = "load_bias(m)";
        }
        let mut result = "sum".to_owned();
        if let Some(z) = self.z {
            kernel = kernel.read("z", z);
            result.push_str(" + load_z(i)");
        }
        if let Some(activation) = &self.activation {
            kernel = kernel.snippet(&activation::function("activate", activation, "f32"));
            result = format!("activate({result})");
        }
        if let Some([gain, shift]) = self.line {
            kernel = kernel.param_f32("gain", gain).param_f32("shift", shift);
            result = format!("params.gain * {result} + params.shift");
        }
        kernel.snippet(&format!(
            "fn begin(m: u32) -> acc {{ return {start}; }}
fn end(sum: acc, i: u32) -> acc {{ return {result}; }}
fn finish(sum: acc, m: u32, i: u32) -> acc {{ return end(begin(m) + sum, i); }}"
        ))
    }
}
