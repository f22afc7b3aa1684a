//! Kernels that compute each element of their output on its own: `y[i] = element(i)`.

use super::{Capabilities, Kernel, Launch, Port};

/// Invocations of a workgroup where they do not work together.
pub(super) const WORKGROUP: usize = 64;

/// A grid of `n_groups` workgroups for shaders that number them `group.y * groups.x + group.x`.
pub fn grid(n_groups: usize, caps: &Capabilities) -> [u32; 3] {
    let max = caps.max_workgroups as usize;
    let x = n_groups.min(max);
    let y = n_groups.div_ceil(max.min(n_groups).max(1));
    let fits = |n: usize| u32::try_from(n).expect("the plan refuses buffers of 2^32 elements");
    [fits(x), fits(y), 1]
}

/// A kernel whose text has `fn element(i: u32) -> y_value`; the rest is made here.
pub struct Map;

impl Map {
    /// `body` computes element `i` of the output; [`Map::launch`] binds that as `y`.
    pub fn kernel(name: &'static str, body: &str) -> Kernel {
        Kernel::new(name, body)
    }

    /// Launches `fn four(i: u32) -> vec4<y_value>`, which computes elements `i` to `i + 3` together:
    /// for where one costs nearly as much as its neighbours with it. What it gives behind the end
    /// is stored in the rest of the buffer, and nobody reads it.
    pub fn fours(kernel: Kernel, y: Port, n_elems: usize, caps: &Capabilities) -> Launch {
        let n_fours = n_elems.div_ceil(4);
        let kernel = kernel.param("n_elems", n_fours);
        let kernel = if y.storage.is_packed() {
            kernel.write("y", y)
        } else {
            kernel.write_vec4("y", y)
        };
        kernel
            .snippet("fn element(i: u32) -> vec4<y_value> { return four(4u * i); }")
            .snippet(include_str!("../wgsl/map.wgsl"))
            .launch(grid(n_fours.div_ceil(WORKGROUP), caps))
    }

    /// Binds `y` and launches over its elements, whole words at a time where they are packed.
    pub fn launch(kernel: Kernel, y: Port, n_elems: usize, caps: &Capabilities) -> Launch {
        let (shell, n_invocations) = if y.storage.is_packed() {
            (include_str!("../wgsl/map_packed.wgsl"), n_elems.div_ceil(4))
        } else {
            (include_str!("../wgsl/map.wgsl"), n_elems)
        };
        kernel
            .param("n_elems", n_elems)
            .write("y", y)
            .snippet(shell)
            .launch(grid(n_invocations.div_ceil(WORKGROUP), caps))
    }

    /// Binds `y` as vectors of four, of which the text has `fn element(i: u32) -> vec4<y_value>`.
    pub fn launch_vec4(kernel: Kernel, y: Port, n_elems: usize, caps: &Capabilities) -> Launch {
        let n_vectors = n_elems.div_ceil(4);
        kernel
            .param("n_vectors", n_vectors)
            .write_vec4("y", y)
            .snippet(include_str!("../wgsl/map_vec4.wgsl"))
            .launch(grid(n_vectors.div_ceil(WORKGROUP), caps))
    }
}
