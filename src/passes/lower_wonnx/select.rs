//! What moves elements: all of it through `Gather` of rows, `Concat` of rows and `Transpose`.

use super::{Build, Formula, Skip, known_number, output_sizes, product};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::{DType, Tensor};

/// WebGPU promises eight storage buffers to a shader; one is the output.
const MAX_CONCAT_INPUTS: usize = 7;

/// Lists of indices made here are not longer than this.
const MAX_INDICES: i64 = 1 << 20;

/// `Squeeze`, `Unsqueeze` as `Reshape`.
pub(super) fn to_reshape(b: &Build) -> Formula {
    Ok(b.reshape(b.x()?, &output_sizes(b)?))
}

/// `Reshape` whose shape follows from what else is known.
pub(super) fn reshape(b: &Build) -> Formula {
    if b.known_ints(b.input(1)?).is_ok() && b.node.attrs.get("allowzero").is_none() {
        return Err(Skip::NoMatch);
    }
    to_reshape(b)
}

/// Sizes around an axis: how many rows-of-rows before it, and how long the rows behind it are.
fn around(sizes: &[i64], axis: usize) -> Result<(i64, i64), Skip> {
    Ok((product(&sizes[..axis])?, product(&sizes[axis + 1..])?))
}

/// x as [size of the axis, outer * inner]: one row for each place on the axis.
fn as_rows(b: &Build, x: ValueId, sizes: &[i64], axis: usize) -> Formula {
    let (outer, inner) = around(sizes, axis)?;
    let size = sizes[axis];
    if outer == 1 {
        return Ok(b.reshape(x, &[size, inner]));
    }
    let front = b.transpose(b.reshape(x, &[outer, size, inner]), &[1, 0, 2]);
    Ok(b.reshape(front, &[size, product(&[outer, inner])?]))
}

/// The way back from [`as_rows`].
fn from_rows(b: &Build, rows: ValueId, sizes: &[i64], axis: usize) -> Formula {
    let (outer, inner) = around(sizes, axis)?;
    if outer == 1 {
        return Ok(b.reshape(rows, sizes));
    }
    let apart = b.reshape(rows, &[sizes[axis], outer, inner]);
    Ok(b.reshape(b.transpose(apart, &[1, 0, 2]), sizes))
}

/// The given places of an axis; `sizes` is x's shape and becomes the result's.
fn pick(b: &Build, x: ValueId, sizes: &mut [i64], axis: usize, places: &[i64]) -> Formula {
    if places.iter().copied().eq(0..sizes[axis]) {
        return Ok(x);
    }
    let rows = as_rows(b, x, sizes, axis)?;
    let picked = b.op_with("Gather", &[rows, b.ints(places)], [("axis", Attr::Int(0))]);
    sizes[axis] = places.len() as i64;
    from_rows(b, picked, sizes, axis)
}

/// `Gather` along another axis than the first.
pub(super) fn gather(b: &Build) -> Formula {
    let (x, indices) = (b.x()?, b.input(1)?);
    let sizes = b.sizes(x)?;
    let axis = b.axis(b.int("axis", 0), sizes.len())?;
    if axis == 0 {
        return Err(Skip::NoMatch);
    }
    let count = product(&b.sizes(indices)?)?;
    let rows = as_rows(b, x, &sizes, axis)?;
    let flat = b.reshape(indices, &[count]);
    let picked = b.op_with("Gather", &[rows, flat], [("axis", Attr::Int(0))]);
    let mut picked_sizes = sizes;
    picked_sizes[axis] = count;
    Ok(b.reshape(
        from_rows(b, picked, &picked_sizes, axis)?,
        &output_sizes(b)?,
    ))
}

pub(super) fn slice(b: &Build) -> Formula {
    let mut x = b.x()?;
    let mut sizes = b.sizes(x)?;
    let (starts, ends) = (b.known_ints(b.input(1)?)?, b.known_ints(b.input(2)?)?);
    let axes = match b.node.input(3) {
        Some(axes) => b.known_ints(axes)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match b.node.input(4) {
        Some(steps) => b.known_ints(steps)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()]
        .iter()
        .any(|&len| len != starts.len())
    {
        return Err(Skip::Refused(
            "starts, ends, axes and steps differ in length",
        ));
    }
    for (idx, &axis) in axes.iter().enumerate() {
        let axis = b.axis(axis, sizes.len())?;
        let places = places(sizes[axis], starts[idx], ends[idx], steps[idx])?;
        x = pick(b, x, &mut sizes, axis, &places)?;
    }
    same_or_identity(b, x)
}

/// A rule's result where nothing was left to do is the input itself.
fn same_or_identity(b: &Build, x: ValueId) -> Formula {
    if Some(x) == b.node.input(0) {
        Ok(b.op("Identity", &[x]))
    } else {
        Ok(x)
    }
}

/// The places on an axis that a slice takes.
fn places(size: i64, start: i64, end: i64, step: i64) -> Result<Vec<i64>, Skip> {
    let from_end = |place: i64| {
        if place < 0 {
            place.saturating_add(size)
        } else {
            place
        }
    };
    let (start, end) = (from_end(start), from_end(end));
    if size > MAX_INDICES || step == 0 {
        return Err(Skip::Refused("an axis is too long or a step is zero"));
    }
    let mut places = Vec::new();
    if step > 0 {
        let (mut place, end) = (start.clamp(0, size), end.clamp(0, size));
        while place < end {
            places.push(place);
            place = place.saturating_add(step);
        }
    } else {
        let (mut place, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
        while place > end {
            places.push(place);
            place = place.saturating_add(step);
        }
    }
    Ok(places)
}

/// `Split` as one choice of places for each part: wonnx's own disturbs what is before it.
pub(super) fn split(b: &Build) -> Formula {
    let x = b.x()?;
    let sizes = b.sizes(x)?;
    let axis = b.axis(b.int("axis", 0), sizes.len())?;
    let mut start = 0;
    let mut first = None;
    for (idx, output) in b.node.outputs.iter().enumerate() {
        let Some(output) = *output else {
            return Err(Skip::Refused("a part is left out"));
        };
        let part = *b.sizes(output)?.get(axis).ok_or(Skip::NoMatch)?;
        let end = part.saturating_add(start);
        if end > sizes[axis] || end > MAX_INDICES {
            return Err(Skip::Refused("the parts are longer than the axis"));
        }
        let places: Vec<i64> = (start..end).collect();
        let value = pick(b, x, &mut sizes.clone(), axis, &places)?;
        if idx == 0 {
            first = Some(value);
        } else {
            b.also(idx, value);
        }
        start = end;
    }
    first.ok_or(Skip::NoMatch)
}

/// `Concat` of rows without empty parts, at most as many at a time as a shader can bind.
pub(super) fn concat(b: &Build) -> Formula {
    let sizes = output_sizes(b)?;
    let axis = b.axis(b.int("axis", 0), sizes.len())?;
    let (outer, _) = around(&sizes, axis)?;
    let given: Option<Vec<ValueId>> = b.node.inputs.iter().copied().collect();
    let mut parts = given.ok_or(Skip::NoMatch)?;
    let sizes_of = |part: ValueId| b.fact(part).sizes();
    parts.retain(|&part| !sizes_of(part).is_some_and(|sizes| sizes.contains(&0)));
    let is_whole = parts.len() == b.node.inputs.len();
    if parts.is_empty() || (is_whole && outer == 1 && parts.len() <= MAX_CONCAT_INPUTS) {
        return Err(Skip::NoMatch);
    }
    let rows: Result<Vec<ValueId>, Skip> = parts
        .iter()
        .map(|&part| as_rows(b, part, &b.sizes(part)?, axis))
        .collect();
    from_rows(b, concat_rows(b, rows?), &sizes, axis)
}

fn concat_rows(b: &Build, mut parts: Vec<ValueId>) -> ValueId {
    let join = |parts: &[ValueId]| match parts {
        [one] => *one,
        parts => b.op_with("Concat", parts, [("axis", Attr::Int(0))]),
    };
    while parts.len() > MAX_CONCAT_INPUTS {
        parts = parts.chunks(MAX_CONCAT_INPUTS).map(join).collect();
    }
    join(&parts)
}

/// `Pad`: wonnx's own takes zeros and at most one of them behind an axis.
pub(super) fn pad(b: &Build) -> Formula {
    let mut x = b.x()?;
    let mut sizes = b.sizes(x)?;
    let rank = sizes.len();
    let given = b.known_ints(b.input(1)?)?;
    let axes: Vec<usize> = match b.node.input(3) {
        Some(axes) => b
            .known_ints(axes)?
            .iter()
            .map(|&axis| b.axis(axis, rank))
            .collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let is_bounded = given
        .iter()
        .all(|pad| (-MAX_INDICES..=MAX_INDICES).contains(pad));
    if given.len() != 2 * axes.len() || !is_bounded {
        return Err(Skip::Refused(
            "pads are not two small numbers for each axis",
        ));
    }
    let mut pads = vec![(0, 0); rank];
    for (idx, &axis) in axes.iter().enumerate() {
        pads[axis] = (given[idx], given[axes.len() + idx]);
    }
    let mode = b.node.attrs.str("mode").unwrap_or("constant");
    if mode != "constant" {
        for (axis, &(before, after)) in pads.iter().enumerate() {
            let places = mirrored(mode, sizes[axis], before, after)?;
            x = pick(b, x, &mut sizes, axis, &places)?;
        }
        return same_or_identity(b, x);
    }
    let value = match b.node.input(2) {
        Some(value) => known_number(b, value).ok_or(Skip::Refused("the value is not constant"))?,
        None => 0.0,
    };
    if b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("wonnx pads f32"));
    }
    if value == 0.0
        && pads
            .iter()
            .all(|&(before, after)| before >= 0 && (0..=1).contains(&after))
    {
        if b.node.inputs.len() == 2 {
            return Err(Skip::NoMatch);
        }
        let (before, after): (Vec<i64>, Vec<i64>) = pads.into_iter().unzip();
        return Ok(b.op("Pad", &[x, b.ints(&[before, after].concat())]));
    }
    for (axis, &(before, after)) in pads.iter().enumerate() {
        let kept = places(sizes[axis], (-before).max(0), sizes[axis] + after.min(0), 1)?;
        x = pick(b, x, &mut sizes, axis, &kept)?;
        let (before, after) = (before.max(0), after.max(0));
        if (before, after) == (0, 0) {
            continue;
        }
        let (outer, inner) = around(&sizes, axis)?;
        let row = product(&[outer, inner])?;
        let mut parts = Vec::new();
        if before > 0 {
            parts.push(filled(b, before, row, value)?);
        }
        parts.push(as_rows(b, x, &sizes, axis)?);
        if after > 0 {
            parts.push(filled(b, after, row, value)?);
        }
        sizes[axis] += before + after;
        x = from_rows(b, concat_rows(b, parts), &sizes, axis)?;
    }
    same_or_identity(b, x)
}

/// A constant of equal rows.
fn filled(b: &Build, n_rows: i64, row: i64, value: f64) -> Formula {
    let count = product(&[n_rows, row])?;
    if count > MAX_INDICES {
        return Err(Skip::Refused("the padding is too large"));
    }
    let elements = vec![value as f32; count as usize];
    let tensor = Tensor::from_vec(&[n_rows as usize, row as usize], elements);
    Ok(b.constant(tensor.map_err(|_| Skip::Refused("a size is wrong"))?))
}

/// The places that `reflect`, `edge` and `wrap` read.
fn mirrored(mode: &str, size: i64, before: i64, after: i64) -> Result<Vec<i64>, Skip> {
    if !(1..=MAX_INDICES).contains(&size) {
        return Err(Skip::Refused("an axis is empty or too long"));
    }
    let period = 2 * (size - 1);
    (-before..size + after)
        .map(|place| match mode {
            "edge" => Ok(place.clamp(0, size - 1)),
            "wrap" => Ok(place.rem_euclid(size)),
            "reflect" if period == 0 => Ok(0),
            "reflect" => {
                let place = place.rem_euclid(period);
                Ok(place.min(period - place))
            }
            _ => Err(Skip::Refused("the mode is unknown")),
        })
        .collect()
}

/// `Tile`: every axis read again and again.
pub(super) fn tile(b: &Build) -> Formula {
    let mut x = b.x()?;
    let mut sizes = b.sizes(x)?;
    let repeats = b.known_ints(b.input(1)?)?;
    if repeats.len() != sizes.len() {
        return Err(Skip::Refused("repeats are not one for each axis"));
    }
    for (axis, &repeat) in repeats.iter().enumerate() {
        let size = sizes[axis];
        let count = product(&[size, repeat])?;
        if !(0..=MAX_INDICES).contains(&count) {
            return Err(Skip::Refused("an axis is too long"));
        }
        let places: Vec<i64> = (0..count).map(|place| place % size).collect();
        x = pick(b, x, &mut sizes, axis, &places)?;
    }
    same_or_identity(b, x)
}

/// `Resize`: wonnx's own where the picture grows by whole numbers, else places and weights that
/// are known ahead of time.
pub(super) fn resize(b: &Build) -> Formula {
    let x = b.x()?;
    let sizes = b.sizes(x)?;
    let out = output_sizes(b)?;
    let attr =
        |name: &str, default: &'static str| b.node.attrs.str(name).unwrap_or(default).to_owned();
    let position = attr("coordinate_transformation_mode", "half_pixel");
    let (mode, nearest) = (
        attr("mode", "nearest"),
        attr("nearest_mode", "round_prefer_floor"),
    );
    if b.int("antialias", 0) != 0 || b.int("exclude_outside", 0) != 0 {
        return Err(Skip::Refused(
            "it is antialiased or excludes what is outside",
        ));
    }
    if sizes.len() != out.len() || sizes.contains(&0) || out.iter().any(|&n| n > MAX_INDICES) {
        return Err(Skip::Refused("a size is wrong"));
    }
    let scales = known_scales(b, &sizes, &out)?;
    let grows = |axis: usize| {
        scales[axis].fract() == 0.0 && out[axis] as f64 == sizes[axis] as f64 * scales[axis]
    };
    let is_floor = position == "asymmetric" && nearest == "floor";
    // Between the middles of pixels, a whole number of new pixels is nearest to each old one.
    let is_rounded = matches!(&*position, "half_pixel" | "pytorch_half_pixel")
        && nearest.starts_with("round_prefer_");
    if mode == "nearest" && (is_floor || is_rounded) && (0..sizes.len()).all(grows) {
        if is_floor && b.node.input(3).is_none() && b.node.attrs.get("axes").is_none() {
            return Err(Skip::NoMatch);
        }
        let scales: Vec<f32> = scales.iter().map(|&scale| scale as f32).collect();
        let text = |text: &str| Attr::Str(text.into());
        return Ok(b.op_with(
            "Resize",
            &[Some(x), None, Some(b.constant(Tensor::vector(&scales)))],
            [
                ("mode", text("nearest")),
                ("coordinate_transformation_mode", text("asymmetric")),
                ("nearest_mode", text("floor")),
            ],
        ));
    }
    let mut y = x;
    let mut y_sizes = sizes.clone();
    for axis in 0..sizes.len() {
        if sizes[axis] == out[axis] && scales[axis] == 1.0 {
            continue;
        }
        let last = (sizes[axis] - 1) as f64;
        let at = |place: i64| {
            source(
                &position,
                place as f64,
                scales[axis],
                sizes[axis],
                out[axis],
            )
        };
        let positions: Vec<f64> = (0..out[axis]).map(at).collect::<Result<_, _>>()?;
        let clamped = |place: f64| place.clamp(0.0, last) as i64;
        match &*mode {
            "nearest" => {
                let rounded = |x: f64| match &*nearest {
                    "round_prefer_floor" => Ok((x - 0.5).ceil()),
                    "round_prefer_ceil" => Ok((x + 0.5).floor()),
                    "floor" => Ok(x.floor()),
                    "ceil" => Ok(x.ceil()),
                    _ => Err(Skip::Refused("nearest_mode is unknown")),
                };
                let places: Result<Vec<i64>, Skip> =
                    positions.iter().map(|&x| rounded(x).map(clamped)).collect();
                y = pick(b, y, &mut y_sizes, axis, &places?)?;
            }
            "linear" if b.dtype(x)? == DType::F32 => {
                let places = |offset: f64| -> Vec<i64> {
                    positions
                        .iter()
                        .map(|&x| clamped(x.floor() + offset))
                        .collect()
                };
                let mut upper_sizes = y_sizes.clone();
                let upper = pick(b, y, &mut upper_sizes, axis, &places(1.0))?;
                let lower = pick(b, y, &mut y_sizes, axis, &places(0.0))?;
                let weights: Vec<f32> = positions.iter().map(|&x| (x - x.floor()) as f32).collect();
                let mut along = vec![1; sizes.len() - axis];
                along[0] = out[axis] as usize;
                let weights = Tensor::from_vec(&along, weights);
                let weights = b.constant(weights.map_err(|_| Skip::Refused("a size is wrong"))?);
                y = b.add(lower, b.mul(b.sub(upper, lower), weights));
            }
            _ => return Err(Skip::Refused("the mode is cubic, or the type is not f32")),
        }
    }
    same_or_identity(b, y)
}

/// One scale for each axis.
fn known_scales(b: &Build, sizes: &[i64], out: &[i64]) -> Result<Vec<f64>, Skip> {
    let mut scales: Vec<f64> = sizes
        .iter()
        .zip(out)
        .map(|(&size, &out)| out as f64 / size as f64)
        .collect();
    let scales_input = b
        .node
        .input(2)
        .filter(|&value| b.fact(value).sizes() != Some(vec![0]));
    let Some(scales_input) = scales_input else {
        let stretches = b
            .node
            .attrs
            .str("keep_aspect_ratio_policy")
            .unwrap_or("stretch")
            == "stretch";
        return if stretches {
            Ok(scales)
        } else {
            Err(Skip::Refused("the aspect ratio is kept"))
        };
    };
    let given = b.graph.constant(scales_input).and_then(Tensor::to_f64s);
    let given = given.ok_or(Skip::Refused("the scales vary"))?;
    let axes: Vec<usize> = match b.node.attrs.ints("axes") {
        Some(axes) => axes
            .iter()
            .map(|&axis| b.axis(axis, sizes.len()))
            .collect::<Result<_, _>>()?,
        None => (0..sizes.len()).collect(),
    };
    if axes.len() != given.len() {
        return Err(Skip::Refused("scales are not one for each axis"));
    }
    for (axis, scale) in axes.into_iter().zip(given) {
        scales[axis] = scale;
    }
    Ok(scales)
}

/// Where an output pixel lies in the input (ONNX, Resize, `coordinate_transformation_mode`).
fn source(position: &str, x: f64, scale: f64, size: i64, out: i64) -> Result<f64, Skip> {
    Ok(match position {
        "half_pixel" => (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if out > 1 => (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => 0.0,
        "align_corners" if out > 1 => x * (size - 1) as f64 / (out - 1) as f64,
        "align_corners" => 0.0,
        "asymmetric" => x / scale,
        _ => return Err(Skip::Refused("the coordinate mode is not supported")),
    })
}
