//! What moves elements, and what follows from sizes alone.

use std::f64::consts::TAU;

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::{DType, Tensor};

/// Tables made here are not larger than this.
const MAX_TABLE_ELEMENTS: i64 = 1 << 22;

fn bounded(sizes: &[i64]) -> Result<i64, Skip> {
    let count = sizes.iter().try_fold(1_i64, |count, &size| {
        count
            .checked_mul(size)
            .filter(|&count| (0..=MAX_TABLE_ELEMENTS).contains(&count))
    });
    count.ok_or(Skip::Refused("a table would be too large"))
}

fn table(b: &Build, sizes: &[i64], elements: Vec<f32>) -> Formula {
    let sizes: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
    let tensor =
        Tensor::from_vec(&sizes, elements).map_err(|_| Skip::Refused("a size is wrong"))?;
    Ok(b.constant(tensor))
}

/// x: [N, C, H, W] -> [N, C * s * s, H / s, W / s] for blocks of s by s.
pub(super) fn space_to_depth(b: &Build) -> Formula {
    let x = b.x()?;
    let (sizes, s) = (b.sizes(x)?, block_size(b)?);
    let &[n, c, h, w] = &sizes[..] else {
        return Err(Skip::Refused("x is not of rank 4"));
    };
    if h % s != 0 || w % s != 0 {
        return Err(Skip::Refused("blocks do not fill the picture"));
    }
    let perm = match b.node.attrs.str("mode").unwrap_or("DCR") {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        _ => return Err(Skip::Refused("mode is neither DCR nor CRD")),
    };
    let blocks = b.reshape(x, &[n, c, h / s, s, w / s, s]);
    let depth = product(&[c, s, s])?;
    Ok(b.reshape(b.transpose(blocks, &perm), &[n, depth, h / s, w / s]))
}

/// x: [N, C * s * s, H, W] -> [N, C, H * s, W * s] for blocks of s by s.
pub(super) fn depth_to_space(b: &Build) -> Formula {
    let x = b.x()?;
    let (sizes, s) = (b.sizes(x)?, block_size(b)?);
    let &[n, depth, h, w] = &sizes[..] else {
        return Err(Skip::Refused("x is not of rank 4"));
    };
    let c = depth / product(&[s, s])?;
    let (shape, perm) = match b.node.attrs.str("mode").unwrap_or("DCR") {
        "DCR" => ([n, s, s, c, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, c, s, s, h, w], [0, 1, 4, 2, 5, 3]),
        _ => return Err(Skip::Refused("mode is neither DCR nor CRD")),
    };
    let shuffled = b.transpose(b.reshape(x, &shape), &perm);
    Ok(b.reshape(shuffled, &[n, c, product(&[h, s])?, product(&[w, s])?]))
}

fn block_size(b: &Build) -> Result<i64, Skip> {
    let size = b.int("blocksize", 0);
    if size < 1 {
        Err(Skip::Refused("blocksize is not positive"))
    } else {
        Ok(size)
    }
}

fn product(factors: &[i64]) -> Result<i64, Skip> {
    let product = factors
        .iter()
        .try_fold(1_i64, |product, &factor| product.checked_mul(factor));
    product.ok_or(Skip::Refused("a size does not fit"))
}

/// `CenterCropPad`: a slice where the wanted size is smaller, a pad where it is larger.
pub(super) fn center_crop_pad(b: &Build) -> Formula {
    let (x, wanted) = (b.x()?, b.cast(b.input(1)?, DType::I64));
    let rank = b.rank(x)? as i64;
    let axes = match b.node.attrs.ints("axes") {
        Some(axes) => b.ints(axes),
        None => b.ints(&(0..rank).collect::<Vec<i64>>()),
    };
    let (zero, two) = (b.ints(&[0]), b.ints(&[2]));
    let size = b.op("Gather", &[b.op("Shape", &[x]), axes]);
    let half = |n: ValueId| b.div(n, two);
    let start = half(b.op("Max", &[b.sub(size, wanted), zero]));
    let end = b.add(start, b.op("Min", &[size, wanted]));
    let missing = b.op("Max", &[b.sub(wanted, size), zero]);
    let before = half(missing);
    let both = [before, b.sub(missing, before)];
    let pads = b.op_with("Concat", &both, [("axis", Attr::Int(0))]);
    let inside = b.op("Slice", &[x, start, end, axes]);
    Ok(b.op_with("Pad", &[Some(inside), Some(pads), None, Some(axes)], []))
}

/// `Pad` of some axes as a `Pad` of all.
pub(super) fn pad_all_axes(b: &Build) -> Formula {
    let (x, pads) = (b.x()?, b.input(1)?);
    let axes = b.node.input(3).ok_or(Skip::NoMatch)?;
    let rank = b.rank(x)?;
    if rank == 0 {
        return Err(Skip::NoMatch);
    }
    let size = b.ints(&[rank as i64]);
    let before = b.op("Mod", &[b.cast(axes, DType::I64), size]);
    let places = [before, b.add(before, size)];
    let along = || [("axis", Attr::Int(0))];
    let places = b.op_with("Concat", &places, along());
    let zeros = b.ints(&vec![0; 2 * rank]);
    let all = b.op_with("ScatterElements", &[zeros, places, pads], along());
    b.again(
        "Pad",
        &[Some(x), Some(all), b.node.input(2)],
        b.node.attrs.clone(),
    )
}

// mask ? x : 0, where the mask is what is on and above (or below) diagonal k
pub(super) fn trilu(b: &Build) -> Formula {
    let x = b.x()?;
    let sizes = b.shape(x)?.0;
    let last_two: Option<Vec<i64>> = sizes.iter().rev().take(2).map(|dim| dim.value()).collect();
    let Some(&[columns, rows]) = last_two.as_deref() else {
        return Err(Skip::Refused("a size is unknown, or x has no rows"));
    };
    bounded(&[rows, columns])?;
    let k = match b.node.input(1) {
        Some(k) => *b
            .known_ints(k)?
            .first()
            .ok_or(Skip::Refused("k is empty"))?,
        None => 0,
    };
    let is_upper = b.int("upper", 1) != 0;
    let keeps = |row: i64, column: i64| {
        let diagonal = column - row;
        if is_upper {
            diagonal >= k
        } else {
            diagonal <= k
        }
    };
    let mask: Vec<u8> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| u8::from(keeps(row, column))))
        .collect();
    let shape = [rows as usize, columns as usize];
    let mask = Tensor::from_bytes(DType::Bool, &shape, mask);
    let mask = b.constant(mask.map_err(|_| Skip::Refused("a size is wrong"))?);
    Ok(b.op("Where", &[mask, x, b.like(x, 0.0)?]))
}

/// `EyeLike`: ones on diagonal k of a matrix of the size of x.
pub(super) fn eye_like(b: &Build) -> Formula {
    let x = b.x()?;
    let &[rows, columns] = &b.sizes(x)?[..] else {
        return Err(Skip::Refused("x is not a matrix"));
    };
    bounded(&[rows, columns])?;
    let k = b.int("k", 0);
    let is_one = |row: i64, column: i64| column - row == k;
    let ones = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| f32::from(u8::from(is_one(row, column)))))
        .collect();
    let dtype = match b.node.attrs.int("dtype") {
        Some(number) => DType::from_onnx(number).ok_or(Skip::Refused("dtype is unknown"))?,
        None => b.dtype(x)?,
    };
    let ones = table(b, &[rows, columns], ones)?;
    Ok(if dtype == DType::F32 {
        ones
    } else {
        b.cast(ones, dtype)
    })
}

// a - b cos(t) + c cos(2 t) with t from 0 to a full turn
pub(super) fn window(b: &Build) -> Formula {
    let size = b.x()?;
    let number = |number: f64| b.scalar(DType::F32, number);
    let idx = b.op("Range", &[b.like(size, 0.0)?, size, b.like(size, 1.0)?]);
    let mut period = b.cast(size, DType::F32);
    if b.int("periodic", 1) == 0 {
        // A symmetric window of one element has no period.
        period = b.op("Max", &[b.sub(period, number(1.0)?), number(1.0)?]);
    }
    let terms = match &*b.node.op.name {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let turn = b.mul(b.cast(idx, DType::F32), b.div(number(TAU)?, period));
    let wave = |factor: f64, angle: ValueId| -> Formula {
        Ok(b.mul(number(factor)?, b.op("Cos", &[angle])))
    };
    let first = b.sub(number(terms[0])?, wave(terms[1], turn)?);
    let y = b.add(first, wave(terms[2], b.mul(number(2.0)?, turn))?);
    let dtype = DType::from_onnx(b.int("output_datatype", 1));
    match dtype.ok_or(Skip::Refused("output_datatype is unknown"))? {
        DType::F32 => Ok(y),
        dtype => Ok(b.cast(y, dtype)),
    }
}

/// theta: [N, 2, 3] -> [N, H, W, 2], or [N, 3, 4] -> [N, D, H, W, 3]: positions of pixels times
/// theta.
pub(super) fn affine_grid(b: &Build) -> Formula {
    let (theta, size) = (b.x()?, b.input(1)?);
    let dtype = b.dtype(theta)?;
    let n_axes = match b.sizes(size)?[..] {
        [4] => 2,
        [5] => 3,
        _ => {
            return Err(Skip::Refused(
                "size is neither that of a picture nor of a volume",
            ));
        }
    };
    let join =
        |parts: &[ValueId], axis: i64| b.op_with("Concat", parts, [("axis", Attr::Int(axis))]);
    let spatial = b.op("Slice", &[size, b.ints(&[2]), b.ints(&[n_axes + 2])]);
    let of_pixels = join(&[spatial, b.ints(&[1])], 0);
    let (one, two) = (b.scalar(dtype, 1.0)?, b.scalar(dtype, 2.0)?);
    // The fastest axis comes first: x, y, z, 1.
    let mut columns = Vec::new();
    for axis in (0..n_axes).rev() {
        let count = b.op("Gather", &[size, b.constant(Tensor::scalar(axis + 2))]);
        let idx = b.op("Range", &[b.like(size, 0.0)?, count, b.like(size, 1.0)?]);
        let (idx, count) = (b.cast(idx, dtype), b.cast(count, dtype));
        let from_zero = if b.int("align_corners", 0) != 0 {
            b.div(b.mul(two, idx), b.sub(count, one))
        } else {
            b.div(b.add(b.mul(two, idx), one), count)
        };
        let mut shape = vec![1; n_axes as usize + 1];
        shape[axis as usize] = -1;
        let along = b.reshape(b.sub(from_zero, one), &shape);
        columns.push(b.op("Expand", &[along, of_pixels]));
    }
    columns.push(b.op("Expand", &[one, of_pixels]));
    let positions = b.reshape(join(&columns, -1), &[1, -1, n_axes + 1]);
    let grid = b.op("MatMul", &[positions, b.transpose(theta, &[0, 2, 1])]);
    let batch = b.op("Slice", &[size, b.ints(&[0]), b.ints(&[1])]);
    Ok(b.op(
        "Reshape",
        &[grid, join(&[batch, spatial, b.ints(&[n_axes])], 0)],
    ))
}

/// x: [N, C * P, L] -> [N, C, ..]: a transposed convolution that puts element p of a block of P
/// at its place in the block and adds what overlaps.
pub(super) fn col2im(b: &Build) -> Formula {
    let x = b.x()?;
    let (image, block) = (b.known_ints(b.input(1)?)?, b.known_ints(b.input(2)?)?);
    let n_axes = image.len();
    let attr = |name: &str, default: i64, len: usize| {
        let values = b
            .node
            .attrs
            .ints(name)
            .map_or(vec![default; len], <[i64]>::to_vec);
        let fits = values.len() == len && values.iter().all(|value| (0..1 << 20).contains(value));
        if fits {
            Ok(values)
        } else {
            Err(Skip::Refused("an attribute has the wrong length or size"))
        }
    };
    let (strides, dilations) = (attr("strides", 1, n_axes)?, attr("dilations", 1, n_axes)?);
    let pads = attr("pads", 0, 2 * n_axes)?;
    let &[n, channels, n_blocks] = &b.sizes(x)?[..] else {
        return Err(Skip::Refused("x is not of rank 3"));
    };
    let in_block = bounded(&block)?;
    if block.len() != n_axes || in_block == 0 || channels % in_block != 0 {
        return Err(Skip::Refused("blocks do not divide the channels"));
    }
    let (mut steps, mut output_padding) = (Vec::new(), Vec::new());
    for axis in 0..n_axes {
        let reach = dilations[axis] * (block[axis] - 1) + 1;
        let padded = image[axis].checked_add(pads[axis] + pads[n_axes + axis]);
        let room = padded
            .and_then(|padded| padded.checked_sub(reach))
            .filter(|&room| room >= 0);
        let room = room.ok_or(Skip::Refused("a block is larger than the image"))?;
        if strides[axis] == 0 {
            return Err(Skip::Refused("a stride is zero"));
        }
        steps.push(room / strides[axis] + 1);
        output_padding.push(room % strides[axis]);
    }
    if product(&steps)? != n_blocks {
        return Err(Skip::Refused(
            "the number of blocks is not that of the image",
        ));
    }
    // weight: [C * P, 1, block..], one 1 in each block.
    bounded(&[channels, in_block])?;
    let places = (0..channels * in_block)
        .map(|idx| f32::from(u8::from(idx / in_block % in_block == idx % in_block)));
    let mut weight_shape = vec![channels, 1];
    weight_shape.extend(&block);
    let weight = table(b, &weight_shape, places.collect())?;
    let dtype = b.dtype(x)?;
    let weight = if dtype == DType::F32 {
        weight
    } else {
        b.cast(weight, dtype)
    };
    let mut shape = vec![n, channels];
    shape.extend(steps);
    Ok(b.op_with(
        "ConvTranspose",
        &[b.reshape(x, &shape), weight],
        [
            ("group", Attr::Int(channels / in_block)),
            ("kernel_shape", Attr::Ints(block)),
            ("strides", Attr::Ints(strides)),
            ("dilations", Attr::Ints(dilations)),
            ("pads", Attr::Ints(pads)),
            ("output_padding", Attr::Ints(output_padding)),
        ],
    ))
}

/// `Compress`: a gather of the places where the condition holds.
pub(super) fn compress(b: &Build) -> Formula {
    let (mut x, condition): (ValueId, ValueId) = (b.x()?, b.input(1)?);
    let axis = b.node.attrs.int("axis");
    if axis.is_none() {
        x = b.reshape(x, &[-1]);
    }
    let places = b.op("Squeeze", &[b.op("NonZero", &[condition]), b.ints(&[0])]);
    Ok(b.op_with(
        "Gather",
        &[x, places],
        [("axis", Attr::Int(axis.unwrap_or(0)))],
    ))
}
