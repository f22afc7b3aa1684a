//! Convolutions and pools, and what fuses with convolutions.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, list, tensor_from};
use super::loops::{self, Window};

/// Windows that have a place on each axis.
fn windows(case: &mut Case, rank: usize, most: usize) -> Vec<Window> {
    let sizes = case.sizes(rank, most);
    let is_pointwise = case.chance(4);
    let is_plain = case.chance(4);
    let axis = |(idx, size): (usize, usize)| {
        let kernel = match is_pointwise {
            true => 1,
            false => case.pick(&[1, 2, 3, 3, 5, if idx == 0 { 7 } else { 4 }]),
        };
        let mut axis = Window {
            size,
            kernel,
            stride: case.pick(&[1, 1, 1, 2, 2, 3, 4]),
            dilation: case.pick(&[1, 1, 1, 2, 3]),
            before: case.pick(&[0, 0, 1, 1, 2, 3]),
            after: case.pick(&[0, 0, 1, 1, 2, 3]),
        };
        if is_plain {
            (axis.stride, axis.dilation) = (1, 1);
            (axis.before, axis.after) = ((kernel - 1) / 2, kernel / 2);
        }
        if axis.size + axis.before + axis.after < axis.reach() {
            axis.size = axis.reach();
        }
        axis
    };
    sizes.into_iter().enumerate().map(axis).collect()
}

pub fn attrs(axes: &[Window]) -> Vec<String> {
    let of = |each: fn(&Window) -> usize| axes.iter().map(each).collect::<Vec<_>>();
    let pads = [of(|axis| axis.before), of(|axis| axis.after)].concat();
    vec![
        list("kernel_shape", &of(|axis| axis.kernel)),
        list("strides", &of(|axis| axis.stride)),
        list("dilations", &of(|axis| axis.dilation)),
        list("pads", &pads),
    ]
}

fn rank(case: &mut Case) -> usize {
    case.pick(&[1, 2, 2, 2, 2, 2, 3])
}

pub fn conv(case: &mut Case) {
    let rank = rank(case);
    let dtype = case.float_type();
    let axes = windows(case, rank, if rank == 3 { 120 } else { 1200 });
    let n_taps: usize = axes.iter().map(|axis| axis.kernel).product();
    let n_places: usize = axes.iter().map(Window::n_places).product();
    let groups = case.pick(&[1, 1, 1, 1, 2, 3, 4, 8, 33]);
    let c = if groups > 4 {
        case.pick(&[1, 1, 2])
    } else {
        case.size(70)
    };
    let most = (400_000 / (n_taps * n_places * c * groups).max(1)).max(1);
    let features = case.size(most.min(if groups > 4 { 3 } else { 130 }));
    let n = case.pick(&[1, 1, 2, 3]);
    let sizes = |n, channels, each: fn(&Window) -> usize| {
        [n, channels]
            .into_iter()
            .chain(axes.iter().map(each))
            .collect::<Vec<usize>>()
    };
    let m = groups * features;
    let x = case.tensor(dtype, &sizes(n, groups * c, |axis| axis.size));
    let w = case.tensor(dtype, &sizes(m, c, |axis| axis.kernel));
    let bias = (!case.chance(3)).then(|| case.tensor(dtype, &[m]));
    let y_sizes = sizes(n, m, Window::n_places);
    let mut given = attrs(&axes);
    given.push(attr("group", groups));
    let is_alone = rank == 3 || case.chance(3);
    if rank == 3 {
        let wanted = loops::conv(&x, &w, bias.as_ref(), &axes);
        case.wanted = Some(tensor_from(dtype, &y_sizes, &wanted));
    }
    let (x, w) = (case.value(x), case.weight(w));
    let bias = bias.map(|bias| case.weight(bias));
    let inputs: Vec<&str> = [&x, &w]
        .into_iter()
        .chain(&bias)
        .map(String::as_str)
        .collect();
    let mut y = case.node("Conv", &inputs, &given);
    if !is_alone {
        y = followed(case, y, dtype, &y_sizes);
    }
    case.output(&y);
    let can_split =
        case.wanted.is_none() && n == 2 && is_alone && axes.iter().all(|a| a.stride == 1);
    if can_split {
        let halves: Vec<String> = (0..2)
            .map(|half| {
                let (from, to, axis) =
                    (case.ints(&[half]), case.ints(&[half + 1]), case.ints(&[0]));
                let x = case.node("Slice", &[&x, &from, &to, &axis], &[]);
                let inputs: Vec<&str> = [&x, &w]
                    .into_iter()
                    .chain(&bias)
                    .map(String::as_str)
                    .collect();
                case.node("Conv", &inputs, &given)
            })
            .collect();
        case.whole("Concat", &[&halves[0], &halves[1]], &[attr("axis", 0)]);
        case.is_pair = true;
    }
}

/// What usually stands behind a convolution.
fn followed(case: &mut Case, mut y: String, dtype: DType, sizes: &[usize]) -> String {
    let m = sizes[1];
    // What is folded into the weights is rounded there and not behind the sum.
    case.is_rough = dtype == DType::F16;
    if case.chance(2) {
        let vectors: Vec<String> = (0..3).map(|_| case.weight_of(dtype, &[m])).collect();
        let variance = case.tensor_of(dtype, &[m], (1, 16), 4.0);
        let variance = case.weight(variance);
        let inputs = [&*y, &vectors[0], &vectors[1], &vectors[2], &variance];
        y = case.node("BatchNormalization", &inputs, &[]);
    }
    for _ in 0..case.pick(&[0, 1, 1, 2]) {
        y = match case.random.below(7) {
            0 => case.node("Relu", &[&y], &[]),
            1 => {
                let residual = case.of(dtype, sizes);
                case.node("Add", &[&residual, &y], &[])
            }
            2 => {
                let mut channel = vec![1; sizes.len()];
                channel[1] = m;
                let scale = case.weight_of(dtype, &channel);
                let op = case.pick(&["Mul", "Add", "Sub"]);
                case.node(op, &[&y, &scale], &[])
            }
            3 => case.node("HardSwish", &[&y], &[]),
            4 => {
                let share = case.node("Sigmoid", &[&y], &[]);
                case.node("Mul", &[&y, &share], &[])
            }
            5 => {
                let low = tensor_from(dtype, &[], &[0.0]);
                let high = tensor_from(dtype, &[], &[6.0]);
                let (low, high) = (case.constant(low), case.constant(high));
                case.node("Clip", &[&y, &low, &high], &[])
            }
            _ => case.node("LeakyRelu", &[&y], &[attr("alpha", 0.25)]),
        };
    }
    y
}

pub fn conv_transpose(case: &mut Case) {
    let rank = rank(case);
    let dtype = case.float_type();
    // The windows of the convolution whose transpose it is: x has its places, y its sizes.
    let axes = windows(case, rank, if rank == 3 { 100 } else { 500 });
    let groups = case.pick(&[1, 1, 1, 2, 3]);
    let n = case.pick(&[1, 1, 2]);
    let (c, m) = (case.size(20), case.size(13));
    let shape = |first, second, each: fn(&Window) -> usize| {
        [first, second]
            .into_iter()
            .chain(axes.iter().map(each))
            .collect::<Vec<usize>>()
    };
    let x = case.tensor(dtype, &shape(n, groups * c, Window::n_places));
    let w = case.tensor(dtype, &shape(groups * c, m, |axis| axis.kernel));
    let bias = (!case.chance(3)).then(|| case.tensor(dtype, &[groups * m]));
    let wanted = loops::conv_transpose(&x, &w, bias.as_ref(), groups, &axes);
    let sizes = shape(n, groups * m, |axis| axis.size);
    case.wanted = Some(tensor_from(dtype, &sizes, &wanted));
    // What the strides skip at the end of the convolution's input.
    let padding: Vec<usize> = axes
        .iter()
        .map(|axis| (axis.size + axis.before + axis.after - axis.reach()) % axis.stride)
        .collect();
    let mut given = attrs(&axes);
    given.extend([attr("group", groups), list("output_padding", &padding)]);
    let (x, w) = (case.value(x), case.weight(w));
    let bias = bias.map(|bias| case.weight(bias));
    let inputs: Vec<&str> = [&x, &w]
        .into_iter()
        .chain(&bias)
        .map(String::as_str)
        .collect();
    case.whole("ConvTranspose", &inputs, &given);
}

pub fn pool(case: &mut Case) {
    let rank = rank(case);
    let kind = case.pick(&["MaxPool", "AveragePool", "AveragePool", "LpPool", "Global"]);
    let dtype = match kind {
        "MaxPool" => case.pick(&[DType::F32, DType::F16, DType::I8, DType::U8]),
        _ => case.float_type(),
    };
    let mut axes = windows(case, rank, 400);
    let (n, c) = (case.pick(&[1, 1, 2]), case.size(9));
    let sizes: Vec<usize> = [n, c]
        .into_iter()
        .chain(axes.iter().map(|axis| axis.size))
        .collect();
    if kind == "Global" {
        let op = case.pick(&["GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"]);
        let x = case.of(dtype, &sizes);
        return case.whole(op, &[&x], &[]);
    }
    for axis in &mut axes {
        // A window that sees nothing but padding has no maximum.
        axis.before = axis.before.min(axis.kernel - 1) * usize::from(axis.dilation == 1);
        axis.after = axis.after.min(axis.kernel - 1) * usize::from(axis.dilation == 1);
        if axis.reach() > axis.size + axis.before + axis.after {
            axis.dilation = 1;
            axis.kernel = 1;
            (axis.before, axis.after) = (0, 0);
        }
    }
    let is_ceil = case.chance(3);
    let n_places: Vec<usize> = axes
        .iter()
        .map(|axis| {
            let span = axis.size + axis.before + axis.after - axis.reach();
            let n = if is_ceil {
                span.div_ceil(axis.stride)
            } else {
                span / axis.stride
            } + 1;
            // No window begins behind the elements.
            if (n - 1) * axis.stride >= axis.size + axis.before {
                n - 1
            } else {
                n
            }
        })
        .collect();
    let x = case.tensor(dtype, &sizes);
    let counts_pads = kind == "AveragePool" && case.chance(2);
    let wanted = loops::pool(
        &x,
        &axes,
        &n_places,
        counts_pads,
        |elements, count| match kind {
            "MaxPool" => elements.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "AveragePool" => elements.iter().sum::<f64>() / count as f64,
            _ => elements.iter().map(|x| x * x).sum::<f64>().sqrt(),
        },
    );
    let y_sizes: Vec<usize> = [n, c].into_iter().chain(n_places).collect();
    case.wanted = Some(tensor_from(dtype, &y_sizes, &wanted));
    let mut given = attrs(&axes);
    given.push(attr("ceil_mode", u8::from(is_ceil)));
    if kind == "AveragePool" {
        given.push(attr("count_include_pad", u8::from(counts_pads)));
    }
    let x = case.value(x);
    let has_indices = kind == "MaxPool" && case.chance(3);
    let y = case.nodes(kind, &[&x], &given, if has_indices { 2 } else { 1 });
    case.output(&y[0]);
}
