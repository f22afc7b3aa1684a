//! Boxes in pictures: cutting regions out at one size, and choosing among overlapping ones.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Map, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "RoiAlign",
        roi_align,
        &[
            "input x: f32[n, 3, h, w]\n input r: f32[k, 4]\n input b: i64[k]
             y = RoiAlign(x, r, b) {output_height = 7, output_width = 5}
             output y: f32[k, 3, 7, 5]",
            "opset 10\n input x: f32[1, 1, 10, 10]\n input r: f32[?, 4]\n input b: i64[3]
             y = RoiAlign(x, r, b)\n output y: f32[3, 1, 1, 1]",
        ],
    ),
    rules::onnx(
        "MaxRoiPool",
        max_roi_pool,
        &["input x: f32[1, c, 10, 10]\n input r: f32[k, 5]
           y = MaxRoiPool(x, r) {pooled_shape = [2, 3]}\n output y: f32[k, c, 2, 3]"],
    ),
    rules::onnx(
        "NonMaxSuppression",
        |_, _| Ok(Box::new(NonMaxSuppression)),
        &[
            "input b: f32[n, k, 4]\n input s: f32[n, 80, k]\n y = NonMaxSuppression(b, s)\n output y: i64[?, 3]",
        ],
    ),
];

/// x: [n, c, h, w], regions: [k, 4 or 5] -> [k, c, height, width].
struct Regions {
    height: i64,
    width: i64,
    /// 5 where the batch index comes before the corners, 4 where it has an input of its own.
    region_len: i64,
    /// How `RoiAlign` samples.
    align: Option<Align>,
}

struct Align {
    /// The largest of all rather than their mean.
    takes_max: bool,
    /// Coordinates name the centers of elements.
    half_pixel: bool,
    /// Samples along each axis of an element of y; 0 for as many as there are elements of x.
    sampling_ratio: usize,
    scale: f32,
}

fn roi_align(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Regions {
        height: check::count(attrs, "output_height", 1)?.unwrap_or(1),
        width: check::count(attrs, "output_width", 1)?.unwrap_or(1),
        region_len: 4,
        align: Some(Align {
            takes_max: attrs.str("mode") == Some("max"),
            half_pixel: attrs.str("coordinate_transformation_mode") != Some("output_half_pixel"),
            sampling_ratio: usize::try_from(attrs.int("sampling_ratio").unwrap_or(0)).unwrap_or(0),
            scale: attrs.float("spatial_scale").unwrap_or(1.0),
        }),
    }))
}

fn max_roi_pool(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let sizes = check::counts(attrs, "pooled_shape", 1)?;
    let sizes = <[i64; 2]>::try_from(sizes).ok();
    let [height, width] = rules::required(sizes, "pooled_shape")?;
    Ok(Box::new(Regions {
        height,
        width,
        region_len: 5,
        align: None,
    }))
}

impl Op for Regions {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, [0, 1])?;
        let mut x = vec![Dim::Unknown; 4];
        check::meet_shape("x", inputs.shape(0), &mut x)?;
        let mut regions = [Dim::Unknown, self.region_len.into()];
        check::meet_shape("regions", inputs.shape(1), &mut regions)?;
        let [count, _] = regions;
        let mut count = [count];
        if self.region_len == 4 {
            rules::tensor(inputs, 2)?;
            check::meet_shape("batch indices", inputs.shape(2), &mut count)?;
        }
        let [count] = count;
        let y = vec![count, x[1].clone(), self.height.into(), self.width.into()];
        Ok(vec![rules::fact(dtype, Some(Shape(y)))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let Some(align) = &self.align else {
            return Err("there is no kernel for it".into());
        };
        let (sizes, y_sizes) = (call.sizes(0), call.output_sizes(0));
        // The largest of samples is that of their weighted parts, as implementations have it.
        let (joined, taps, share) = if align.takes_max {
            (
                "max(a, b)",
                "max(max(taps.x, taps.y), max(taps.z, taps.w))",
                "1.0",
            )
        } else {
            ("a + b", "dot(taps, vec4<f32>(1.0))", "n_samples")
        };
        // Half-pixel regions may be as small as they are.
        let (offset, min_size) = if align.half_pixel {
            (0.5, f32::MIN)
        } else {
            (0.0, 1.0)
        };
        let kernel = Map::kernel("roi_align", include_str!("roi_align.wgsl"))
            .param("last_picture", sizes[0].saturating_sub(1))
            .param("channels", sizes[1])
            .param("rows", sizes[2])
            .param("cols", sizes[3])
            .param("height", y_sizes[2])
            .param("width", y_sizes[3])
            .param("sampling_ratio", align.sampling_ratio.min(4096))
            .param_f32("scale", align.scale)
            .param_f32("offset", offset)
            .param_f32("min_size", min_size)
            .snippet(&format!(
                "fn joined(a: f32, b: f32) -> f32 {{ return {joined}; }}
fn of_taps(taps: vec4<f32>) -> f32 {{ return {taps}; }}
fn share(n_samples: f32) -> f32 {{ return {share}; }}"
            ))
            .read("x", call.input(0)?)
            .read("regions", call.input(1)?)
            .read("picks", call.input(2)?);
        let n_elems = y_sizes.iter().product();
        let y = call.output(0)?;
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

/// boxes: [n, k, 4], scores: [n, classes, k] -> [selected, 3]: batch, class and box of each.
struct NonMaxSuppression;

impl Op for NonMaxSuppression {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        rules::same_dtype(inputs, [0, 1])?;
        let mut boxes = [Dim::Unknown, Dim::Unknown, Dim::Size(4)];
        check::meet_shape("boxes", inputs.shape(0), &mut boxes)?;
        let [batch, count, _] = boxes;
        check::meet_shape("scores", inputs.shape(1), &mut [batch, Dim::Unknown, count])?;
        let shape = Shape(vec![Dim::Unknown, Dim::Size(3)]);
        Ok(vec![Fact::tensor(DType::I64, shape)])
    }
}
