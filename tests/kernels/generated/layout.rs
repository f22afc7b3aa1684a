//! What puts elements elsewhere, alone and in a row, in types that share words and others.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, list, tensor_from, word};

/// Several of them in a row, and something that computes at the end.
pub fn sandwich(case: &mut Case) {
    let dtype = case.any_type();
    let rank = case.pick(&[1, 2, 3, 3, 4, 4, 5]);
    let mut sizes = case.sizes_or_none(rank, 3000);
    let mut y = case.of(dtype, &sizes);
    for _ in 0..case.pick(&[1, 1, 2, 3, 4]) {
        (y, sizes) = moved(case, y, sizes, dtype);
        if sizes.len() > 6 || sizes.iter().product::<usize>() > 20_000 {
            break;
        }
    }
    if dtype.is_float() && case.chance(2) {
        let op = case.pick(&["Neg", "Relu", "Tanh"]);
        y = case.node(op, &[&y], &[]);
        if case.chance(2) {
            (y, _) = moved(case, y, sizes, dtype);
        }
    }
    case.output(&y);
}

fn moved(case: &mut Case, x: String, mut sizes: Vec<usize>, dtype: DType) -> (String, Vec<usize>) {
    let rank = sizes.len();
    let axis = if rank == 0 {
        0
    } else {
        case.random.below(rank)
    };
    let y = match case.random.below(if rank == 0 { 2 } else { 14 }) {
        0 => {
            let n: usize = sizes.iter().product();
            let mut shape = Vec::new();
            let mut left = n;
            while left > 1 && shape.len() < 4 {
                let factor = (2..=left)
                    .find(|factor| left.is_multiple_of(*factor))
                    .unwrap_or(1);
                let factor = if case.chance(3) { left } else { factor };
                shape.push(factor);
                left /= factor;
            }
            shape.push(left);
            let order = case.permutation(shape.len());
            sizes = order.iter().map(|&idx| shape[idx]).collect();
            let mut given: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            if n > 0 && case.chance(2) {
                given[0] = -1;
            }
            let shape = case.ints(&given);
            case.node("Reshape", &[&x, &shape], &[])
        }
        1 => {
            let at = case.random.below(rank + 1);
            sizes.insert(at, 1);
            let axes = case.ints(&[at as i64]);
            case.node("Unsqueeze", &[&x, &axes], &[])
        }
        2 | 3 => {
            let perm = case.permutation(rank);
            sizes = perm.iter().map(|&axis| sizes[axis]).collect();
            case.node("Transpose", &[&x], &[list("perm", &perm)])
        }
        4 | 5 => {
            let n = 1 + case.random.below(rank);
            let axes = case.permutation(rank)[..n].to_vec();
            let (mut starts, mut ends, mut steps) = (Vec::new(), Vec::new(), Vec::new());
            for &axis in &axes {
                let size = sizes[axis] as i64;
                let step = case.pick(&[1_i64, 1, 1, 2, 3, -1, -1, -2, 100]);
                let (mut low, mut high) = (case.between(0, size), case.between(0, size));
                if low > high {
                    (low, high) = (high, low);
                }
                if case.chance(4) {
                    (low, high) = (0, size);
                }
                let n = (high - low).max(0);
                let n = (n + step.abs() - 1) / step.abs();
                sizes[axis] = n as usize;
                let (start, end) = if step > 0 {
                    (
                        low,
                        if high == size && case.chance(2) {
                            i64::MAX
                        } else {
                            high
                        },
                    )
                } else {
                    // Down to low from high - 1; one before the beginning has a number of its own.
                    (high - 1, if low == 0 { i64::MIN } else { low - 1 })
                };
                // An empty run from the end must not begin before the beginning.
                let start = if start < 0 { i64::MIN } else { start };
                starts.push(start);
                ends.push(end);
                steps.push(step);
            }
            let axes: Vec<i64> = axes
                .into_iter()
                .map(|axis| case.either(axis, rank))
                .collect();
            let lists = [
                case.ints(&starts),
                case.ints(&ends),
                case.ints(&axes),
                case.ints(&steps),
            ];
            case.node(
                "Slice",
                &[&x, &lists[0], &lists[1], &lists[2], &lists[3]],
                &[],
            )
        }
        6 => {
            let n = case.pick(&[1, 2, 2, 3, 9]);
            let mut parts = vec![x];
            let mut total = sizes[axis];
            for _ in 1..n {
                let mut part = sizes.clone();
                part[axis] = case.pick(&[0, 1, 2, 3, 4, 8]);
                total += part[axis];
                parts.push(case.of(dtype, &part));
            }
            sizes[axis] = total;
            let order = case.permutation(n);
            let inputs: Vec<&str> = order.iter().map(|&idx| parts[idx].as_str()).collect();
            let axis = case.either(axis, rank);
            case.node("Concat", &inputs, &[attr("axis", axis)])
        }
        7 => {
            let n = case.pick(&[2, 2, 3]);
            let mut parts = vec![0; n];
            for _ in 0..sizes[axis] {
                let part = case.random.below(n);
                parts[part] += 1;
            }
            let lengths: Vec<i64> = parts.iter().map(|&n| n as i64).collect();
            let lengths = case.ints(&lengths);
            let given = [attr("axis", case.either(axis, rank))];
            let pieces = case.nodes("Split", &[&x, &lengths], &given, n);
            let picked = case.random.below(n);
            sizes[axis] = parts[picked];
            let other = case.random.below(n);
            case.output(&pieces[other]);
            pieces[picked].clone()
        }
        8 | 9 => padded(case, &x, &mut sizes, dtype),
        10 => {
            let mut target = sizes.clone();
            for size in &mut target {
                if *size == 1 {
                    *size = case.pick(&[1, 2, 3, 5]);
                }
            }
            if rank < 5 && case.chance(3) {
                target.insert(0, case.pick(&[1, 2]));
            }
            // A 1 leaves the size as it is.
            let given = target.iter().map(|&size| size as i64).collect::<Vec<i64>>();
            sizes = target;
            let shape = case.ints(&given);
            case.node("Expand", &[&x, &shape], &[])
        }
        11 => {
            let repeats: Vec<i64> = (0..rank).map(|_| case.pick(&[1, 1, 1, 2, 3])).collect();
            for (size, &times) in sizes.iter_mut().zip(&repeats) {
                *size *= times as usize;
            }
            let repeats = case.ints(&repeats);
            case.node("Tile", &[&x, &repeats], &[])
        }
        12 => {
            let flat = case.random.below(rank + 1);
            let parts = [&sizes[..flat], &sizes[flat..]].map(|part| part.iter().product());
            sizes = parts.to_vec();
            case.node("Flatten", &[&x], &[attr("axis", flat)])
        }
        _ if rank >= 2 => {
            let k = case.between(-3, 3);
            let k = case.constant(tensor_from(DType::I64, &[], &[k as f64]));
            let upper = u8::from(case.chance(2));
            case.node("Trilu", &[&x, &k], &[attr("upper", upper)])
        }
        _ => x,
    };
    (y, sizes)
}

fn padded(case: &mut Case, x: &str, sizes: &mut [usize], dtype: DType) -> String {
    let mode = case.pick(&["constant", "constant", "reflect", "edge", "wrap"]);
    let rank = sizes.len();
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for axis in 0..rank {
        let size = sizes[axis] as i64;
        if size == 0 || case.chance(2) {
            continue;
        }
        let most = match mode {
            "reflect" => (size - 1).min(3),
            "wrap" => size.min(3),
            _ => 3,
        };
        before[axis] = case.between(0, most);
        after[axis] = case.between(0, most);
        if mode == "constant" && case.chance(5) {
            before[axis] = -case.between(0, size - 1);
        }
        sizes[axis] = (size + before[axis] + after[axis]) as usize;
    }
    let pads = case.ints(&[before, after].concat());
    let fill = tensor_from(dtype, &[], &[1.0]);
    let fill = case.weight(fill);
    let inputs = [x, &pads, &fill];
    let n = if mode == "constant" && case.chance(2) {
        3
    } else {
        2
    };
    case.node("Pad", &inputs[..n], &[word("mode", mode)])
}

/// Indices from both ends of an axis.
fn picks(case: &mut Case, sizes: &[usize], size: usize) -> String {
    let dtype = case.pick(&[DType::I64, DType::I64, DType::I32]);
    let numbers = case.tensor_of(dtype, sizes, (-(size as i64), size as i64 - 1), 1.0);
    case.value(numbers)
}

pub fn gather(case: &mut Case) {
    let dtype = case.any_type();
    let rank = case.pick(&[1, 2, 3, 4]);
    let sizes = case.sizes(rank, 2000);
    let axis = case.random.below(rank);
    let x = case.of(dtype, &sizes);
    let given = [attr("axis", case.either(axis, rank))];
    match case.random.below(7) {
        0 | 1 => {
            let n_axes = case.pick(&[0, 1, 1, 2]);
            let shape = case.sizes_or_none(n_axes, 40);
            let picks = picks(case, &shape, sizes[axis]);
            case.whole("Gather", &[&x, &picks], &given);
        }
        2 => {
            let mut shape: Vec<usize> = sizes
                .iter()
                .map(|&size| 1 + case.random.below(size))
                .collect();
            shape[axis] = case.size(20);
            let picks = picks(case, &shape, sizes[axis]);
            case.whole("GatherElements", &[&x, &picks], &given);
        }
        3 => {
            let batch_dims = case.random.below(rank);
            let depth = 1 + case.random.below(rank - batch_dims);
            let n = case.size(20);
            let shape = [&sizes[..batch_dims], &[n, depth]].concat();
            let n_picks: usize = shape[..batch_dims + 1].iter().product();
            let mut numbers = Vec::new();
            for _ in 0..n_picks {
                for &size in &sizes[batch_dims..batch_dims + depth] {
                    numbers.push(case.between(-(size as i64), size as i64 - 1) as f64);
                }
            }
            let picks = case.value(tensor_from(DType::I64, &shape, &numbers));
            case.whole("GatherND", &[&x, &picks], &[attr("batch_dims", batch_dims)]);
        }
        4 if rank >= 2 => {
            let order = case.permutation(2);
            let (batch, time) = (order[0], order[1]);
            let lens = case.tensor_of(DType::I64, &[sizes[batch]], (1, sizes[time] as i64), 1.0);
            let lens = case.value(lens);
            let given = [attr("batch_axis", batch), attr("time_axis", time)];
            case.whole("ReverseSequence", &[&x, &lens], &given);
        }
        5 => {
            let shape = case.sizes(rank, 200);
            let depth = case.size(17);
            let hot = case.tensor_of(DType::I64, &shape, (-(depth as i64), depth as i64 - 1), 1.0);
            let hot = case.value(hot);
            let depth = case.constant(tensor_from(DType::I64, &[], &[depth as f64]));
            let values = case.of(dtype, &[2]);
            let axis = case.random.below(rank + 1);
            let given = [attr("axis", case.either(axis, rank + 1))];
            case.whole("OneHot", &[&hot, &depth, &values], &given);
        }
        _ => {
            let block = case.pick(&[1, 2, 3]);
            let [n, c, h, w] = [
                case.pick(&[1, 2]),
                case.size(9),
                case.size(9),
                case.size(17),
            ];
            let given = attr("blocksize", block);
            if case.chance(2) {
                let x = case.of(dtype, &[n, c, h * block, w * block]);
                return case.whole("SpaceToDepth", &[&x], &[given]);
            }
            let x = case.of(dtype, &[n, c * block * block, h, w]);
            let mode = case.pick(&["DCR", "CRD"]);
            case.whole("DepthToSpace", &[&x], &[given, word("mode", mode)]);
        }
    }
}

/// Targets occur once, or what they get does not depend on the order.
pub fn scatter(case: &mut Case) {
    let dtype = case.any_type();
    let reduction = match dtype {
        DType::Bool | DType::U8 | DType::I8 => "none",
        _ => case.pick(&["none", "none", "add", "mul", "max", "min"]),
    };
    let rank = case.pick(&[1, 2, 3, 4]);
    let sizes = case.sizes(rank, 1500);
    let x = case.of(dtype, &sizes);
    let repeats = reduction != "none";
    if case.chance(2) {
        let axis = case.random.below(rank);
        let mut shape = sizes.clone();
        if !case.chance(3) {
            for size in &mut shape {
                *size = 1 + case.random.below(*size);
            }
        }
        if repeats && reduction != "mul" {
            shape[axis] = case.size(9);
        }
        let (n, n_steps) = (shape.iter().product::<usize>(), shape[axis]);
        let stride: usize = shape[axis + 1..].iter().product();
        let mut numbers = vec![0.0; n];
        for line in 0..n / n_steps {
            let order = case.permutation(sizes[axis]);
            let first = line / stride * stride * n_steps + line % stride;
            for step in 0..n_steps {
                let place = if repeats && reduction != "mul" {
                    case.random.below(sizes[axis])
                } else {
                    order[step]
                };
                numbers[first + step * stride] = case.either(place, sizes[axis]) as f64;
            }
        }
        let picks = case.value(tensor_from(DType::I64, &shape, &numbers));
        let updates = case.of(dtype, &shape);
        let given = [
            attr("axis", case.either(axis, rank)),
            word("reduction", reduction),
        ];
        return case.whole("ScatterElements", &[&x, &picks, &updates], &given);
    }
    let depth = 1 + case.random.below(rank);
    let n_targets: usize = sizes[..depth].iter().product();
    let order = case.permutation(n_targets);
    let n = 1 + case.random.below(n_targets);
    let mut numbers = Vec::new();
    for &target in &order[..n] {
        let mut target = if repeats && reduction != "mul" {
            case.random.below(n_targets)
        } else {
            target
        };
        let mut place = vec![0; depth];
        for axis in (0..depth).rev() {
            place[axis] = target % sizes[axis];
            target /= sizes[axis];
        }
        for axis in 0..depth {
            numbers.push(case.either(place[axis], sizes[axis]) as f64);
        }
    }
    let picks = case.value(tensor_from(DType::I64, &[n, depth], &numbers));
    let updates = case.of(dtype, &[&[n], &sizes[depth..]].concat());
    case.whole(
        "ScatterND",
        &[&x, &picks, &updates],
        &[word("reduction", reduction)],
    );
}
