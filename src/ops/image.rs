//! Pictures: sampling them at given places, decoding them, and putting them together from blocks.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Map, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "GridSample",
        grid_sample,
        &[
            "input x: f32[2, 3, 6, 5]\n input g: f32[2, 4, 6, 2]
             y = GridSample(x, g) {align_corners = 1, padding_mode = \"border\"}\n output y: f32[2, 3, 4, 6]",
            "input x: f32[2, 3, 6, 5]\n input g: f32[2, 4, 6, 2]
             y = GridSample(x, g) {padding_mode = \"reflection\"}\n output y: f32[2, 3, 4, 6]",
            "input x: f32[1, 2, 6, 5]\n input g: f32[1, 4, 6, 2]
             y = GridSample(x, g) {mode = \"nearest\", align_corners = 1}\n output y: f32[1, 2, 4, 6]",
            "input x: f32[n, c, 8, 8]\n input g: f32[n, h, 6, 2]\n y = GridSample(x, g)\n output y: f32[n, c, h, 6]",
            "opset 20\n input x: f32[1, 3, 4, 4, 4]\n input g: f64[1, 2, 3, 4, 3]
             y = GridSample(x, g) {mode = \"nearest\"}\n output y: f32[1, 3, 2, 3, 4]",
        ],
    ),
    rules::onnx(
        "AffineGrid",
        |_, _| Ok(Box::new(AffineGrid)),
        &[
            "input t: f32[n, 2, 3]\n const s: i64[4] = [2, 3, 5, 6]\n y = AffineGrid(t, s)\n output y: f32[2, 5, 6, 2]",
            "input t: f32[n, 3, 4]\n input s: i64[5]\n y = AffineGrid(t, s)\n output y: f32[n, ?, ?, ?, 3]",
        ],
    ),
    rules::onnx(
        "Col2Im",
        col2im,
        &[
            "input x: f32[n, 12, l]\n const i: i64[2] = [5, 7]\n const b: i64[2] = [2, 3]
             y = Col2Im(x, i, b)\n output y: f32[n, 2, 5, 7]",
            "input x: f32[1, 5, 5]\n const i: i64[2] = [5, 5]\n input b: i64[2]
             y = Col2Im(x, i, b)\n output y: f32[1, ?, 5, 5]",
        ],
    ),
    rules::onnx(
        "CenterCropPad",
        crop_pad,
        &[
            "input x: f32[20, w, 3]\n const s: i64[3] = [10, 9, 3]\n y = CenterCropPad(x, s)\n output y: f32[10, 9, 3]",
            "input x: f32[20, w, 3]\n const s: i64[1] = [9]\n y = CenterCropPad(x, s) {axes = [-3]}\n output y: f32[9, w, 3]",
        ],
    ),
    rules::onnx(
        "ImageDecoder",
        decoder,
        &[
            "input x: u8[n]\n y = ImageDecoder(x) {pixel_format = \"Grayscale\"}\n output y: u8[?, ?, 1]",
        ],
    ),
];

/// x: [n, c, d..], grid: [n, e.., rank of d] -> [n, c, e..].
struct GridSample {
    is_nearest: bool,
    /// No kernel computes other modes.
    is_linear: bool,
    padding: Padding,
    align_corners: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

fn grid_sample(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let mode = attrs.str("mode").unwrap_or("linear");
    let padding = match attrs.str("padding_mode") {
        None | Some("zeros") => Padding::Zeros,
        Some("border") => Padding::Border,
        Some("reflection") => Padding::Reflection,
        Some(other) => return Err(Error::parse("", format!("padding_mode is {other:?}"))),
    };
    Ok(Box::new(GridSample {
        is_nearest: mode == "nearest",
        is_linear: matches!(mode, "linear" | "bilinear"),
        padding,
        align_corners: check::flag(attrs, "align_corners"),
    }))
}

impl GridSample {
    fn functions(&self) -> String {
        let place = if self.align_corners {
            "(g + 1.0) * 0.5 * (size - 1.0)"
        } else {
            "((g + 1.0) * size - 1.0) * 0.5"
        };
        // Half an element belongs to the picture beyond the centres of the last ones.
        let edge = if self.align_corners { "0.0" } else { "0.5" };
        let (inside, pixel) = match self.padding {
            Padding::Zeros => (
                "x",
                "select(0.0, element_at(plane, row, col), row >= 0.0 && col >= 0.0 && row < size.y && col < size.x)",
            ),
            Padding::Border => ("clamp(x, 0.0, size - 1.0)", "element_at(plane, row, col)"),
            Padding::Reflection => (
                "mirrored(x, -edge, size - 1.0 + edge)",
                "element_at(plane, mirrored(row, -edge, size.y - 1.0 + edge), mirrored(col, -edge, size.x - 1.0 + edge))",
            ),
        };
        let sample = if self.is_nearest {
            "  return pixel(plane, inside(round(at.y), size.y), inside(round(at.x), size.x), size);"
        } else {
            "  let place = vec2<f32>(inside(at.x, size.x), inside(at.y, size.y));
  let low = floor(place);
  let share = place - low;
  let above = mix(pixel(plane, low.y, low.x, size), pixel(plane, low.y, low.x + 1.0, size), share.x);
  let below = mix(pixel(plane, low.y + 1.0, low.x, size), pixel(plane, low.y + 1.0, low.x + 1.0, size), share.x);
  return mix(above, below, share.y);"
        };
        format!(
            "const edge: f32 = {edge};
fn place(g: vec2<f32>, size: vec2<f32>) -> vec2<f32> {{ return {place}; }}
fn inside(x: f32, size: f32) -> f32 {{ return {inside}; }}
fn pixel(plane: u32, row: f32, col: f32, size: vec2<f32>) -> f32 {{ return {pixel}; }}
fn sample(plane: u32, at: vec2<f32>, size: vec2<f32>) -> f32 {{
{sample}
}}"
        )
    }
}

impl Op for GridSample {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let grid = rules::tensor(inputs, 1)?;
        let Some(rank) = x.shape.as_ref().or(grid.shape.as_ref()).map(Shape::rank) else {
            return Ok(vec![rules::fact(x.dtype, None)]);
        };
        let unknown = Shape::unknown(rank);
        let given = x.shape.as_ref().unwrap_or(&unknown);
        let grid = grid.shape.as_ref().unwrap_or(&unknown);
        check::min_rank("x", given, 3)?;
        check::rank("grid", grid, rank)?;
        check::meet(
            "coordinates of the grid",
            &grid[rank - 1],
            &(rank - 2).into(),
        )?;
        let batch = check::meet("batches of x and grid", &given[0], &grid[0])?;
        let mut y = vec![batch, given[1].clone()];
        y.extend(grid[1..rank - 1].iter().cloned());
        Ok(vec![rules::fact(x.dtype, Some(Shape(y)))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.sizes(0), call.output_sizes(0));
        let [_, channels, rows, cols] = *x.as_slice() else {
            return Err("it is not about pictures".into());
        };
        if !(self.is_linear || self.is_nearest) || x.contains(&0) {
            return Err("no kernel samples so".into());
        }
        let (from, to) = (call.input(0)?, call.output(0)?);
        if !from.storage.is_float() {
            return Err("it is not over floats".into());
        }
        let kernel = Map::kernel("grid_sample", include_str!("grid_sample.wgsl"))
            .param("channels", channels)
            .param("x1", rows)
            .param("x2", cols)
            .param("y1", y[2])
            .param("y2", y[3])
            .snippet(&self.functions())
            .read("x", from)
            .read("grid", call.input(1)?);
        let n_elems = y.iter().product();
        Ok(Dispatch::one(Map::launch(kernel, to, n_elems, call.caps)))
    }
}

/// theta: [n, 2, 3], size: [n, c, h, w] -> [n, h, w, 2]; with one more axis for volumes.
struct AffineGrid;

impl Op for AffineGrid {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let theta = rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        let rows = theta.shape.as_ref().and_then(|theta| theta.get(1)?.size());
        let rank = rules::vector_len(inputs, 1)?.or(rows.map(|rows| rows + 2));
        let Some(rank) = rank else {
            return Ok(vec![rules::fact(theta.dtype, None)]);
        };
        if !matches!(rank, 4 | 5) {
            return Err(Error::shape(
                "",
                format!("a grid for rank {rank}, expected 4 or 5"),
            ));
        }
        let size = sizes(inputs, 1, rank)?;
        let n_axes = rank - 2;
        let mut expected = [size[0].clone(), n_axes.into(), (n_axes + 1).into()];
        check::meet_shape("theta", theta.shape.as_ref(), &mut expected)?;
        let mut y = vec![expected[0].clone()];
        y.extend(size[2..].iter().cloned());
        y.push(n_axes.into());
        Ok(vec![rules::fact(theta.dtype, Some(Shape(y)))])
    }
}

/// Blocks as columns put back, overlaps added up.
struct Col2Im;

fn col2im(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    for (name, min) in [("dilations", 1), ("strides", 1), ("pads", 0)] {
        check::counts(attrs, name, min)?;
    }
    Ok(Box::new(Col2Im))
}

impl Op for Col2Im {
    /// x: [n, c * product of block, l], image: [d], block: [d] -> [n, c, image..].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let dtype = rules::tensor(inputs, 0)?.dtype;
        let mut x = [Dim::Unknown, Dim::Unknown, Dim::Unknown];
        check::meet_shape("x", inputs.shape(0), &mut x)?;
        let image_rank = rules::vector_len(inputs, 1)?;
        let block_rank = rules::vector_len(inputs, 2)?;
        let Some(rank) = image_rank.or(block_rank) else {
            return Ok(vec![rules::fact(dtype, None)]);
        };
        if block_rank.is_some_and(|block_rank| block_rank != rank) {
            let why = format!("an image of {rank} axes from blocks of {block_rank:?}");
            return Err(Error::shape("", why));
        }
        let [batch, columns, _] = x;
        let channels = match inputs.dims(2) {
            Some(block) => {
                let elements = Shape(block).elements();
                let uneven = |(columns, elements): (i64, i64)| {
                    elements < 1 || columns.checked_rem(elements) != Some(0)
                };
                if columns.value().zip(elements.value()).is_some_and(uneven) {
                    let why = format!("{columns} rows do not split into blocks of {elements}");
                    return Err(Error::shape("", why));
                }
                columns.floor_div(&elements)
            }
            None => Dim::Unknown,
        };
        let mut y = vec![batch, channels];
        y.extend(sizes(inputs, 1, rank)?);
        Ok(vec![rules::fact(dtype, Some(Shape(y)))])
    }
}

/// The elements of an input that are sizes.
///
/// # Errors
/// `SHAPE_MISMATCH` when one is negative, or there are not `len`.
fn sizes(inputs: &Inputs, idx: usize, len: usize) -> Result<Vec<Dim>> {
    let sizes = inputs.dims(idx).unwrap_or_else(|| vec![Dim::Unknown; len]);
    let negative = sizes.iter().any(|size| size.value().is_some_and(|n| n < 0));
    if negative || sizes.len() != len {
        let why = format!("input {idx} is {}, expected {len} sizes", Shape(sizes));
        return Err(Error::shape("", why));
    }
    Ok(sizes)
}

/// Each axis cut or padded at both ends.
struct CropPad {
    /// `None` for all.
    axes: Option<Vec<i64>>,
}

fn crop_pad(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axes = attrs.ints("axes").map(<[i64]>::to_vec);
    Ok(Box::new(CropPad { axes }))
}

impl Op for CropPad {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        let Some(mut shape) = x.shape.clone() else {
            return Ok(vec![rules::fact(x.dtype, None)]);
        };
        let axes = match &self.axes {
            Some(axes) => rules::axes_in(shape.rank(), axes)?,
            None => (0..shape.rank()).collect(),
        };
        let sizes = sizes(inputs, 1, axes.len())?;
        for (axis, size) in axes.into_iter().zip(sizes) {
            shape.0[axis] = size;
        }
        Ok(vec![rules::fact(x.dtype, Some(shape))])
    }
}

/// The bytes of a file -> [h, w, channels].
struct Decoder {
    n_channels: i64,
}

fn decoder(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let n_channels = match attrs.str("pixel_format") {
        None | Some("RGB" | "BGR") => 3,
        Some("Grayscale") => 1,
        Some(other) => return Err(Error::parse("", format!("pixel_format is {other:?}"))),
    };
    Ok(Box::new(Decoder { n_channels }))
}

impl Op for Decoder {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        rules::expect_rank(inputs, 0, 1)?;
        let shape = vec![Dim::Unknown, Dim::Unknown, self.n_channels.into()];
        Ok(vec![Fact::tensor(DType::U8, Shape(shape))])
    }
}
