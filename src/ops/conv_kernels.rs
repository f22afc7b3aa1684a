//! Kernels of convolutions: which of them computes a node, and how it is put together.

use super::activation;
use super::conv_depthwise::Depthwise;
use super::window::Slide;
use crate::kernel::{
    Call, Capabilities, Dispatch, Kernel, Launch, Map, Port, Refusal, Storage, grid,
};

/// x: [batch, groups * channels, d..], w: [groups * features, channels, k..]
/// -> [batch, groups * features, d'..].
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Of one group, as are the features.
    pub channels: usize,
    pub features: usize,
    pub slides: [Slide; 3],
}

impl Geometry {
    /// Where windows are single elements side by side, rows are one long row.
    fn flattened(mut self) -> Geometry {
        let [_, rows, cols] = &mut self.slides;
        if rows.is_identity() && cols.is_identity() {
            let n = rows.x * cols.x;
            *cols = Slide {
                x: n,
                y: n,
                ..Slide::NONE
            };
            *rows = Slide::NONE;
        }
        self
    }

    /// Products in each sum.
    fn terms(&self) -> usize {
        let taps = self.slides.iter().map(|slide| slide.kernel);
        self.channels * taps.product::<usize>()
    }

    pub fn n_places(&self) -> usize {
        self.slides.iter().map(|slide| slide.y).product()
    }

    pub fn declare(&self, kernel: Kernel) -> Kernel {
        let kernel = kernel
            .param("groups", self.groups)
            .param("channels", self.channels)
            .param("features", self.features);
        Slide::declare(&self.slides, kernel)
    }
}

/// What runs over the sums of a fused convolution: `gain * f(sum) + shift`.
pub(super) struct Activation {
    /// A name of [`activation`], or nothing.
    pub name: String,
    pub params: Vec<f32>,
    pub gain: f32,
    pub shift: f32,
}

/// What happens to a sum before it is stored: `gain * activate(sum + bias + z) + shift`.
pub(super) struct Epilogue {
    pub bias: Option<Port>,
    pub z: Option<Port>,
    /// An expression of `x`.
    pub activation: String,
    /// Gain and shift, where they change anything.
    pub line: Option<[f32; 2]>,
}

impl Epilogue {
    /// Adds `fn finish(sum: f32, m: u32, i: u32) -> f32` for element `i` of feature `m`.
    pub fn declare(&self, mut kernel: Kernel) -> Kernel {
        let mut sum = "sum".to_owned();
        if let Some(bias) = self.bias {
            kernel = kernel.read("bias", bias);
            sum.push_str(" + load_bias(m)");
        }
        if let Some(z) = self.z {
            kernel = kernel.read("z", z);
            sum.push_str(" + load_z(i)");
        }
        let mut result = format!("activate({sum})");
        if let Some([gain, shift]) = self.line {
            kernel = kernel.param_f32("gain", gain).param_f32("shift", shift);
            result = format!("params.gain * {result} + params.shift");
        }
        kernel
            .snippet(&activation::function("activate", &self.activation, "f32"))
            .snippet(&format!(
                "fn finish(sum: f32, m: u32, i: u32) -> f32 {{ return {result}; }}"
            ))
    }
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Each element on its own, whatever the geometry.
    Direct,
    /// Blocks of one feature over one channel.
    Depthwise(Depthwise),
    /// Workgroups that share the channels of single elements.
    Few,
    /// Eight features at eight places in registers.
    Block,
    /// Tiles in workgroup memory, of this many invocations along features and places.
    Tile { height: usize, width: usize },
    /// Four features at four places, of a transposed convolution.
    Transposed,
}

const LARGE_TILE: Form = Form::Tile {
    height: 16,
    width: 8,
};
const SMALL_TILE: Form = Form::Tile {
    height: 8,
    width: 4,
};

/// Where a tile of places would be nearly empty, and channels are enough for a workgroup.
const MAX_FEW_PLACES: usize = 4;
const MIN_CHANNELS: usize = 64;

/// Fewer workgroups than this leave a GPU idle.
const FEW_WORKGROUPS: usize = 64;

fn form(geometry: &Geometry, caps: &Capabilities) -> Form {
    let block = if caps.software { [4, 4] } else { [2, 4] };
    if geometry.channels == 1
        && let Some(depthwise) = Depthwise::of(&geometry.slides, block)
    {
        return Form::Depthwise(depthwise);
    }
    let reach = |slide: &Slide| (slide.kernel - 1) * slide.dilation;
    let far = geometry.slides.iter().any(|slide| reach(slide) > 0xffff);
    if geometry.slides[0] != Slide::NONE || far {
        return Form::Direct;
    }
    if caps.software {
        // Places for features that there are not cost as much as the others.
        return if geometry.features < 2 {
            Form::Direct
        } else {
            Form::Block
        };
    }
    let is_pointwise = geometry.slides.iter().all(Slide::is_identity);
    if is_pointwise && geometry.n_places() <= MAX_FEW_PLACES && geometry.channels >= MIN_CHANNELS {
        return Form::Few;
    }
    let n_groups = geometry.batch * geometry.groups;
    if geometry.features < 8 || n_groups > caps.max_workgroups as usize {
        return Form::Direct;
    }
    let n_large = geometry.features.div_ceil(64) * geometry.n_places().div_ceil(64) * n_groups;
    if n_large >= FEW_WORKGROUPS {
        LARGE_TILE
    } else {
        SMALL_TILE
    }
}

/// Inputs: x, w, bias, z.
pub(super) fn dispatch(
    call: &Call,
    geometry: Geometry,
    activation: &Activation,
) -> Result<Dispatch, Refusal> {
    let optional = |idx| call.has_input(idx).then(|| call.input(idx)).transpose();
    let Activation {
        name,
        params,
        gain,
        shift,
    } = activation;
    let line = [*gain, *shift];
    let activation = activation::expression(name, params);
    let epilogue = Epilogue {
        bias: optional(2)?,
        z: optional(3)?,
        activation: activation.ok_or_else(|| format!("no kernel computes {name}"))?,
        line: (line != [1.0, 0.0]).then_some(line),
    };
    let geometry = geometry.flattened();
    let form = form(&geometry, call.caps);
    run(call, geometry, form, epilogue)
}

/// x: [batch, groups * channels, d..], w: [groups * channels, features, k..], bias
/// -> [batch, groups * features, d'..]. What the slides have before x, the output loses.
pub(super) fn dispatch_transposed(call: &Call, geometry: Geometry) -> Result<Dispatch, Refusal> {
    let epilogue = Epilogue {
        bias: call.has_input(2).then(|| call.input(2)).transpose()?,
        z: None,
        activation: "x".to_owned(),
        line: None,
    };
    run(call, geometry, Form::Transposed, epilogue)
}

fn run(
    call: &Call,
    geometry: Geometry,
    form: Form,
    epilogue: Epilogue,
) -> Result<Dispatch, Refusal> {
    let (x, w, y) = (call.input(0)?, call.input(1)?, call.output(0)?);
    if !x.storage.is_float() {
        return Err("it is not over floats".into());
    }
    let mut conv = Conv {
        caps: call.caps,
        x,
        w,
        y,
        epilogue,
        form,
        geometry,
        dispatch: Dispatch::default(),
    };
    let launch = match conv.form {
        Form::Direct => conv.direct(),
        Form::Depthwise(depthwise) => conv.depthwise(depthwise),
        Form::Few => conv.few(),
        Form::Block => conv.block(),
        Form::Tile { height, width } => conv.tile(height, width),
        Form::Transposed => conv.transposed(),
    };
    conv.dispatch.launches.push(launch);
    Ok(conv.dispatch)
}

/// A dispatch in the making.
struct Conv<'a> {
    caps: &'a Capabilities,
    geometry: Geometry,
    form: Form,
    epilogue: Epilogue,
    x: Port,
    w: Port,
    y: Port,
    /// The launches before the last.
    dispatch: Dispatch,
}

impl Conv<'_> {
    fn direct(&self) -> Launch {
        let kernel = Map::kernel("conv_direct", include_str!("conv_direct.wgsl"));
        let kernel = self.geometry.declare(kernel);
        let kernel = kernel.read("x", self.x).read("w", self.w).snippet(
            "fn product(at: u32, weight: u32, m: u32) -> f32 { return load_x(at) * load_w(weight); }",
        );
        let n_elems = self.geometry.batch
            * self.geometry.groups
            * self.geometry.features
            * self.geometry.n_places();
        Map::launch(self.epilogue.declare(kernel), self.y, n_elems, self.caps)
    }

    fn depthwise(&self, depthwise: Depthwise) -> Launch {
        let n_planes = self.geometry.batch * self.geometry.groups * self.geometry.features;
        let kernel = Kernel::new("conv_depthwise", &depthwise.text()).param("n_planes", n_planes);
        let kernel = self.geometry.declare(kernel);
        let kernel = kernel
            .read("x", self.x)
            .read("w", self.w)
            .write("y", self.y);
        let n_invocations = depthwise.n_invocations(n_planes, &self.geometry.slides);
        self.epilogue
            .declare(kernel)
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    fn few(&self) -> Launch {
        let geometry = &self.geometry;
        let n_groups = geometry.batch * geometry.groups;
        let fours = geometry.features.div_ceil(4);
        let kernel = Kernel::new("conv_few", include_str!("conv_few.wgsl"))
            .param("n_groups", n_groups)
            .param("fours", fours);
        let kernel = geometry.declare(kernel);
        let kernel = kernel
            .read("x", self.x)
            .read("w", self.w)
            .write("y", self.y);
        let n_workgroups = n_groups * fours * geometry.n_places();
        self.epilogue
            .declare(kernel)
            .launch(grid(n_workgroups, self.caps))
    }

    fn block(&mut self) -> Launch {
        let eights = self.geometry.features.div_ceil(8);
        let w = self.packed(2 * eights);
        let (x, rows, cols) = self.padded();
        let geometry = &self.geometry;
        let [_, outer, inner] = geometry.slides;
        let n_groups = geometry.batch * geometry.groups;
        let (row, col) = (outer.dilation * cols, inner.dilation);
        let kernel = Kernel::new("conv_block", include_str!("conv_block.wgsl"))
            .param("n_groups", n_groups)
            .param("eights", eights)
            .param("terms", geometry.terms())
            .param("rows", rows)
            .param("cols", cols)
            .param("next2", col)
            .param_i32("next1", distance(row, (inner.kernel - 1) * col))
            .param_i32("next0", distance(rows * cols, outer.kernel * row));
        let kernel = geometry
            .declare(kernel)
            .read("x", x)
            .read_vec4("w", w)
            .write("y", self.y);
        let n_invocations = n_groups * eights * outer.y * inner.y.div_ceil(8);
        self.epilogue
            .declare(kernel)
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    fn tile(&mut self, height: usize, width: usize) -> Launch {
        let geometry = self.geometry.clone();
        let (terms, n_places) = (geometry.terms(), geometry.n_places());
        let fours = geometry.features.div_ceil(4);
        let w = self.packed(fours);
        let taps = self.dispatch.add_scratch(Storage::U32, 2 * terms);
        let kernel = Map::kernel("conv_taps", include_str!("conv_taps.wgsl"));
        let launch = Map::launch(geometry.declare(kernel), taps, 2 * terms, self.caps);
        self.dispatch.launches.push(launch);
        let kernel = Kernel::new("conv_tile", include_str!("conv_tile.wgsl"))
            .constant("HEIGHT", height)
            .constant("WIDTH", width)
            .param("terms", terms)
            .param("fours", fours);
        let kernel = geometry
            .declare(kernel)
            .read("x", self.x)
            .read_vec4("w", w)
            .read_vec2("taps", taps)
            .write("y", self.y);
        let n_groups = geometry.batch * geometry.groups;
        let size = |n: usize| u32::try_from(n).expect("the plan refuses buffers of 2^32 elements");
        self.epilogue.declare(kernel).launch([
            size(n_places.div_ceil(8 * width)),
            size(fours.div_ceil(height)),
            size(n_groups),
        ])
    }

    fn transposed(&mut self) -> Launch {
        let fours = self.geometry.features.div_ceil(4);
        let w = self.packed(fours);
        let geometry = &self.geometry;
        let [outer, middle, inner] = geometry.slides;
        let n_groups = geometry.batch * geometry.groups;
        let blocks = inner.y.div_ceil(inner.stride).div_ceil(4);
        let kernel = Kernel::new("conv_transpose", include_str!("conv_transpose.wgsl"))
            .param("n_groups", n_groups)
            .param("fours", fours)
            .param("blocks", blocks);
        let kernel = geometry
            .declare(kernel)
            .read("x", self.x)
            .read_vec4("w", w)
            .write("y", self.y);
        let n_invocations = n_groups * fours * outer.y * middle.y * inner.stride * blocks;
        self.epilogue
            .declare(kernel)
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    /// The weights as [groups, terms, fours, 4].
    fn packed(&mut self, fours: usize) -> Port {
        let geometry = &self.geometry;
        let n_elems = geometry.groups * geometry.terms() * fours * 4;
        let taps = geometry.terms() / geometry.channels.max(1);
        let (feature_stride, channel_stride) = match self.form {
            Form::Transposed => (taps, geometry.features * taps),
            _ => (geometry.terms(), taps),
        };
        let packed = self.dispatch.add_scratch(self.w.storage, n_elems);
        let kernel = Map::kernel("conv_pack", include_str!("conv_pack.wgsl"))
            .param("features", geometry.features)
            .param("terms", geometry.terms())
            .param("fours", fours)
            .param("taps", taps)
            .param("group_stride", geometry.features * geometry.terms())
            .param("feature_stride", feature_stride)
            .param("channel_stride", channel_stride)
            .read("w", self.w);
        let launch = Map::launch(kernel, packed, n_elems, self.caps);
        self.dispatch.launches.push(launch);
        packed
    }

    /// x with as many zeros around its planes as windows reach over, and the size of its planes.
    fn padded(&mut self) -> (Port, usize, usize) {
        let [_, outer, inner] = self.geometry.slides;
        let inside = |slide: &Slide| slide.before == 0 && slide.reach() <= slide.x;
        if inside(&outer) && inside(&inner) {
            return (self.x, outer.x, inner.x);
        }
        let (rows, cols) = (outer.reach(), inner.reach());
        let n_planes = self.geometry.batch * self.geometry.groups * self.geometry.channels;
        let n_elems = n_planes * rows * cols;
        let padded = self.dispatch.add_scratch(self.x.storage, n_elems);
        let kernel = Map::kernel("conv_pad", include_str!("conv_pad.wgsl"))
            .param("x1", outer.x)
            .param("x2", inner.x)
            .param("rows", rows)
            .param("cols", cols)
            .param("before1", outer.before)
            .param("before2", inner.before)
            .read("x", self.x);
        let launch = Map::launch(kernel, padded, n_elems, self.caps);
        self.dispatch.launches.push(launch);
        (padded, rows, cols)
    }
}

/// `to - from`, where the plan refuses buffers that have such places and no such distance.
fn distance(to: usize, from: usize) -> i32 {
    let signed = |n: usize| i32::try_from(n).expect("the plan refuses buffers of 2^31 elements");
    signed(to) - signed(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slide(x: usize, kernel: usize, stride: usize) -> Slide {
        Slide {
            x,
            y: x.div_ceil(stride),
            kernel,
            stride,
            before: kernel / 2,
            after: kernel / 2,
            ..Slide::NONE
        }
    }

    #[test]
    fn the_form_follows_from_sizes_and_device() {
        let depthwise = |kernel, stride, block| {
            Form::Depthwise(Depthwise {
                kernel: [kernel; 2],
                stride: [stride; 2],
                block,
            })
        };
        // Channels, features, groups, size, kernel, stride -> software, GPU.
        let table = [
            ((64, 64, 1, 56, 3, 1), Form::Block, SMALL_TILE),
            ((3, 32, 1, 224, 3, 2), Form::Block, LARGE_TILE),
            ((32, 64, 1, 112, 1, 1), Form::Block, LARGE_TILE),
            ((512, 512, 1, 7, 3, 1), Form::Block, SMALL_TILE),
            ((4, 4, 32, 28, 3, 1), Form::Block, Form::Direct),
            ((960, 160, 1, 1, 1, 1), Form::Block, Form::Few),
            ((16, 160, 1, 1, 1, 1), Form::Block, SMALL_TILE),
            ((64, 1, 1, 320, 1, 1), Form::Direct, Form::Direct),
            (
                (1, 1, 96, 56, 3, 1),
                depthwise(3, 1, [4, 4]),
                depthwise(3, 1, [2, 4]),
            ),
            (
                (1, 1, 96, 56, 5, 2),
                depthwise(5, 2, [4, 4]),
                depthwise(5, 2, [2, 4]),
            ),
            ((1, 1, 96, 56, 9, 1), Form::Direct, Form::Direct),
        ];
        for ((channels, features, groups, size, kernel, stride), software, gpu) in table {
            let geometry = Geometry {
                batch: 1,
                groups,
                channels,
                features,
                slides: [
                    Slide::NONE,
                    slide(size, kernel, stride),
                    slide(size, kernel, stride),
                ],
            };
            let caps = Capabilities::default();
            let on_cpu = Capabilities {
                software: true,
                ..caps.clone()
            };
            assert_eq!(form(&geometry, &on_cpu), software, "{geometry:?}");
            assert_eq!(form(&geometry, &caps), gpu, "{geometry:?}");
        }
    }
}
