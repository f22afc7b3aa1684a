//! Graphs made to fool the proof: rows that depend on each other, or on how many there are, in ways
//! that are easy to overlook.

use sentinel_inference::graph::text::parse;

use super::joined::rebatched;

/// Graphs whose rows must stay apart, and what the reason names.
const MIXING: &[(&str, &str)] = &[
    // The number of the row picks within each row.
    (
        "input x: f32[n, 5, 6]\n const two: i64[1] = [2]\n m = ReduceMax(x, two) {keepdims = 0}\n a = ArgMax(m) {axis = 1}\n v = Shape(x) {end = 1}\n s = Squeeze(v)\n const o: i64[] = [0]\n const i: i64[] = [1]\n r = Range(o, s, i)\n const one: i64[1] = [1]\n u = Unsqueeze(r, one)\n j = Concat(u, a) {axis = 1}\n y = GatherND(x, j) {batch_dims = 1}\n output y",
        "depends on the number of the row",
    ),
    // With one row no axis of them was left.
    (
        "input x: f32[1, 3, 4]\n y = Squeeze(x)\n z = Softmax(y) {axis = 1}\n output z",
        "Squeeze: it names no axes",
    ),
    (
        "input x: f32[n]\n input low: f32[n]\n y = Clip(x, low)\n output y",
        "Clip: input 1 differs from row to row",
    ),
    (
        "input a: u8[n]\n input s: f32[n]\n const z: u8[] = [3]\n const t: f32[] = [0.5]\n y = com.microsoft::QLinearAdd(a, s, z, a, t, z, t, z)\n output y",
        "QLinearAdd: input 1 differs from row to row",
    ),
    // A list that nothing tells must say how many elements there are.
    (
        "input x: f32[n, 1]\n input s: i64[1]\n y = Reshape(x, s)\n output y",
        "Reshape: its shape is unknown",
    ),
    (
        "input x: f32[n, 4]\n input k: bool[]\n y = If(k) then_branch {\n const a: i64[1] = [0]\n m = ReduceMean(x, a)\n z = Sub(x, m)\n output z\n} else_branch {\n z = Neg(x)\n output z\n}\n output y",
        "ReduceMean",
    ),
    (
        "input x: f32[n, 4]\n v = Shape(x) {end = 1}\n const one: i64[1] = [1]\n k = Equal(v, one)\n y = If(k) then_branch {\n z = Abs(x)\n output z\n} else_branch {\n z = Neg(x)\n output z\n}\n output y",
        "Equal: input 0 is computed from the number of rows",
    ),
    (
        "input x: f32[n, 4]\n v = Shape(x) {end = 1}\n b = Cast(v) {to = 9}\n f = Cast(b) {to = 7}\n const d: i64[1] = [4]\n s = Concat(f, d) {axis = 0}\n y = Reshape(x, s)\n output y",
        "Cast: input 0 is computed from the number of rows",
    ),
    (
        "input x: f32[n, 4]\n v = Shape(x) {end = 1}\n const two: i64[1] = [2]\n h = Div(v, two)\n const z: i64[1] = [0]\n y = Slice(x, z, h, z)\n output y",
        "Slice: it takes some of the rows",
    ),
    (
        "input x: f32[n, 4]\n const s: i64[1] = [-1]\n const e: i64[1] = [-9223372036854775807]\n const a: i64[1] = [0]\n const t: i64[1] = [-1]\n y = Slice(x, s, e, a, t)\n output y",
        "Slice: it takes some of the rows",
    ),
    (
        "input x: f32[n, 4]\n const p: i64[4] = [0, 0, 1, 0]\n y = Pad(x, p)\n output y",
        "Pad: it pads axis 0",
    ),
    (
        "input x: f32[n, 4]\n const p: i64[2] = [2, -1]\n const a: i64[1] = [-2]\n y = Pad(x, p, _, a)\n output y",
        "Pad: it pads axis 0",
    ),
    (
        "input x: f32[n, 4]\n const w: f32[4, 2] = [1, 2, 3, 4, 5, 6, 7, 8]\n t = Transpose(x) {perm = [1, 0]}\n y = Gemm(x, t)\n output y",
        "every row meets every row",
    ),
    (
        "input x: f32[n, 4]\n input w: f32[3, 2]\n y = Gemm(x, w) {transA = 1}\n output y",
        "it sums over the rows",
    ),
    (
        "input x: f32[n, 4]\n y = Einsum(x, x) {equation = \"ni,mi->nm\"}\n output y",
        "Einsum",
    ),
    (
        "input x: f32[n, 4]\n y = Einsum(x, x) {equation = \"ni,nj->ij\"}\n output y",
        "Einsum",
    ),
    (
        "input x: f32[n, 4]\n const c: f32[3, 1] = [1, 2, 3]\n y = Add(x, c)\n output y",
        "input 1 is no input of rows and has 3 values",
    ),
    (
        "opset 23\n input q: f32[n, 2, 3, 4]\n input k: f32[n, 2, 3, 4]\n input v: f32[n, 2, 3, 4]\n input m: f32[n, 1, 3]\n y = Attention(q, k, v, m)\n output y",
        "Attention",
    ),
    (
        "opset 23\n input q: f32[n, 2, 3, 4]\n input k: f32[2, 2, 3, 4]\n input v: f32[2, 2, 3, 4]\n y = Attention(q, k, v)\n output y",
        "Attention: input 1 has not as many rows as the queries",
    ),
    (
        "opset com.microsoft 1\n input x: f32[n, 4, 6]\n input w: f32[6, 18]\n input b: f32[18]\n input m: i32[n]\n y = com.microsoft::Attention(x, w, b, m) {num_heads = 2}\n output y",
        "Attention: no rule for its input 3",
    ),
    (
        "opset com.microsoft 1\n input x: f32[n, 6]\n input s: f32[2, 6]\n const g: f32[6] = [1, 2, 3, 4, 5, 6]\n y = com.microsoft::SkipLayerNormalization(x, s, g)\n output y",
        "SkipLayerNormalization: input 1 is no input of rows",
    ),
    (
        "opset com.microsoft 1\n input x: f32[n, 3, 6]\n input s: f32[n, 1, 6]\n const g: f32[6] = [1, 2, 3, 4, 5, 6]\n y = com.microsoft::SkipLayerNormalization(x, s, g)\n output y",
        "SkipLayerNormalization: ",
    ),
    (
        "input x: i8[n, 4]\n input s: f32[1, 1]\n y = DequantizeLinear(x, s) {axis = 1, block_size = 4}\n output y",
        "DequantizeLinear: input 1 is in blocks",
    ),
    (
        "input x: f32[n, 4]\n const i: i64[2, 4] = [0, 1, 0, 1, 1, 0, 1, 0]\n y = GatherElements(x, i) {axis = 1}\n output y",
        "GatherElements: input 1 carries no rows",
    ),
    (
        "input x: f32[n, 4]\n input i: i64[n, 4]\n y = GatherElements(x, i)\n output y",
        "GatherElements: it works along axis 0",
    ),
    (
        "input x: f32[n, 4]\n input i: i64[n, 2]\n const u: f32[1, 2] = [1, 2]\n y = ScatterElements(x, i, u) {axis = 1}\n output y",
        "ScatterElements: input 2 carries no rows",
    ),
    (
        "input x: f32[n, 4]\n input i: i64[n, 4]\n input u: f32[n, 4]\n y = ScatterElements(x, i, u) {axis = -2}\n output y",
        "ScatterElements: it works along axis 0",
    ),
    (
        "input a: u8[n, 4]\n input s: f32[n]\n input z: u8[n]\n input b: u8[4, 2]\n const t: f32[] = [0.5]\n const o: u8[] = [3]\n y = QLinearMatMul(a, s, z, b, t, o, t, o)\n output y",
        "QLinearMatMul: input 1 differs from row to row",
    ),
    (
        "input a: u8[n, 4, 2]\n input b: u8[n, 2, 3]\n const t: f32[] = [0.5]\n const s: f32[3] = [0.5, 1, 2]\n const o: u8[] = [3]\n y = QLinearMatMul(a, t, o, b, s, o, t, o)\n output y",
        "QLinearMatMul: input 4 is more than one number",
    ),
    (
        "input x: f32[n, 3, 2]\n input w: f32[1, 8, 2]\n input r: f32[1, 8, 2]\n y = LSTM(x, w, r) {hidden_size = 2}\n output y",
        "LSTM: axis 0 of its input is no batch",
    ),
    (
        "input x: f32[1, n, 2]\n input l: i32[n]\n input w: f32[1, 8, 2]\n input r: f32[1, 8, 2]\n input h: f32[n, 1, 2]\n y = LSTM(x, w, r, _, l, h) {hidden_size = 2}\n output y",
        "LSTM: input 5 has not as many rows as the sequences",
    ),
];

#[test]
fn no_disguise_makes_rows_that_mix_joinable() {
    let mut failed = Vec::new();
    for (text, reason) in MIXING {
        let graph = parse(text).expect(text);
        match rebatched(graph, 0) {
            Err(error) => failed.push(format!("{text}: {error}")),
            Ok((_, rows)) => match rows.joinable {
                Ok(()) => failed.push(format!("{text}: joinable")),
                Err(why) if why.contains(reason) => {}
                Err(why) => failed.push(format!("{text}: {why}")),
            },
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A part of no elements is the same for all rows, however many the model was made for.
#[test]
fn a_constant_without_elements_beside_a_fixed_batch_is_no_obstacle() {
    let text =
        "input x: f32[2, 3]\n const c: f32[2, 0] = []\n y = Concat(x, c) {axis = 1}\n output y";
    rebatched(parse(text).expect("a graph"), 0).expect("a right graph");
}
