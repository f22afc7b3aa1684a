//! Recurrent networks and attention.

use sentinel_inference::tensor::DType;

use super::case::{Case, attr, word};

pub fn recurrent(case: &mut Case) {
    let op = case.pick(&["LSTM", "GRU", "RNN"]);
    let n_gates = match op {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let dtype = case.float_type();
    let (steps, batch, width, hidden) = (case.size(7), case.size(5), case.size(17), case.size(33));
    let direction = case.pick(&["forward", "reverse", "bidirectional"]);
    let n_dirs = if direction == "bidirectional" { 2 } else { 1 };
    let x = case.of(dtype, &[steps, batch, width]);
    let small = |case: &mut Case, sizes: &[usize]| {
        let tensor = case.tensor_of(dtype, sizes, (-16, 16), 64.0);
        case.weight(tensor)
    };
    let w = small(case, &[n_dirs, n_gates * hidden, width]);
    let r = small(case, &[n_dirs, n_gates * hidden, hidden]);
    let bias = small(case, &[n_dirs, 2 * n_gates * hidden]);
    let state = small(case, &[n_dirs, batch, hidden]);
    let cell = small(case, &[n_dirs, batch, hidden]);
    let mut given = vec![attr("hidden_size", hidden), word("direction", direction)];
    if op == "GRU" {
        given.push(attr("linear_before_reset", u8::from(!case.chance(4))));
    }
    let (has_bias, has_state) = (case.chance(3), case.chance(2));
    let apply = |case: &mut Case, x: &str, state: &str, cell: &str| {
        let mut inputs = vec![x, &w, &r, if has_bias { &bias } else { "_" }];
        if has_state {
            inputs.extend(["_", state]);
            if op == "LSTM" {
                inputs.push(cell);
            }
        }
        case.nodes(op, &inputs, &given, if op == "LSTM" { 3 } else { 2 })
    };
    let all = apply(case, &x, &state, &cell);
    all.iter().for_each(|y| case.output(y));
    if batch == 1 || case.chance(2) {
        return;
    }
    // One part of the sequences after the other.
    let first = case.between(1, batch as i64 - 1);
    let lengths = case.ints(&[first, batch as i64 - first]);
    let split = [attr("axis", 1)];
    let [x, state, cell] =
        [&x, &state, &cell].map(|all| case.nodes("Split", &[all, &lengths], &split, 2));
    let parts: Vec<String> = (0..2)
        .map(|idx| apply(case, &x[idx], &state[idx], &cell[idx])[0].clone())
        .collect();
    let again = case.node("Concat", &[&parts[0], &parts[1]], &[attr("axis", 2)]);
    case.same(&all[0], &again);
}

pub fn attention(case: &mut Case) {
    let dtype = case.float_type();
    let (n, heads) = (case.pick(&[1, 2]), case.pick(&[1, 2, 3, 8]));
    let (length, keys) = (case.size(33), case.size(33));
    let (depth, v_depth) = (case.pick(&[1, 3, 4, 8, 16]), case.pick(&[4, 5, 8]));
    let share = if heads > 1 && case.chance(3) {
        heads
    } else {
        1
    };
    let q = case.of(dtype, &[n, heads, length, depth]);
    let k = case.of(dtype, &[n, heads / share, keys, depth]);
    if case.chance(3) {
        // As models write it out.
        let k = case.of(dtype, &[n, heads, keys, depth]);
        let v = case.of(dtype, &[n, heads, keys, v_depth]);
        let turned = case.node("Transpose", &[&k], &["perm = [0, 1, 3, 2]".to_owned()]);
        let scores = case.node("MatMul", &[&q, &turned], &[]);
        let scale = case.constant(super::case::tensor_from(dtype, &[], &[0.25]));
        let op = case.pick(&["Mul", "Div"]);
        let mut scores = case.node(op, &[&scores, &scale], &[]);
        if case.chance(2) {
            let sizes = case.pick(&[
                vec![length, keys],
                vec![n, 1, 1, keys],
                vec![n, 1, length, keys],
            ]);
            let mask = case.of(dtype, &sizes);
            scores = case.node("Add", &[&scores, &mask], &[]);
        }
        let shares = case.node("Softmax", &[&scores], &[attr("axis", -1)]);
        let mut y = case.node("MatMul", &[&shares, &v], &[]);
        if case.chance(2) {
            y = case.node("Transpose", &[&y], &["perm = [0, 2, 1, 3]".to_owned()]);
        }
        return case.output(&y);
    }
    let v = case.of(dtype, &[n, heads / share, keys, v_depth]);
    let mut inputs = vec![q, k, v];
    match case.random.below(3) {
        0 => {}
        1 => {
            let sizes = case.pick(&[
                vec![length, keys],
                vec![n, 1, length, keys],
                vec![n, heads, length, keys],
            ]);
            inputs.push(case.of(dtype, &sizes));
        }
        _ => {
            let mut mask = case.tensor(DType::Bool, &[length, keys]);
            if case.chance(2) {
                mask = super::case::tensor_from(
                    DType::Bool,
                    &[length, keys],
                    &vec![1.0; length * keys],
                );
            }
            inputs.push(case.value(mask));
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let given = [attr("is_causal", u8::from(case.chance(3)))];
    case.whole("Attention", &inputs, &given);
}

/// Heads in rows of [batch, length, heads * size], by either name of the operator.
pub fn heads(case: &mut Case) {
    let dtype = case.float_type();
    let (n, heads) = (case.pick(&[1, 2]), case.pick(&[1, 2, 3, 8]));
    let (length, keys) = (case.size(33), case.size(33));
    let (depth, v_depth) = (case.pick(&[1, 3, 4, 8, 16]), case.pick(&[4, 5, 8]));
    let q = case.of(dtype, &[n, length, heads * depth]);
    let k = case.of(dtype, &[n, keys, heads * depth]);
    let v = case.of(dtype, &[n, keys, heads * v_depth]);
    let is_causal = case.chance(3) && length == keys;
    let own = [
        attr("num_heads", heads),
        attr("unidirectional", u8::from(is_causal)),
    ];
    let y = case.node("com.microsoft::MultiHeadAttention", &[&q, &k, &v], &own);
    let given = [
        attr("q_num_heads", heads),
        attr("kv_num_heads", heads),
        attr("is_causal", u8::from(is_causal)),
    ];
    let again = case.node("Attention", &[&q, &k, &v], &given);
    case.same(&y, &again);
}
