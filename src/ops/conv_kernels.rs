//! Kernels of convolutions: which of them computes a node, and how it is put together.

use super::activation;
use super::conv_block::{Block, Walk};
use super::conv_sums::{Epilogue, Terms};
use super::sliding::{Fold, Sliding};
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

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Each element on its own, whatever the geometry.
    Direct,
    /// Blocks of one feature over one channel.
    Depthwise(Sliding),
    /// Workgroups that share the channels of single elements.
    Few,
    /// Several features at neighbouring places in registers.
    Block(Block),
    /// Tiles in workgroup memory, of this many invocations along features and places.
    Tile { height: usize, width: usize },
    /// Four features at eight places, of a transposed convolution.
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
        && let Some(depthwise) = Sliding::of(&geometry.slides, block)
    {
        return Form::Depthwise(depthwise);
    }
    let reach = |slide: &Slide| (slide.kernel - 1) * slide.dilation;
    let far = geometry.slides.iter().any(|slide| reach(slide) > 0xffff);
    if geometry.slides[0] != Slide::NONE || far {
        return Form::Direct;
    }
    if caps.software {
        let [_, rows, cols] = &geometry.slides;
        let padded = [
            geometry.groups * geometry.channels,
            rows.reach(),
            cols.reach(),
        ]
        .iter()
        .fold(geometry.batch as u64, |n, &size| {
            n.saturating_mul(size as u64)
        });
        return if padded > caps.max_binding_bytes / 4 {
            Form::Direct
        } else {
            Form::Block(Block::of(geometry))
        };
    }
    let is_pointwise = geometry.slides.iter().all(Slide::is_identity);
    if is_pointwise && geometry.n_places() <= MAX_FEW_PLACES && geometry.channels >= MIN_CHANNELS {
        return Form::Few;
    }
    let n_groups = geometry.batch * geometry.groups;
    let n_tiles = geometry.n_places().div_ceil(64);
    if geometry.features < 8 || n_groups.max(n_tiles) > caps.max_workgroups as usize {
        return Form::Direct;
    }
    let n_large = geometry.features.div_ceil(64) * n_tiles * n_groups;
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
    let Activation {
        name,
        params,
        gain,
        shift,
    } = activation;
    let line = [*gain, *shift];
    let activation = activation::expression(name, params);
    let epilogue = Epilogue {
        z: call.has_input(3).then(|| call.input(3)).transpose()?,
        activation: Some(activation.ok_or_else(|| format!("no kernel computes {name}"))?),
        line: (line != [1.0, 0.0]).then_some(line),
    };
    let (terms, y) = (floats(call)?, call.output(0)?);
    let dispatch = Dispatch::default();
    Ok(dispatch_sums(
        dispatch, call.caps, geometry, terms, epilogue, y,
    ))
}

/// Adds the launches over floats or bytes to a dispatch; `y` has floats or whole numbers in i32.
pub(super) fn dispatch_sums(
    dispatch: Dispatch,
    caps: &Capabilities,
    geometry: Geometry,
    terms: Terms,
    epilogue: Epilogue,
    y: Port,
) -> Dispatch {
    let geometry = geometry.flattened();
    let form = form(&geometry, caps);
    run(dispatch, caps, geometry, form, terms, epilogue, y)
}

/// x: [batch, groups * channels, d..], w: [groups * channels, features, k..], bias
/// -> [batch, groups * features, d'..]. What the slides have before x, the output loses.
pub(super) fn dispatch_transposed(call: &Call, geometry: Geometry) -> Result<Dispatch, Refusal> {
    let epilogue = Epilogue {
        z: None,
        activation: None,
        line: None,
    };
    let (terms, y) = (floats(call)?, call.output(0)?);
    Ok(run(
        Dispatch::default(),
        call.caps,
        geometry,
        Form::Transposed,
        terms,
        epilogue,
        y,
    ))
}

/// Inputs: x, w, bias.
fn floats(call: &Call) -> Result<Terms, Refusal> {
    let terms = Terms {
        x: call.input(0)?,
        x_zero: None,
        w: call.input(1)?,
        w_zero: None,
        bias: call.has_input(2).then(|| call.input(2)).transpose()?,
    };
    if terms.x.storage.is_float() {
        Ok(terms)
    } else {
        Err("it is not over floats".into())
    }
}

fn run(
    dispatch: Dispatch,
    caps: &Capabilities,
    geometry: Geometry,
    form: Form,
    terms: Terms,
    epilogue: Epilogue,
    y: Port,
) -> Dispatch {
    let mut conv = Conv {
        caps,
        terms,
        y,
        epilogue,
        form,
        geometry,
        dispatch,
    };
    let launch = match conv.form {
        Form::Direct => conv.direct(),
        Form::Depthwise(depthwise) => conv.depthwise(depthwise),
        Form::Few => conv.few(),
        Form::Block(block) => conv.block(block),
        Form::Tile { height, width } => conv.tile(height, width),
        Form::Transposed => conv.transposed(),
    };
    conv.dispatch.launches.push(launch);
    conv.dispatch
}

/// A dispatch in the making.
struct Conv<'a> {
    caps: &'a Capabilities,
    geometry: Geometry,
    form: Form,
    terms: Terms,
    epilogue: Epilogue,
    y: Port,
    /// The launches before the last.
    dispatch: Dispatch,
}

impl Conv<'_> {
    /// The kernel with what every form has: the type of sums, and the geometry.
    fn kernel(&self, name: &'static str, body: &str) -> Kernel {
        let kernel = self.terms.declare(Kernel::new(name, body));
        self.geometry.declare(kernel)
    }

    fn finished(&self, kernel: Kernel) -> Kernel {
        self.epilogue.declare(self.terms.bias, kernel)
    }

    fn direct(&self) -> Launch {
        let kernel = self.kernel("conv_direct", include_str!("conv_direct.wgsl"));
        let kernel = self.terms.read_x(kernel, self.terms.x);
        let kernel = self.terms.read_w(kernel);
        let n_elems = self.geometry.batch
            * self.geometry.groups
            * self.geometry.features
            * self.geometry.n_places();
        Map::launch(self.finished(kernel), self.y, n_elems, self.caps)
    }

    fn depthwise(&self, depthwise: Sliding) -> Launch {
        let n_planes = self.geometry.batch * self.geometry.groups * self.geometry.features;
        let kernel = self
            .kernel("conv_depthwise", &depthwise.text(Fold::Products))
            .param("n_planes", n_planes);
        let kernel = self.terms.read_x(kernel, self.terms.x);
        let kernel = self.terms.read_w(kernel).write("y", self.y);
        let n_invocations = depthwise.n_invocations(n_planes, &self.geometry.slides);
        self.finished(kernel)
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    fn few(&self) -> Launch {
        let geometry = &self.geometry;
        let n_groups = geometry.batch * geometry.groups;
        let fours = geometry.features.div_ceil(4);
        let kernel = self
            .kernel("conv_few", include_str!("conv_few.wgsl"))
            .param("n_groups", n_groups)
            .param("fours", fours);
        let kernel = self.terms.read_x(kernel, self.terms.x);
        let kernel = self.terms.read_w(kernel).write("y", self.y);
        let n_workgroups = n_groups * fours * geometry.n_places();
        self.finished(kernel).launch(grid(n_workgroups, self.caps))
    }

    fn block(&mut self, block: Block) -> Launch {
        let n_blocks = self.geometry.features.div_ceil(block.features);
        let w = self.packed(n_blocks, block.features);
        let (x, rows, cols) = self.padded();
        let geometry = &self.geometry;
        let n_groups = geometry.batch * geometry.groups;
        let Walk {
            counts,
            steps,
            apart,
        } = Walk::of(geometry, block.run, rows, cols);
        // The last step on an axis goes back to where it began.
        let back = |axis: usize| (counts[axis] - 1) * steps[axis];
        let kernel = self
            .kernel("conv_block", &block.text())
            .param("n_groups", n_groups)
            .param("blocks", n_blocks)
            .param("terms", geometry.terms())
            .param("rows", rows)
            .param("cols", cols)
            .param("apart", apart)
            .param("count0", counts[0])
            .param("count1", counts[1])
            .param("next0", steps[0])
            .param_i32("next1", distance(steps[1], back(0)))
            .param_i32("next2", distance(steps[2], steps[1] + back(1)));
        let kernel = self.terms.read_x(kernel, x);
        let kernel = match block.features {
            1 => kernel.read("w", w),
            _ => kernel.read_vec4("w", w),
        };
        let n_invocations = block.n_invocations(n_groups, geometry.features, &geometry.slides);
        self.finished(kernel.write("y", self.y))
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    fn tile(&mut self, height: usize, width: usize) -> Launch {
        let geometry = self.geometry.clone();
        let (terms, n_places) = (geometry.terms(), geometry.n_places());
        let fours = geometry.features.div_ceil(4);
        let w = self.packed(1, 4 * fours);
        let taps = self.dispatch.add_scratch(Storage::U32, 2 * terms);
        let kernel = Map::kernel("conv_taps", include_str!("conv_taps.wgsl"));
        let launch = Map::launch(geometry.declare(kernel), taps, 2 * terms, self.caps);
        self.dispatch.launches.push(launch);
        let kernel = self
            .kernel("conv_tile", include_str!("conv_tile.wgsl"))
            .constant("HEIGHT", height)
            .constant("WIDTH", width)
            .param("terms", terms)
            .param("fours", fours);
        let kernel = self
            .terms
            .read_x(kernel, self.terms.x)
            .read_vec4("w", w)
            .read_vec2("taps", taps)
            .write("y", self.y);
        let n_groups = geometry.batch * geometry.groups;
        let size = |n: usize| u32::try_from(n).expect("the plan refuses buffers of 2^32 elements");
        self.finished(kernel).launch([
            size(n_places.div_ceil(8 * width)),
            size(fours.div_ceil(height)),
            size(n_groups),
        ])
    }

    fn transposed(&mut self) -> Launch {
        let fours = self.geometry.features.div_ceil(4);
        let w = self.packed(1, 4 * fours);
        let geometry = &self.geometry;
        let [outer, middle, inner] = geometry.slides;
        let n_groups = geometry.batch * geometry.groups;
        let blocks = inner.y.div_ceil(inner.stride).div_ceil(8);
        let kernel = self
            .kernel("conv_transpose", include_str!("conv_transpose.wgsl"))
            .param("n_groups", n_groups)
            .param("fours", fours)
            .param("blocks", blocks);
        let kernel = kernel
            .read("x", self.terms.x)
            .read_vec4("w", w)
            .write("y", self.y);
        let n_invocations = n_groups * fours * outer.y * middle.y * inner.stride * blocks;
        self.finished(kernel)
            .launch(grid(n_invocations.div_ceil(64), self.caps))
    }

    /// What is made of an operand of this type.
    fn made_of(&self, port: Port) -> Storage {
        match self.terms.storage() {
            Storage::F32 => port.storage,
            integers => integers,
        }
    }

    /// The weights as [groups, blocks, terms, width].
    fn packed(&mut self, blocks: usize, width: usize) -> Port {
        let geometry = &self.geometry;
        let n_elems = geometry.groups * blocks * geometry.terms() * width;
        let taps = geometry.terms() / geometry.channels.max(1);
        let (feature_stride, channel_stride) = match self.form {
            Form::Transposed => (taps, geometry.features * taps),
            _ => (geometry.terms(), taps),
        };
        let kernel = Map::kernel("conv_pack", include_str!("conv_pack.wgsl"))
            .param("features", geometry.features)
            .param("terms", geometry.terms())
            .param("blocks", blocks)
            .param("width", width)
            .param("taps", taps)
            .param("group_stride", geometry.features * geometry.terms())
            .param("feature_stride", feature_stride)
            .param("channel_stride", channel_stride);
        let kernel = self.terms.read_w(self.terms.declare(kernel));
        let storage = self.made_of(self.terms.w);
        let packed = self.dispatch.add_scratch(storage, n_elems);
        let launch = Map::launch(kernel, packed, n_elems, self.caps);
        self.dispatch.launches.push(launch);
        packed
    }

    /// x with as many zeros around its planes as windows reach over, unpacked, and the size of its
    /// planes.
    fn padded(&mut self) -> (Port, usize, usize) {
        let x = self.terms.x;
        let [_, outer, inner] = self.geometry.slides;
        let inside = |slide: &Slide| slide.before == 0 && slide.reach() <= slide.x;
        if inside(&outer) && inside(&inner) && x.storage.is_float() {
            return (x, outer.x, inner.x);
        }
        let (rows, cols) = (outer.reach(), inner.reach());
        let n_planes = self.geometry.batch * self.geometry.groups * self.geometry.channels;
        let n_elems = n_planes * rows * cols;
        let kernel = Map::kernel("conv_pad", include_str!("conv_pad.wgsl"))
            .param("x1", outer.x)
            .param("x2", inner.x)
            .param("rows", rows)
            .param("cols", cols)
            .param("before1", outer.before)
            .param("before2", inner.before);
        let kernel = self.terms.read_x(self.terms.declare(kernel), x);
        let padded = self.dispatch.add_scratch(self.made_of(x), n_elems);
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
    use super::super::conv_block::Run;
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
            Form::Depthwise(Sliding {
                kernel: [kernel; 2],
                stride: [stride; 2],
                block,
            })
        };
        let block = |features, places, run| {
            Form::Block(Block {
                features,
                places,
                whole: true,
                run,
            })
        };
        let shared = |n_terms, stride| Run {
            n_terms,
            stride: Some(stride),
        };
        let twos = Run {
            n_terms: 2,
            stride: None,
        };
        let ones = Run {
            n_terms: 1,
            stride: None,
        };
        let many = |run| block(8, 8, run);
        // Channels, features, groups, size, kernel, stride -> software, GPU.
        let table = [
            ((64, 64, 1, 56, 3, 1), many(shared(3, 1)), SMALL_TILE),
            ((3, 32, 1, 224, 3, 2), many(shared(3, 2)), LARGE_TILE),
            ((32, 64, 1, 112, 1, 1), many(twos), LARGE_TILE),
            ((512, 512, 1, 7, 3, 1), many(shared(3, 1)), SMALL_TILE),
            (
                (4, 4, 32, 28, 3, 1),
                block(4, 8, shared(3, 1)),
                Form::Direct,
            ),
            ((960, 160, 1, 1, 1, 1), many(twos), Form::Few),
            ((16, 160, 1, 1, 1, 1), many(twos), SMALL_TILE),
            ((64, 1, 1, 320, 1, 1), block(1, 16, twos), Form::Direct),
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
            ((1, 1, 96, 56, 9, 1), block(1, 16, ones), Form::Direct),
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
