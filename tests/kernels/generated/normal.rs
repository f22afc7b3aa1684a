//! Reductions and normalisations.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, real, tensor_from};

pub fn reduce(case: &mut Case) {
    let op = case.pick(&[
        "ReduceSum",
        "ReduceSum",
        "ReduceMean",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ]);
    let dtype = match op {
        "ReduceSum" | "ReduceSumSquare" | "ReduceL1" => {
            case.pick(&[DType::F32, DType::F32, DType::F16, DType::I32, DType::I64])
        }
        "ReduceMax" | "ReduceMin" => case.pick(&[
            DType::F32,
            DType::F16,
            DType::I32,
            DType::I64,
            DType::I8,
            DType::U8,
        ]),
        _ => case.float_type(),
    };
    let rank = case.pick(&[0, 1, 2, 2, 3, 3, 4, 5]);
    let mut sizes = case.sizes(rank, 6000);
    if rank > 0 && matches!(op, "ReduceSum" | "ReduceSumSquare" | "ReduceL1") && case.chance(20) {
        sizes[0] = 0;
    }
    let x = match op {
        "ReduceLogSum" => case.tensor_of(dtype, &sizes, (1, 16), 8.0),
        "ReduceProd" => case.tensor_of(dtype, &sizes, (7, 9), 8.0),
        _ => case.tensor(dtype, &sizes),
    };
    if op == "ReduceProd" && sizes.iter().product::<usize>() > 100 {
        return reduce(case);
    }
    let x = case.input(x);
    let mut order = case.permutation(rank);
    order.truncate(case.random.below(rank + 1));
    let axes: Vec<i64> = order
        .into_iter()
        .map(|axis| case.either(axis, rank))
        .collect();
    let mut given = vec![attr("keepdims", u8::from(case.chance(2)))];
    if axes.is_empty() {
        given.push(attr("noop_with_empty_axes", u8::from(case.chance(2))));
        return case.whole(op, &[&x], &given);
    }
    let axes = case.ints(&axes);
    case.whole(op, &[&x, &axes], &given);
}

pub fn along_axis(case: &mut Case) {
    let rank = case.pick(&[1, 2, 2, 3, 4]);
    let sizes = case.sizes(rank, 4000);
    let axis = case.random.below(rank);
    let axis_attr = attr("axis", case.either(axis, rank));
    match case.random.below(6) {
        0 | 1 => {
            let dtype = case.float_type();
            let x = case.of(dtype, &sizes);
            let op = case.pick(&["Softmax", "Softmax", "LogSoftmax", "Hardmax"]);
            case.whole(op, &[&x], &[axis_attr]);
        }
        2 => {
            let dtype = case.pick(&[DType::F32, DType::F16, DType::I32, DType::I8, DType::U8]);
            let x = case.of(dtype, &sizes);
            let op = case.pick(&["ArgMax", "ArgMin"]);
            let given = [
                axis_attr,
                attr("keepdims", u8::from(case.chance(2))),
                attr("select_last_index", u8::from(case.chance(2))),
            ];
            case.whole(op, &[&x], &given);
        }
        3 => {
            let dtype = case.pick(&[DType::F32, DType::F16, DType::I32, DType::I64]);
            let x = case.of(dtype, &sizes);
            let k = 1 + case.random.below(sizes[axis]);
            let k = case.ints(&[k as i64]);
            let given = [
                axis_attr,
                attr("largest", u8::from(case.chance(2))),
                attr("sorted", 1),
            ];
            for y in case.nodes("TopK", &[&x, &k], &given, 2) {
                case.output(&y);
            }
        }
        4 => {
            let dtype = case.pick(&[DType::F32, DType::F16, DType::I32, DType::I64]);
            let x = case.of(dtype, &sizes);
            let axis = case.either(axis, rank);
            let axis = case.constant(tensor_from(DType::I64, &[], &[axis as f64]));
            let given = [
                attr("exclusive", u8::from(case.chance(2))),
                attr("reverse", u8::from(case.chance(2))),
            ];
            case.whole("CumSum", &[&x, &axis], &given);
        }
        _ => {
            let dtype = case.float_type();
            let x = case.of(dtype, &sizes);
            let given = [axis_attr, attr("p", case.pick(&[1, 2]))];
            case.whole("LpNormalization", &[&x], &given);
        }
    }
}

pub fn norm(case: &mut Case) {
    let dtype = case.float_type();
    let epsilon = real("epsilon", 0.001);
    match case.random.below(7) {
        0 | 1 => {
            let rank = case.pick(&[1, 2, 3, 4]);
            let sizes = case.sizes(rank, 4000);
            let axis = case.random.below(rank);
            let given = [attr("axis", case.either(axis, rank)), epsilon];
            let x = case.of(dtype, &sizes);
            let scale = case.weight_of(dtype, &sizes[axis..]);
            if case.chance(3) {
                return case.whole("RMSNormalization", &[&x, &scale], &given);
            }
            let bias = case.weight_of(dtype, &sizes[axis..]);
            let inputs = [&*x, &scale, &bias];
            let n = case.pick(&[2, 3]);
            case.whole("LayerNormalization", &inputs[..n], &given);
        }
        2 | 3 => {
            let rank = case.pick(&[2, 3, 4, 5]);
            let mut sizes = case.sizes(rank, 4000);
            sizes[0] = case.pick(&[1, 2, 3]);
            let vectors: Vec<String> = (0..3)
                .map(|_| case.weight_of(dtype, &sizes[1..2]))
                .collect();
            let x = case.of(dtype, &sizes);
            if rank > 2 && case.chance(2) {
                return case.whole(
                    "InstanceNormalization",
                    &[&x, &vectors[0], &vectors[1]],
                    &[epsilon],
                );
            }
            let variance = case.tensor_of(dtype, &sizes[1..2], (1, 16), 4.0);
            let variance = case.weight(variance);
            let inputs = [&*x, &vectors[0], &vectors[1], &vectors[2], &variance];
            case.whole("BatchNormalization", &inputs, &[epsilon]);
        }
        4 => {
            let rank = case.pick(&[3, 4]);
            let mut sizes = case.sizes(rank, 2000);
            let groups = case.pick(&[1, 2, 3, 5]);
            sizes[0] = case.pick(&[1, 2]);
            sizes[1] = groups * case.pick(&[1, 2, 3, 7]);
            let x = case.of(dtype, &sizes);
            let (scale, bias) = (
                case.weight_of(dtype, &sizes[1..2]),
                case.weight_of(dtype, &sizes[1..2]),
            );
            let given = [attr("num_groups", groups), epsilon];
            case.whole("GroupNormalization", &[&x, &scale, &bias], &given);
        }
        5 => {
            let rank = case.pick(&[3, 4]);
            let sizes = case.sizes(rank, 2000);
            let x = case.of(dtype, &sizes);
            let size = case.pick(&[1, 2, 3, 5, 9]);
            let given = [
                attr("size", size),
                real("alpha", 0.5),
                real("beta", 0.75),
                real("bias", 1.0),
            ];
            case.whole("LRN", &[&x], &given);
        }
        _ => {
            let sizes = case.sizes(3, 4000);
            let (x, skip) = (case.of(dtype, &sizes), case.of(dtype, &sizes));
            let vectors: Vec<String> = (0..3).map(|_| case.weight_of(dtype, &sizes[2..])).collect();
            let inputs = [&*x, &skip, &vectors[0], &vectors[1], &vectors[2]];
            let n = case.pick(&[3, 4, 5]);
            case.whole(
                "com.microsoft::SkipLayerNormalization",
                &inputs[..n],
                &[epsilon],
            );
        }
    }
}
