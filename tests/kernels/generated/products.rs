//! Products of matrices, and what fuses with them.

use sentinel_inference::tensor::{DType, Tensor};

use super::case::{Case, attr, numbers_of, real, tensor_from, word};
use super::loops::{self, Window};

fn activation(case: &mut Case, y: &str) -> String {
    let op = case.pick(&["Relu", "Gelu", "Tanh", "Sigmoid", "Swish"]);
    case.node(op, &[y], &[])
}

/// Sizes of a batch for two factors, broadcast to each other.
fn batches(case: &mut Case) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let rank = case.pick(&[0, 0, 1, 1, 2, 3]);
    let both: Vec<usize> = (0..rank).map(|_| case.pick(&[1, 2, 3])).collect();
    let part = |case: &mut Case| {
        let mut sizes: Vec<usize> = both
            .iter()
            .map(|&size| if case.chance(4) { 1 } else { size })
            .collect();
        if case.chance(4) {
            sizes.drain(..case.random.below(rank + 1));
        }
        sizes
    };
    let (a, b) = (part(case), part(case));
    let longest = a.len().max(b.len());
    let size = |sizes: &[usize], axis: usize| {
        let missing = longest - sizes.len();
        axis.checked_sub(missing).map_or(1, |axis| sizes[axis])
    };
    let y = (0..longest)
        .map(|axis| size(&a, axis).max(size(&b, axis)))
        .collect();
    (a, b, y)
}

fn mnk(case: &mut Case) -> [usize; 3] {
    loop {
        let sizes = [case.size(260), case.size(260), case.size(260)];
        if sizes.iter().product::<usize>() < 300_000 {
            return sizes;
        }
    }
}

pub fn matmul(case: &mut Case) {
    let dtype = case.float_type();
    let [m, n, k] = mnk(case);
    let (a, b, batch) = batches(case);
    if m * n * k * batch.iter().product::<usize>() > 500_000 {
        return matmul(case);
    }
    let factor = |case: &mut Case, batch: &[usize], rows: usize, cols: usize, is_weight: bool| {
        let turns = case.chance(3);
        let (first, last) = if turns { (cols, rows) } else { (rows, cols) };
        let sizes = [batch, &[first, last]].concat();
        let tensor = case.tensor(dtype, &sizes);
        let value = if is_weight {
            case.weight(tensor)
        } else {
            case.value(tensor)
        };
        if !turns {
            return value;
        }
        let rank = sizes.len();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        case.node("Transpose", &[&value], &[super::case::list("perm", &perm)])
    };
    if case.chance(12) {
        // A vector on one side.
        let on_left = case.chance(2);
        let other = if on_left { &b } else { &a };
        let matrix = factor(
            case,
            other,
            if on_left { k } else { m },
            if on_left { n } else { k },
            false,
        );
        let vector = case.of(dtype, &[k]);
        let inputs = if on_left {
            [&*vector, &matrix]
        } else {
            [&*matrix, &vector]
        };
        return case.whole("MatMul", &inputs, &[]);
    }
    let is_weight = b.is_empty() && case.chance(2);
    let left = factor(case, &a, m, k, false);
    let right = factor(case, &b, k, n, is_weight);
    let mut y = case.node("MatMul", &[&left, &right], &[]);
    let y_sizes = [&*batch, &[m, n]].concat();
    if case.chance(3) {
        let scale = case.constant(tensor_from(dtype, &[], &[0.25]));
        let op = case.pick(&["Mul", "Div"]);
        y = case.node(op, &[&y, &scale], &[]);
    }
    if case.chance(2) {
        let bias_sizes = case.pick(&[vec![n], vec![1, n], vec![m, 1], vec![1], vec![m, n]]);
        let bias = case.weight_of(dtype, &bias_sizes);
        y = case.node("Add", &[&bias, &y], &[]);
    }
    if case.chance(3) {
        let residual = case.of(dtype, &y_sizes);
        y = case.node("Add", &[&y, &residual], &[]);
    }
    if case.chance(2) {
        y = activation(case, &y);
    }
    if case.chance(6) {
        let shape = case.ints(&[-1]);
        y = case.node("Reshape", &[&y, &shape], &[]);
        y = case.node("Neg", &[&y], &[]);
    }
    case.output(&y);
}

pub fn gemm(case: &mut Case) {
    let dtype = case.float_type();
    let [m, n, k] = mnk(case);
    let (turn_a, turn_b) = (case.chance(2), case.chance(2));
    let a = case.of(dtype, &if turn_a { [k, m] } else { [m, k] });
    let b = case.weight_of(dtype, &if turn_b { [n, k] } else { [k, n] });
    let mut inputs = vec![a, b];
    if !case.chance(4) {
        let sizes = case.pick(&[
            vec![],
            vec![1],
            vec![n],
            vec![1, n],
            vec![m, 1],
            vec![m, n],
            vec![1, 1],
        ]);
        inputs.push(case.weight_of(dtype, &sizes));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let given = [
        attr("transA", u8::from(turn_a)),
        attr("transB", u8::from(turn_b)),
        real("alpha", case.pick(&[1.0, 1.0, 0.5, -0.25])),
        real("beta", case.pick(&[1.0, 1.0, 0.5, 0.0])),
    ];
    let mut y = case.node("Gemm", &inputs, &given);
    if case.chance(2) {
        y = activation(case, &y);
    }
    case.output(&y);
}

fn bytes(case: &mut Case) -> DType {
    case.pick(&[DType::I8, DType::U8])
}

fn extreme(case: &mut Case, dtype: DType, sizes: &[usize]) -> Tensor {
    let (low, high) = if dtype == DType::I8 {
        (-128, 127)
    } else {
        (0, 255)
    };
    case.tensor_of(dtype, sizes, (low, high), 1.0)
}

/// From x, w and their zero points, of which w's may be one for each feature.
fn conv_integer(inputs: &[Tensor], axes: &[Window]) -> Tensor {
    let [x, w] = [0, 1].map(|idx: usize| {
        let mut numbers = numbers_of(&inputs[idx]);
        let sizes = inputs[idx].sizes();
        let per_feature: usize = sizes[1..].iter().product();
        if let Some(zero) = inputs.get(idx + 2).map(numbers_of) {
            for (at, number) in numbers.iter_mut().enumerate() {
                *number -= zero[at / per_feature % zero.len()];
            }
        }
        tensor_from(DType::F32, sizes, &numbers)
    });
    let y_sizes = [x.sizes()[0], w.sizes()[0]].into_iter();
    let y_sizes: Vec<usize> = y_sizes.chain(axes.iter().map(Window::n_places)).collect();
    tensor_from(DType::I32, &y_sizes, &loops::conv(&x, &w, None, axes))
}

/// From matrices and their zero points, of which b's may be one for each column.
fn matmul_integer(inputs: &[Tensor]) -> Tensor {
    let [a, b] = [0, 1].map(|idx: usize| numbers_of(&inputs[idx]));
    let [a_zero, b_zero] = [2, 3].map(|idx: usize| inputs.get(idx).map_or(vec![0.0], numbers_of));
    let (k, n) = (inputs[1].sizes()[0], inputs[1].sizes()[1]);
    let (batch, _) = inputs[0].sizes().split_at(inputs[0].sizes().len() - 1);
    let mut y = Vec::new();
    for (row_idx, row) in a.chunks(k).enumerate() {
        let row_zero = a_zero[row_idx % a_zero.len()];
        for col in 0..n {
            let zero = b_zero[col % b_zero.len()];
            let terms = (0..k).map(|idx| (row[idx] - row_zero) * (b[idx * n + col] - zero));
            y.push(terms.sum());
        }
    }
    tensor_from(DType::I32, &[batch, &[n]].concat(), &y)
}

/// Products and convolutions of bytes, with zero points and scales.
pub fn integers(case: &mut Case) {
    let (x_type, w_type) = (bytes(case), bytes(case));
    let [m, n, k] = mnk(case).map(|size| size.min(70));
    let is_conv = case.chance(2);
    let is_real = case.chance(2);
    let groups = if is_conv { case.pick(&[1, 1, 2, 4]) } else { 1 };
    let kernel = case.pick(&[1, 2, 3]);
    let (c, features) = (k.min(9), n.min(11));
    let (x_sizes, w_sizes, n_channels) = if is_conv {
        let (h, w) = (kernel + case.size(9), kernel + case.size(17));
        (
            vec![case.pick(&[1, 2]), groups * c, h, w],
            vec![groups * features, c, kernel, kernel],
            groups * features,
        )
    } else {
        let batch = case.pick(&[vec![], vec![], vec![2], vec![2, 3]]);
        ([&*batch, &[m, k]].concat(), vec![k, n], n)
    };
    let x = extreme(case, x_type, &x_sizes);
    let w = extreme(case, w_type, &w_sizes);
    let per_row = !is_conv && !is_real && x_sizes.len() == 2 && case.chance(3);
    let x_zero = extreme(case, x_type, &if per_row { vec![m] } else { vec![] });
    let per_channel = case.chance(3);
    let w_zero = extreme(
        case,
        w_type,
        &if per_channel {
            vec![n_channels]
        } else {
            vec![]
        },
    );
    let tensors = [x.clone(), w.clone(), x_zero.clone(), w_zero.clone()];
    let (x, w) = (case.value(x), case.weight(w));
    let (x_zero, w_zero) = (case.weight(x_zero), case.weight(w_zero));
    let mut given = Vec::new();
    let mut axes = Vec::new();
    if is_conv {
        for &size in &x_sizes[2..] {
            axes.push(Window {
                size,
                kernel,
                stride: case.pick(&[1, 1, 2]),
                dilation: 1,
                before: case.random.below(kernel),
                after: case.random.below(kernel),
            });
        }
        given = super::windows::attrs(&axes);
        given.push(attr("group", groups));
    }
    if !is_real {
        let op = if is_conv {
            "ConvInteger"
        } else {
            "MatMulInteger"
        };
        let inputs = [&*x, &w, &x_zero, &w_zero];
        let n_inputs = case.pick(&[2, 3, 4, 4]);
        case.wanted = Some(if is_conv {
            conv_integer(&tensors[..n_inputs], &axes)
        } else {
            matmul_integer(&tensors[..n_inputs])
        });
        return case.whole(op, &inputs[..n_inputs], &given);
    }
    let y_type = x_type;
    let scale = |case: &mut Case, sizes: &[usize]| {
        let n: usize = sizes.iter().product();
        let numbers: Vec<f64> = (0..n).map(|_| case.pick(&[0.5, 0.25, 0.0625])).collect();
        case.weight(tensor_from(DType::F32, sizes, &numbers))
    };
    let x_scale = scale(case, &[]);
    let w_scale = scale(
        case,
        &if per_channel {
            vec![n_channels]
        } else {
            vec![]
        },
    );
    let y_scale = case.weight(tensor_from(DType::F32, &[], &[64.0]));
    let y_zero = extreme(case, y_type, &[]);
    let y_zero = case.weight(y_zero);
    let mut inputs = vec![
        &*x, &x_scale, &x_zero, &w, &w_scale, &w_zero, &y_scale, &y_zero,
    ];
    let bias = (is_conv && case.chance(2)).then(|| {
        let bias = case.tensor_of(DType::I32, &[n_channels], (-5000, 5000), 1.0);
        case.weight(bias)
    });
    inputs.extend(bias.as_deref());
    case.whole(
        if is_conv {
            "QLinearConv"
        } else {
            "QLinearMatMul"
        },
        &inputs,
        &given,
    );
}

pub fn einsum(case: &mut Case) {
    let dtype = case.float_type();
    let n_letters = case.pick(&[2, 3, 3, 4, 5]);
    let letters: Vec<char> = "abcde"[..n_letters].chars().collect();
    let sizes: Vec<usize> = letters.iter().map(|_| case.size(9)).collect();
    let term = |case: &mut Case| {
        let order = case.permutation(n_letters);
        let n = 1 + case.random.below(n_letters.min(4));
        let picked = order[..n].to_vec();
        let name: String = picked.iter().map(|&idx| letters[idx]).collect();
        let shape: Vec<usize> = picked.iter().map(|&idx| sizes[idx]).collect();
        (name, shape)
    };
    let n_terms = case.pick(&[1, 2, 2, 2]);
    let terms: Vec<(String, Vec<usize>)> = (0..n_terms).map(|_| term(case)).collect();
    let seen: Vec<char> = {
        let all = letters.iter().copied();
        all.filter(|&letter| terms.iter().any(|(name, _)| name.contains(letter)))
            .collect()
    };
    let order = case.permutation(seen.len());
    let kept = case.random.below(seen.len() + 1);
    let result: String = order[..kept].iter().map(|&idx| seen[idx]).collect();
    let names: Vec<&str> = terms.iter().map(|(name, _)| name.as_str()).collect();
    let equation = format!("{}->{result}", names.join(","));
    let inputs: Vec<String> = terms
        .iter()
        .map(|(_, shape)| case.of(dtype, shape))
        .collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    case.whole("Einsum", &inputs, &[word("equation", &equation)]);
}

/// A product with weights of a few bits.
pub fn bits(case: &mut Case) {
    let dtype = case.float_type();
    let [m, n, k] = mnk(case);
    let (n_bits, size) = (case.pick(&[4, 4, 8]), case.pick(&[16, 32, 64]));
    let n_blocks = k.div_ceil(size);
    let a = case.of(dtype, &[m, k]);
    let b = extreme(case, DType::U8, &[n, n_blocks, size * n_bits / 8]);
    let scales = case.tensor_of(dtype, &[n, n_blocks], (1, 8), 64.0);
    let zeros = extreme(case, DType::U8, &[n, (n_blocks * n_bits).div_ceil(8)]);
    let (b, scales, zeros) = (
        case.constant(b),
        case.constant(scales),
        case.constant(zeros),
    );
    let given = [
        attr("K", k),
        attr("N", n),
        attr("bits", n_bits),
        attr("block_size", size),
    ];
    let inputs = [&*a, &b, &scales, &zeros];
    let n_inputs = case.pick(&[3, 4]);
    case.is_rough = true;
    case.whole("com.microsoft::MatMulNBits", &inputs[..n_inputs], &given);
}

/// Sums and products of bytes with scales.
pub fn byte_sums(case: &mut Case) {
    let dtype = bytes(case);
    let rank = case.pick(&[1, 2, 3, 4]);
    let sizes = case.sizes(rank, 2000);
    let other: Vec<usize> = sizes
        .iter()
        .map(|&size| if case.chance(4) { 1 } else { size })
        .collect();
    let mut inputs = Vec::new();
    for sizes in [&*sizes, &*other] {
        let x = extreme(case, dtype, sizes);
        let zero = extreme(case, dtype, &[]);
        let scale = tensor_from(DType::F32, &[], &[case.pick(&[0.5, 0.125])]);
        inputs.extend([case.value(x), case.weight(scale), case.weight(zero)]);
    }
    let zero = extreme(case, dtype, &[]);
    let scale = tensor_from(DType::F32, &[], &[case.pick(&[1.0, 16.0])]);
    inputs.extend([case.weight(scale), case.weight(zero)]);
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let op = case.pick(&["com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"]);
    case.whole(op, &inputs, &[]);
}
