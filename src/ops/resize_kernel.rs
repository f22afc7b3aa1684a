//! The kernel of `Resize`: sums over the taps of the axes that change, which the plan has worked out.

use std::fmt::Write;

use super::resize_taps::{Axis, Filter, Sampling};
use crate::kernel::{Call, Dispatch, Map, Refusal, dense_strides};

/// Axes that the kernel walks: `None` where x and y have the same elements.
struct Walk {
    size: usize,
    stride: usize,
    axis: Option<Axis>,
}

/// Stands in the table for the value of extrapolation.
const OUTSIDE: u32 = u32::MAX;

/// `axes` are those of x, `None` where nothing is sampled.
pub(super) fn dispatch(
    call: &Call,
    axes: &[Option<Axis>],
    sampling: &Sampling,
    extrapolation: f32,
) -> Result<Dispatch, Refusal> {
    let (x, y) = (call.input(0)?, call.output(0)?);
    let is_nearest = matches!(sampling.filter, Filter::Nearest(_));
    if !is_nearest && !x.storage.is_float() {
        return Err("integers are not interpolated".into());
    }
    let sizes = call.output_sizes(0);
    let walks = walks(&call.sizes(0), &sizes, axes);
    if walks.iter().all(|walk| walk.axis.is_none()) {
        return Ok(Dispatch::view(0));
    }

    let mut table = Vec::new();
    let mut coordinates = String::new();
    let (mut open, mut close) = (String::new(), String::new());
    let mut weight = "1.0".to_owned();
    let mut offset = "at".to_owned();
    let mut check = String::new();
    let mut kernel = Map::kernel("resize", "");
    let line = |text: &mut String, line: String| {
        writeln!(text, "  {line}").expect("strings take what is written");
    };
    for (idx, walk) in walks.iter().enumerate().rev() {
        kernel = kernel.param(&format!("size{idx}"), walk.size);
        let coordinate = format!("let c{idx} = rest % params.size{idx}; rest /= params.size{idx};");
        line(&mut coordinates, coordinate);
        let Some(axis) = &walk.axis else {
            kernel = kernel.param(&format!("stride{idx}"), walk.stride);
            line(
                &mut coordinates,
                format!("at += c{idx} * params.stride{idx};"),
            );
            continue;
        };
        let first = table.len() / 2;
        let n_taps = push_taps(&mut table, walk.stride, axis, sampling);
        kernel = kernel
            .param(&format!("first{idx}"), first)
            .param(&format!("taps{idx}"), n_taps);
        let first = format!("let t{idx} = params.first{idx} + c{idx} * params.taps{idx};");
        line(&mut coordinates, first);
        let outside =
            format!("if table[t{idx}].x == {OUTSIDE}u {{ return y_value(params.outside); }}");
        line(&mut check, outside);
        if is_nearest {
            write!(offset, " + table[t{idx}].x").expect("strings take what is written");
            continue;
        }
        let over = format!("for (var k{idx} = 0u; k{idx} < params.taps{idx}; k{idx}++) {{");
        line(&mut open, over);
        line(&mut open, format!("let tap{idx} = table[t{idx} + k{idx}];"));
        line(&mut open, format!("let at{idx} = {offset} + tap{idx}.x;"));
        let product = format!("let w{idx} = {weight} * bitcast<f32>(tap{idx}.y);");
        line(&mut open, product);
        close.push_str("  }\n");
        offset = format!("at{idx}");
        weight = format!("w{idx}");
    }
    let result = if is_nearest {
        format!("  return load_x({offset});\n")
    } else {
        format!(
            "  var sum = 0.0;\n{open}    sum += {weight} * load_x({offset});\n{close}  return sum;\n"
        )
    };
    if sampling.coordinates != super::resize_taps::Coordinates::Crop {
        check.clear();
    } else {
        kernel = kernel.param_f32("outside", extrapolation);
    }
    let mut dispatch = Dispatch::default();
    let table = dispatch.add_words(&table);
    let kernel = kernel
        .read("x", x)
        .read_vec2("table", table)
        .snippet(&format!(
            "fn element(i: u32) -> y_value {{\n  var rest = i;\n  var at = 0u;\n{coordinates}{check}{result}}}"
        ));
    let launch = Map::launch(kernel, y, sizes.iter().product(), call.caps);
    dispatch.launches.push(launch);
    Ok(dispatch)
}

/// The axes of y, neighbours that stay as they are taken together.
fn walks(x: &[usize], y: &[usize], axes: &[Option<Axis>]) -> Vec<Walk> {
    let mut walks: Vec<Walk> = Vec::new();
    for ((&size, &axis), stride) in y.iter().zip(axes).zip(dense_strides(x)) {
        match walks.last_mut() {
            Some(before) if before.axis.is_none() && axis.is_none() => {
                before.size *= size;
                before.stride = stride;
            }
            _ => walks.push(Walk { size, stride, axis }),
        }
    }
    walks
}

/// Adds pairs of an offset in x and the bits of a weight; returns how many each place has.
fn push_taps(table: &mut Vec<u32>, stride: usize, axis: &Axis, sampling: &Sampling) -> usize {
    let places = sampling.taps(axis);
    let n_taps = places.iter().flatten().map(Vec::len).max().unwrap_or(1);
    for taps in places {
        let taps = taps.unwrap_or_else(Vec::new);
        for idx in 0..n_taps {
            let (offset, weight) = match taps.get(idx) {
                Some((place, weight)) => {
                    let offset = u32::try_from(place * stride);
                    let fits = "the plan refuses buffers of 2^32 elements";
                    (offset.expect(fits), weight.to_bits())
                }
                None => (OUTSIDE, 0),
            };
            table.extend([offset, weight]);
        }
    }
    n_taps
}
