//! What each element becomes on its own: functions, comparisons, types, quantisation.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, numbers_of, tensor_from};

/// Functions with the eighths that they are defined for.
const FLOATS: &[(&str, i64, i64)] = &[
    ("Abs", -80, 80),
    ("Acos", -8, 8),
    ("Acosh", 8, 80),
    ("Asin", -8, 8),
    ("Asinh", -80, 80),
    ("Atan", -80, 80),
    ("Atanh", -7, 7),
    ("Ceil", -80, 80),
    ("Celu", -80, 80),
    ("Cos", -800, 800),
    ("Cosh", -40, 40),
    ("Elu", -80, 80),
    ("Erf", -40, 40),
    ("Exp", -40, 40),
    ("Floor", -80, 80),
    ("Gelu", -80, 80),
    ("HardSigmoid", -80, 80),
    ("HardSwish", -80, 80),
    ("Identity", -80, 80),
    ("LeakyRelu", -80, 80),
    ("Log", 1, 800),
    ("Mish", -800, 800),
    ("Neg", -80, 80),
    ("Reciprocal", 1, 80),
    ("Relu", -80, 80),
    ("Round", -80, 80),
    ("Selu", -80, 80),
    ("Shrink", -80, 80),
    ("Sigmoid", -1600, 1600),
    ("Sign", -8, 8),
    ("Sin", -800, 800),
    ("Sinh", -40, 40),
    ("Softplus", -1600, 1600),
    ("Softsign", -80, 80),
    ("Sqrt", 0, 800),
    ("Swish", -1600, 1600),
    ("Tan", -11, 11),
    ("Tanh", -160, 160),
    ("ThresholdedRelu", -80, 80),
    ("IsNaN", -8, 8),
    ("IsInf", -8, 8),
];

fn sizes(case: &mut Case) -> Vec<usize> {
    let rank = case.pick(&[0, 1, 1, 2, 2, 3, 4, 5]);
    case.sizes_or_none(rank, 3000)
}

/// One to four functions in a row, the last ones of whatever comes.
pub fn unary(case: &mut Case) {
    let sizes = sizes(case);
    if case.chance(4) {
        let (op, dtype) = case.pick(&[
            ("Abs", DType::I32),
            ("Abs", DType::I64),
            ("Abs", DType::I8),
            ("Neg", DType::I32),
            ("Neg", DType::I64),
            ("Neg", DType::I8),
            ("Sign", DType::I32),
            ("Sign", DType::I8),
            ("Relu", DType::I32),
            ("Relu", DType::I8),
            ("Not", DType::Bool),
            ("BitwiseNot", DType::I32),
            ("BitwiseNot", DType::U8),
            ("BitwiseNot", DType::I8),
            ("Identity", DType::Bool),
            ("Identity", DType::U8),
        ]);
        let x = case.of(dtype, &sizes);
        return case.whole(op, &[&x], &[]);
    }
    let dtype = case.float_type();
    let (op, low, high) = case.pick(FLOATS);
    let unit = if op == "Round" { 2.0 } else { 8.0 };
    let x = case.tensor_of(dtype, &sizes, (low, high), unit);
    let x = case.input(x);
    let mut y = case.node(op, &[&x], &[]);
    if !op.starts_with("Is") {
        for _ in 0..case.pick(&[0, 0, 1, 2]) {
            let next = case.pick(&["Abs", "Neg", "Sigmoid", "Tanh", "Relu", "Erf", "Softsign"]);
            y = case.node(next, &[&y], &[]);
        }
    }
    case.output(&y);
}

/// Sizes that broadcast to each other, and to what.
fn broadcast(case: &mut Case, n: usize) -> Vec<Vec<usize>> {
    let rank = case.pick(&[0, 1, 1, 2, 2, 3, 4, 5]);
    let full = case.sizes_or_none(rank, 3000);
    (0..n)
        .map(|_| match case.random.below(4) {
            0 => full.clone(),
            1 => vec![1; case.random.below(rank + 1)],
            _ => {
                let mut part: Vec<usize> = full
                    .iter()
                    .map(|&size| if case.chance(3) { 1 } else { size })
                    .collect();
                part.drain(
                    ..if case.chance(2) {
                        case.random.below(rank + 1)
                    } else {
                        0
                    },
                );
                part
            }
        })
        .collect()
}

pub fn binary(case: &mut Case) {
    use DType::{Bool, F16, F32, I8, I32, I64, U8};
    let (ops, types): (&[&str], &[DType]) = case.pick(&[
        (
            &["Add", "Sub", "Mul"][..],
            &[F32, F16, I32, I64, I8, U8][..],
        ),
        (&["Div", "Mod"], &[I32, I64, I8, U8]),
        (&["Div", "Pow"], &[F32, F16]),
        (&["Max", "Min", "Sum", "Mean"], &[F32, F16]),
        (&["Max", "Min"], &[I32, I64, I8, U8]),
        (
            &["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"],
            &[F32, F16, I32, I64],
        ),
        (&["Equal"], &[Bool, U8, I8]),
        (&["And", "Or", "Xor"], &[Bool]),
        (&["BitwiseAnd", "BitwiseOr", "BitwiseXor"], &[I32, U8, I8]),
        (&["PRelu"], &[F32, F16]),
    ]);
    let (op, dtype) = (case.pick(ops), case.pick(types));
    let n = if matches!(op, "Max" | "Min" | "Sum" | "Mean") {
        case.pick(&[1, 2, 3, 9])
    } else {
        2
    };
    let mut sizes = broadcast(case, n);
    if op == "PRelu" {
        // The slope broadcasts to x and not the other way round.
        let x = sizes[1].clone();
        sizes[0] = [&[2; 5][..5 - x.len().min(5)], &x].concat();
    }
    let mut inputs = Vec::new();
    for (idx, sizes) in sizes.iter().enumerate() {
        let tensor = match (op, idx) {
            ("Div" | "Mod", 1) => {
                let mut divisors = case.tensor_of(dtype, sizes, (1, 7), 1.0);
                if dtype != U8 && case.chance(2) {
                    let negative: Vec<f64> = numbers_of(&divisors).iter().map(|n| -n).collect();
                    divisors = tensor_from(dtype, sizes, &negative);
                }
                divisors
            }
            ("Pow", 0) => case.tensor_of(dtype, sizes, (1, 24), 8.0),
            ("Pow", 1) => case.tensor_of(dtype, sizes, (-3, 3), case_unit(dtype)),
            _ => case.tensor(dtype, sizes),
        };
        inputs.push(case.value(tensor));
    }
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let given = if op == "Mod" {
        vec![attr("fmod", u8::from(case.chance(2)))]
    } else {
        Vec::new()
    };
    let mut y = case.node(op, &names, &given);
    if matches!(dtype, I8 | U8)
        && matches!(op, "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Max" | "Min")
    {
        let wide: Vec<String> = names
            .iter()
            .map(|x| case.node("Cast", &[x], &[attr("to", I32.onnx())]))
            .collect();
        let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
        let wide = case.node(op, &wide, &given);
        // One cast may saturate where the other wraps around: to the low byte in whole numbers.
        let byte = case.constant(tensor_from(I32, &[], &[255.0]));
        let low = case.node("BitwiseAnd", &[&wide, &byte], &[]);
        let again = case.node("Cast", &[&y], &[attr("to", I32.onnx())]);
        let again = case.node("BitwiseAnd", &[&again, &byte], &[]);
        case.same(&low, &again);
        return;
    }
    let is_real = dtype.is_float() && matches!(op, "Add" | "Sub" | "Mul" | "Max" | "Min" | "Div");
    if is_real {
        for _ in 0..case.pick(&[0, 0, 1, 3]) {
            y = match case.random.below(3) {
                0 => case.node("Tanh", &[&y], &[]),
                1 => {
                    let other = case.pick(&inputs);
                    case.node("Add", &[&y, &other], &[])
                }
                _ => {
                    let op = case.pick(&["Mul", "Sub", "Max"]);
                    let other = case.pick(&inputs);
                    case.node(op, &[&other, &y], &[])
                }
            };
        }
    }
    case.output(&y);
}

fn case_unit(dtype: DType) -> f64 {
    if dtype.is_float() { 1.0 } else { 8.0 }
}

pub fn choose(case: &mut Case) {
    let dtype = case.any_type();
    if case.chance(2) {
        let sizes = broadcast(case, 3);
        let condition = case.of(DType::Bool, &sizes[0]);
        let (a, b) = (case.of(dtype, &sizes[1]), case.of(dtype, &sizes[2]));
        return case.whole("Where", &[&condition, &a, &b], &[]);
    }
    let dtype = if dtype == DType::Bool {
        DType::I32
    } else {
        dtype
    };
    let sizes = sizes(case);
    let x = case.of(dtype, &sizes);
    let (low, high) = (
        tensor_from(dtype, &[], &[1.0]),
        tensor_from(dtype, &[], &[3.0]),
    );
    let (low, high) = (case.weight(low), case.weight(high));
    let inputs = case.pick(&[
        vec![&*x, &low, &high],
        vec![&*x, &low],
        vec![&*x, "_", &high],
        vec![&*x],
    ]);
    case.whole("Clip", &inputs, &[]);
}

pub fn cast(case: &mut Case) {
    let (from, to) = (case.any_type(), case.any_type());
    let sizes = sizes(case);
    let x = if from.is_float() {
        // What the other type has; fractions are cut off.
        let (low, high) = if to == DType::U8 {
            (0, 800)
        } else {
            (-800, 800)
        };
        case.tensor_of(from, &sizes, (low, high), 8.0)
    } else {
        case.tensor(from, &sizes)
    };
    let x = case.input(x);
    let y = case.node("Cast", &[&x], &[attr("to", to.onnx())]);
    case.output(&y);
    if case.chance(3) {
        let z = case.node("Cast", &[&y], &[attr("to", from.onnx())]);
        case.output(&z);
    }
}

pub fn quantize(case: &mut Case) {
    let real_type = case.pick(&[DType::F32, DType::F32, DType::F16]);
    let byte_type = case.pick(&[DType::U8, DType::I8]);
    let rank = case.pick(&[1, 2, 3, 4]);
    let sizes = case.sizes_or_none(rank, 2000);
    if case.chance(5) {
        // A range of 255 / 16 has a scale without rounding, and the elements no ties.
        let mut x = numbers_of(&case.tensor_of(DType::F32, &sizes, (-100, 155), 16.0));
        for (at, end) in x.iter_mut().zip([-100.0, 155.0]) {
            *at = end / 16.0;
        }
        let x = case.value(tensor_from(DType::F32, &sizes, &x));
        let y = case.nodes("DynamicQuantizeLinear", &[&x], &[], 3);
        y.iter().for_each(|y| case.output(y));
        return;
    }
    let axis = case.random.below(rank);
    let kind = case.pick(&["all", "axis", "blocks"]);
    let block = case.pick(&[1, 2, 3, 16]);
    let scale_sizes = match kind {
        "all" => vec![],
        "axis" => vec![sizes[axis]],
        _ => {
            let mut sizes = sizes.clone();
            sizes[axis] = sizes[axis].div_ceil(block);
            sizes
        }
    };
    let mut given = vec![attr("axis", case.either(axis, rank))];
    if kind == "blocks" {
        given.push(attr("block_size", block));
    }
    let n: usize = scale_sizes.iter().product();
    let scales: Vec<f64> = (0..n).map(|_| case.pick(&[0.125, 0.5, 0.0625])).collect();
    let scale = case.weight(tensor_from(real_type, &scale_sizes, &scales));
    let zero_type = if byte_type == DType::U8 {
        (0, 255)
    } else {
        (-128, 127)
    };
    let zero = case.tensor_of(byte_type, &scale_sizes, zero_type, 1.0);
    let zero = case.weight(zero);
    let has_zero = case.chance(2);
    let x = case.tensor_of(real_type, &sizes, (-200, 200), 16.0);
    let is_back = case.chance(2);
    if is_back {
        let x = case.tensor_of(byte_type, &sizes, zero_type, 1.0);
        let x = case.value(x);
        let inputs = [&*x, &scale, &zero];
        return case.whole(
            "DequantizeLinear",
            &inputs[..if has_zero { 3 } else { 2 }],
            &given,
        );
    }
    let x = case.input(x);
    let inputs = [&*x, &scale, &zero];
    let y = case.node(
        "QuantizeLinear",
        &inputs[..if has_zero { 3 } else { 2 }],
        &given,
    );
    case.output(&y);
    if has_zero {
        let z = case.node("DequantizeLinear", &[&y, &scale, &zero], &given);
        case.output(&z);
    }
}
