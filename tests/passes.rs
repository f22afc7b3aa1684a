//! Rewrites: text in, text out for the rules, and the ONNX suite's own values for what they
//! compute.

mod rewrites;

use sentinel_inference::error::Error;
use sentinel_inference::graph::{Graph, NodeId, infer};
use sentinel_inference::passes;

use rewrites::{check, expressions, graph};

#[test]
fn attributes_become_inputs() {
    check(
        passes::normalize,
        &[
            (
                "opset 11\n input x: f32[1, 2]\n y = Squeeze(x) {axes = [0]}\n output y",
                "input x: f32[1, 2]\n const a: i64[1] = [0]\n y = Squeeze(x, a)\n output y",
            ),
            (
                "opset 12\n input x: f32[2]\n y = Unsqueeze(x) {axes = [0, -1]}\n output y",
                "input x: f32[2]\n const a: i64[2] = [0, -1]\n y = Unsqueeze(x, a)\n output y",
            ),
            (
                "opset 17\n input x: f32[2, 3]\n y = ReduceMean(x) {axes = [1], keepdims = 0}\n output y",
                "input x: f32[2, 3]\n const a: i64[1] = [1]\n y = ReduceMean(x, a) {keepdims = 0}\n output y",
            ),
            (
                "opset 17\n input x: f32[2, 3]\n const a: i64[1] = [1]\n y = ReduceSum(x, a)\n output y",
                "input x: f32[2, 3]\n const a: i64[1] = [1]\n y = ReduceSum(x, a)\n output y",
            ),
            (
                "opset 10\n input x: f32[2]\n y = Clip(x) {max = 6.0}\n output y",
                "input x: f32[2]\n const m: f32[] = [6.0]\n y = Clip(x, _, m)\n output y",
            ),
            (
                "opset 2\n input x: f16[2]\n y = Pad(x) {pads = [1, 0], value = 2.0}\n output y",
                "input x: f16[2]\n const p: i64[2] = [1, 0]\n const v: f16[] = [2.0]\n y = Pad(x, p, v)\n output y",
            ),
            (
                "opset 1\n input x: f32[2]\n y = Pad(x) {paddings = [1, 0], mode = \"edge\"}\n output y",
                "input x: f32[2]\n const p: i64[2] = [1, 0]\n y = Pad(x, p) {mode = \"edge\"}\n output y",
            ),
            (
                "opset 9\n input x: f32[4, 5]\n y = Slice(x) {axes = [1], starts = [1], ends = [3]}\n output y",
                "input x: f32[4, 5]\n const s: i64[1] = [1]\n const e: i64[1] = [3]\n const a: i64[1] = [1]\n y = Slice(x, s, e, a)\n output y",
            ),
            (
                "opset 12\n input x: f32[4]\n y, z = Split(x) {split = [1, 3], axis = 0}\n output y\n output z",
                "input x: f32[4]\n const s: i64[2] = [1, 3]\n y, z = Split(x, s) {axis = 0}\n output y\n output z",
            ),
            (
                "opset 13\n input x: f32[4]\n y, z = Split(x)\n output y\n output z",
                "input x: f32[4]\n y, z = Split(x) {num_outputs = 2}\n output y\n output z",
            ),
            (
                "opset 9\n input x: f32[4]\n y, z = TopK(x) {k = 2}\n output y\n output z",
                "input x: f32[4]\n const k: i64[1] = [2]\n y, z = TopK(x, k)\n output y\n output z",
            ),
            (
                "opset 10\n input x: f32[4]\n y = Dropout(x) {ratio = 0.25}\n output y",
                "input x: f32[4]\n const r: f32[] = [0.25]\n y = Dropout(x, r)\n output y",
            ),
            (
                "opset 4\n input x: f32[4]\n y = Reshape(x) {shape = [2, 2], consumed_inputs = [0]}\n output y",
                "input x: f32[4]\n const s: i64[2] = [2, 2]\n y = Reshape(x, s)\n output y",
            ),
            (
                "opset 5\n input x: f32[4, 5]\n const t: i64[1] = [3]\n const a: i64[1] = [-1]\n y = Tile(x, t, a)\n output y",
                "input x: f32[4, 5]\n const r: i64[2] = [1, 3]\n y = Tile(x, r)\n output y",
            ),
            (
                "opset 17\n input x: f32[1, 4, 1]\n y = DFT(x) {onesided = 1}\n output y",
                "input x: f32[1, 4, 1]\n const a: i64[] = [1]\n y = DFT(x, _, a) {onesided = 1}\n output y",
            ),
        ],
    );
}

#[test]
fn old_attributes_get_todays_values() {
    check(
        passes::normalize,
        &[
            (
                "opset 5\n input x: f32[2]\n y = Cast(x) {to = \"INT64\"}\n output y",
                "input x: f32[2]\n y = Cast(x) {to = 7}\n output y",
            ),
            (
                "opset 3\n input x: f32[2, 1]\n y = Concat(x, x)\n output y",
                "input x: f32[2, 1]\n y = Concat(x, x) {axis = 1}\n output y",
            ),
            (
                "opset 1\n input x: f32[1, 1, 4]\n y = GlobalLpPool(x) {p = 3.0}\n output y",
                "input x: f32[1, 1, 4]\n y = GlobalLpPool(x) {p = 3}\n output y",
            ),
            (
                "opset 16\n input x: f32[1, 1, 4, 4]\n input g: f32[1, 2, 2, 2]\n y = GridSample(x, g) {mode = \"bicubic\"}\n output y",
                "input x: f32[1, 1, 4, 4]\n input g: f32[1, 2, 2, 2]\n y = GridSample(x, g) {mode = \"cubic\"}\n output y",
            ),
            (
                "opset 5\n input x: f32[2]\n y = Selu(x)\n output y",
                "input x: f32[2]\n y = Selu(x) {alpha = 1.6732, gamma = 1.0507}\n output y",
            ),
            (
                "opset 10\n input x: f32[3]\n const i: i64[1] = [0]\n const u: f32[1] = [1.0]\n y = Scatter(x, i, u) {axis = 0}\n output y",
                "input x: f32[3]\n const i: i64[1] = [0]\n const u: f32[1] = [1.0]\n y = ScatterElements(x, i, u) {axis = 0}\n output y",
            ),
        ],
    );
}

#[test]
fn softmax_before_13_runs_over_all_that_follows_its_axis() {
    check(
        passes::normalize,
        &[
            (
                "opset 11\n input x: f32[2, 3]\n y = Softmax(x)\n output y",
                "input x: f32[2, 3]\n y = Softmax(x) {axis = -1}\n output y",
            ),
            (
                "opset 12\n input x: f32[2, 3, 1, 1]\n y = LogSoftmax(x) {axis = 1}\n output y",
                "input x: f32[2, 3, 1, 1]\n y = LogSoftmax(x) {axis = 1}\n output y",
            ),
            (
                "opset 8\n input x: f32[2, 3, 4]\n y = Hardmax(x)\n output y",
                "input x: f32[2, 3, 4]\n f = Flatten(x) {axis = 1}\n h = Hardmax(f) {axis = -1}\n s = Shape(x)\n y = Reshape(h, s)\n output y",
            ),
            (
                "opset 8\n input x: f32\n y = Softmax(x)\n output y",
                "input x: f32\n f = Flatten(x) {axis = 1}\n h = Softmax(f) {axis = -1}\n s = Shape(x)\n y = Reshape(h, s)\n output y",
            ),
        ],
    );
}

#[test]
fn old_broadcasting_is_placed_by_its_axis() {
    check(
        passes::normalize,
        &[
            (
                "opset 6\n input a: f32[2, 3, 4]\n input b: f32[3]\n y = Add(a, b) {axis = 1, broadcast = 1}\n output y",
                "input a: f32[2, 3, 4]\n input b: f32[3]\n const x: i64[1] = [1]\n u = Unsqueeze(b, x)\n y = Add(a, u)\n output y",
            ),
            (
                "opset 6\n input a: f32[2, 3, 4]\n input b: f32[3, 4]\n y = Mul(a, b) {axis = 1, broadcast = 1}\n output y",
                "input a: f32[2, 3, 4]\n input b: f32[3, 4]\n y = Mul(a, b)\n output y",
            ),
            (
                "opset 6\n input a: f32\n input b: f32[3, 4]\n y = Sub(a, b) {broadcast = 1}\n output y",
                "input a: f32\n input b: f32[3, 4]\n y = Sub(a, b)\n output y",
            ),
            (
                "opset 6\n input a: f32\n input b: f32[3]\n y = Sub(a, b) {broadcast = 1, axis = 1}\n output y",
                "error MODEL_UNSUPPORTED: Sub: the form of opset 6 has no counterpart: a rank is unknown",
            ),
            (
                "opset 6\n input x: f32[1, 2, 3, 4]\n input s: f32[2]\n y = PRelu(x, s)\n output y",
                "input x: f32[1, 2, 3, 4]\n input s: f32[2]\n const a: i64[2] = [1, 2]\n u = Unsqueeze(s, a)\n y = PRelu(x, u)\n output y",
            ),
            (
                "opset 6\n input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[4]\n y = Gemm(a, b, c) {broadcast = 1}\n output y",
                "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[4]\n y = Gemm(a, b, c)\n output y",
            ),
        ],
    );
}

#[test]
fn layers_that_changed_mean_the_same() {
    let norm = "input x: f32[1, 2, 3]\n input s: f32[2]\n input b: f32[2]\n input m: f32[2]\n input v: f32[2]";
    check(
        passes::normalize,
        &[
            (
                &format!(
                    "opset 7\n {norm}\n y, _, _ = BatchNormalization(x, s, b, m, v) {{spatial = 1, momentum = 0.5}}\n output y"
                ),
                &format!("{norm}\n y = BatchNormalization(x, s, b, m, v)\n output y"),
            ),
            (
                &format!(
                    "opset 9\n {norm}\n y, z = BatchNormalization(x, s, b, m, v)\n output y\n output z"
                ),
                "error MODEL_UNSUPPORTED: BatchNormalization: the form of opset 9 has no counterpart: it is in training mode",
            ),
            (
                "opset 18\n input x: f32[1, 4, 3]\n input s: f32[2]\n input b: f32[2]\n y = GroupNormalization(x, s, b) {num_groups = 2}\n output y",
                "input x: f32[1, 4, 3]\n input s: f32[2]\n input b: f32[2]\n const one: i64[1] = [1]\n const e: i64[2] = [2, 2]\n const c: i64[1] = [4]\n \
                 s1 = Unsqueeze(s, one)\n s2 = Expand(s1, e)\n s3 = Reshape(s2, c)\n b1 = Unsqueeze(b, one)\n b2 = Expand(b1, e)\n b3 = Reshape(b2, c)\n \
                 y = GroupNormalization(x, s3, b3) {num_groups = 2}\n output y",
            ),
            (
                "opset 10\n input x: f32[1, 1, 2, 2]\n const s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n y = Resize(x, s) {mode = \"linear\"}\n output y",
                "input x: f32[1, 1, 2, 2]\n const s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n y = Resize(x, _, s) {mode = \"linear\", coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"}\n output y",
            ),
            (
                "opset 7\n input x: f32[1, 1, 2, 2]\n y = Upsample(x) {scales = [1.0, 1.0, 2.0, 2.0]}\n output y",
                "input x: f32[1, 1, 2, 2]\n const s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n y = Resize(x, _, s) {mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"}\n output y",
            ),
        ],
    );
}

#[test]
fn bodies_are_brought_over_too() {
    check(
        passes::normalize,
        &[(
            "opset 11\n input c: bool[]\n input x: f32[1, 2]\n y = If(c) then_branch {\n a = Squeeze(x) {axes = [0]}\n output a\n } else_branch {\n b = Squeeze(x) {axes = [0]}\n output b\n }\n output y",
            "input c: bool[]\n input x: f32[1, 2]\n y = If(c) then_branch {\n const i: i64[1] = [0]\n a = Squeeze(x, i)\n output a\n } else_branch {\n const i: i64[1] = [0]\n b = Squeeze(x, i)\n output b\n }\n output y",
        )],
    );
}

#[test]
fn versions_beyond_what_is_known_are_refused() {
    for version in [0, 29, i64::MAX] {
        let mut graph = graph("input x: f32[1]\n y = Relu(x)\n output y");
        graph.opsets.insert("".into(), version);
        let error = passes::normalize(&mut graph).unwrap_err();
        assert_eq!(error.kind.code(), "MODEL_UNSUPPORTED", "{version}");
    }
    for version in [1, 13, 21, 28] {
        let mut graph = graph("input x: f32[1]\n y = Relu(x)\n output y");
        graph.opsets.insert("".into(), version);
        passes::normalize(&mut graph).unwrap();
        assert_eq!(graph.opset(""), passes::TARGET_OPSET);
    }
}

/// Expands every node that has a rule, once.
fn expand_outputs(graph: &mut Graph) -> Result<(), Error> {
    let makers: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    passes::expand(graph, &|_, id| makers.contains(&id)).map(|_| ())
}

#[test]
fn operators_expand_into_their_formulas() {
    check(
        expand_outputs,
        &[
            (
                "input x: f32[2]\n y = Swish(x)\n output y",
                "input x: f32[2]\n s = Sigmoid(x)\n y = Mul(x, s)\n output y",
            ),
            (
                "input x: f16[2]\n y = ThresholdedRelu(x) {alpha = 2.0}\n output y",
                "input x: f16[2]\n const a: f16[] = [2.0]\n const z: f16[] = [0.0]\n m = Greater(x, a)\n y = Where(m, x, z)\n output y",
            ),
            (
                "input x: i32[2]\n const lo: i32[] = [1]\n y = Clip(x, lo)\n output y",
                "input x: i32[2]\n const lo: i32[] = [1]\n y = Max(x, lo)\n output y",
            ),
            (
                "input x: f32[2]\n y = Clip(x)\n output y",
                "input x: f32[2]\n y = Identity(x)\n output y",
            ),
            (
                "input a: f32[2]\n input b: f32[2]\n input c: f32[2]\n y = Max(a, b, c)\n output y",
                "input a: f32[2]\n input b: f32[2]\n input c: f32[2]\n d = Max(a, b)\n y = Max(d, c)\n output y",
            ),
            (
                "opset 21\n opset com.microsoft 1\n input a: f32[2, 3]\n input b: f32[4, 3]\n y = com.microsoft::FusedMatMul(a, b) {transB = 1, alpha = 0.5}\n output y",
                "input a: f32[2, 3]\n input b: f32[4, 3]\n const h: f32[] = [0.5]\n t = Transpose(b) {perm = [1, 0]}\n m = MatMul(a, t)\n y = Mul(m, h)\n output y",
            ),
            (
                "opset 21\n opset com.microsoft 1\n input a: u8[2]\n const s: f32[1] = [0.5]\n const z: u8[] = [3]\n y = com.microsoft::QLinearSigmoid(a, s, z, s, z)\n output y",
                "input a: u8[2]\n const s: f32[1] = [0.5]\n const z: u8[] = [3]\n const e: i64[0] = []\n r = Reshape(s, e)\n q = Reshape(s, e)\n \
                 d = DequantizeLinear(a, r, z) {axis = 1}\n g = Sigmoid(d)\n y = QuantizeLinear(g, q, z) {axis = 1}\n output y",
            ),
            (
                "input x: f32[1, 4, 2, 2]\n y = SpaceToDepth(x) {blocksize = 2}\n output y",
                "input x: f32[1, 4, 2, 2]\n const a: i64[6] = [1, 4, 1, 2, 1, 2]\n const b: i64[4] = [1, 16, 1, 1]\n r = Reshape(x, a)\n t = Transpose(r) {perm = [0, 3, 5, 1, 2, 4]}\n y = Reshape(t, b)\n output y",
            ),
        ],
    );
}

#[test]
fn a_node_whose_second_output_is_read_keeps_it() {
    let text = "input x: f32[2, 3]\n input s: f32[3]\n y, m = LayerNormalization(x, s)\n output y\n output m";
    let mut graph = graph(text);
    infer(&mut graph).unwrap();
    assert!(passes::expand(&mut graph, &|_, _| true).unwrap());
    let expanded = expressions(&graph);
    assert!(
        expanded.contains("m = ReduceMean(x, i64[1] [-1])"),
        "{expanded}"
    );
}

/// Lowers without folding, so that every step shows.
fn lower(graph: &mut Graph) -> Result<(), Error> {
    passes::lower_for_wonnx(graph, &|_| {
        Err(Error::unsupported("", "nothing is folded here"))
    })
}

#[test]
fn wonnx_gets_the_forms_that_it_computes_right() {
    check(
        lower,
        &[
            (
                "input x: f32[1, 3, 1]\n const a: i64[1] = [2]\n y = Squeeze(x, a)\n output y",
                "input x: f32[1, 3, 1]\n const s: i64[2] = [1, 3]\n y = Reshape(x, s)\n output y",
            ),
            (
                "input x: f32[2]\n const hi: f32[] = [6.0]\n y = Clip(x, _, hi)\n output y",
                "input x: f32[2]\n const hi: f32[] = [6.0]\n const lo: f32[] = [-340282346638528859811704183484516925440.0]\n y = Clip(x, lo, hi)\n output y",
            ),
            (
                "input x: f32[2]\n const lo: f32[] = [0.25]\n y = Clip(x, lo)\n output y",
                "input x: f32[2]\n const lo: f32[] = [0.25]\n d = Sub(x, lo)\n r = Relu(d)\n y = Add(lo, r)\n output y",
            ),
            (
                "input x: f32[1, 1, 4, 4]\n const w: f32[1, 1, 1, 1] = [1.0]\n c = Conv(x, w) {kernel_shape = [1, 1]}\n y = LeakyRelu(c) {alpha = 0.5}\n output y",
                "input x: f32[1, 1, 4, 4]\n const w: f32[1, 1, 1, 1] = [1.0]\n const s: f32[1] = [0.5]\n c = Conv(x, w) {dilations = [1, 1], kernel_shape = [1, 1], pads = [0, 0, 0, 0], strides = [1, 1]}\n y = PRelu(c, s)\n output y",
            ),
            (
                "input x: f32[1, 1, 5, 4]\n y = MaxPool(x) {kernel_shape = [2, 3], auto_pad = \"SAME_UPPER\", strides = [2, 1]}\n output y",
                "input x: f32[1, 1, 5, 4]\n y = MaxPool(x) {kernel_shape = [2, 3], strides = [2, 1], dilations = [1, 1], pads = [0, 1, 1, 1]}\n output y",
            ),
            (
                "input x: f32[1, 2, 3]\n y = ReduceMean(x)\n output y",
                "input x: f32[1, 2, 3]\n y = ReduceMean(x) {axes = [0, 1, 2], keepdims = 1}\n output y",
            ),
            (
                "input x: f32[2, 1, 3]\n const a: i64[1] = [2]\n y = ReduceMax(x, a)\n output y",
                "input x: f32[2, 1, 3]\n const s: i64[2] = [2, 3]\n const t: i64[3] = [2, 1, 1]\n r = Reshape(x, s)\n m = ReduceMax(r) {axes = [1], keepdims = 0}\n y = Reshape(m, t)\n output y",
            ),
            (
                "input x: f32[4, 8]\n input w: f32[4, 8]\n y = Gemm(x, w) {transB = 1}\n output y",
                "input x: f32[4, 8]\n input w: f32[4, 8]\n t = Transpose(w) {perm = [1, 0]}\n y = Gemm(x, t) {alpha = 1.0, beta = 1.0}\n output y",
            ),
            (
                "input x: f32[3, 5]\n input w: f32[5, 7]\n y = MatMul(x, w)\n output y",
                "input x: f32[3, 5]\n input w: f32[5, 7]\n const a: i64[4] = [3, 5, 1, 1]\n const b: i64[4] = [7, 5, 1, 1]\n const s: i64[2] = [3, 7]\n \
                 p = Reshape(x, a)\n t = Transpose(w) {perm = [1, 0]}\n q = Reshape(t, b)\n c = Conv(p, q) {dilations = [1, 1], kernel_shape = [1, 1], pads = [0, 0, 0, 0], strides = [1, 1]}\n y = Reshape(c, s)\n output y",
            ),
            (
                "input x: f32[2]\n const two: f32[] = [2.0]\n y = Pow(x, two)\n output y",
                "input x: f32[2]\n y = Mul(x, x)\n output y",
            ),
            (
                "input x: f32[1, 4]\n y, z = Split(x) {axis = 1, num_outputs = 2}\n output y\n output z",
                "input x: f32[1, 4]\n const r: i64[2] = [4, 1]\n const s: i64[2] = [1, 2]\n const i: i64[2] = [0, 1]\n const j: i64[2] = [2, 3]\n \
                 a = Reshape(x, r)\n g = Gather(a, i) {axis = 0}\n y = Reshape(g, s)\n b = Reshape(x, r)\n h = Gather(b, j) {axis = 0}\n z = Reshape(h, s)\n output y\n output z",
            ),
            (
                "input x: f32[2]\n const s: f32[] = [0.5]\n const z: u8[] = [3]\n q = QuantizeLinear(x, s, z)\n y = DequantizeLinear(q, s, z)\n output y",
                "input x: f32[2]\n const s: f32[] = [0.5]\n const lo: f32[] = [-3.0]\n const hi: f32[] = [252.0]\n d = Div(x, s)\n r = Round(d)\n c = Clip(r, lo, hi)\n y = Mul(c, s)\n output y",
            ),
            (
                "input x: f32[1, 1, 2, 2]\n const s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n y = Resize(x, _, s)\n output y",
                "input x: f32[1, 1, 2, 2]\n const s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n y = Resize(x, _, s) {mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"}\n output y",
            ),
        ],
    );
}

#[cfg(feature = "cpu")]
mod difference;
#[cfg(feature = "cpu")]
mod suite;

/// The ONNX suite's cases, rewritten and then run on the `cpu` backend.
#[cfg(feature = "cpu")]
mod values {
    use std::fmt::Write as _;

    use sentinel_inference::backend::cpu;
    use sentinel_inference::error::Error;
    use sentinel_inference::graph::text::print_short;
    use sentinel_inference::graph::{Graph, Source, ValueId, infer};
    use sentinel_inference::model::onnx::{MapExternal, read};
    use sentinel_inference::passes;
    use sentinel_inference::tensor::{Fact, Tensor};

    use super::difference::difference;
    use super::suite::{self, Case};

    /// Runs every case that `rewrite` changes, as it is and with all inputs but the first made
    /// constant; none may be wrong that is right without the rewrite.
    fn check_suite(rewrite: fn(&mut Graph) -> Result<bool, Error>) {
        let (mut n_right, mut n_refused) = (0, 0);
        let mut failures = String::new();
        for case in suite::cases() {
            let tensors: Option<Vec<Tensor>> = case.inputs.iter().map(suite::tensor).collect();
            let (Ok(model), Some(tensors)) =
                (read(case.model.clone(), &MapExternal::default()), tensors)
            else {
                continue;
            };
            for is_fixed in [false, true] {
                let mut plain = model.graph.clone();
                if is_fixed {
                    fix_inputs(&mut plain, &tensors);
                }
                let mut rewritten = plain.clone();
                let is_prepared = passes::prepare(&mut plain, &cpu::evaluate).is_ok()
                    && passes::prepare(&mut rewritten, &cpu::evaluate).is_ok();
                if !is_prepared {
                    continue;
                }
                let outcome = match rewrite(&mut rewritten) {
                    Ok(true) => wrong(&case, &rewritten, &tensors),
                    Ok(false) => continue,
                    Err(error) => Ok(Some(error.to_string())),
                };
                match outcome {
                    Err(_) => n_refused += 1,
                    Ok(None) => n_right += 1,
                    Ok(Some(difference)) => {
                        if let Ok(None) = wrong(&case, &plain, &tensors) {
                            let form = if is_fixed {
                                "constant inputs"
                            } else {
                                "as it is"
                            };
                            writeln!(failures, "{} ({form}): {difference}", case.name)
                                .expect("strings grow");
                        }
                    }
                }
            }
        }
        println!("{n_right} rewritten cases right, {n_refused} not on cpu");
        assert!(failures.is_empty(), "{failures}");
        assert!(n_right > 0);
    }

    /// Makes constants of all inputs but the first.
    fn fix_inputs(graph: &mut Graph, tensors: &[Tensor]) {
        for (&input, tensor) in graph.inputs.clone().iter().zip(tensors).skip(1) {
            let value = graph.value_mut(input);
            value.fact = Fact::of(tensor);
            value.source = Source::Constant(tensor.clone());
        }
        graph.inputs.truncate(1);
    }

    /// What differs from the suite's outputs; an error when the backend does not run the graph.
    fn wrong(case: &Case, graph: &Graph, tensors: &[Tensor]) -> Result<Option<String>, Error> {
        let refusal = graph.nodes().find_map(|(id, _)| cpu::refusal(graph, id));
        if let Some(why) = refusal {
            return Err(Error::unsupported("", why));
        }
        let model = cpu::load(graph)?;
        let names = |ids: &[ValueId]| -> Vec<String> {
            ids.iter()
                .map(|&id| graph.value(id).name.to_string())
                .collect()
        };
        let (inputs, outputs) = (names(&graph.inputs), names(&graph.outputs));
        let feeds: Vec<(&str, &Tensor)> = inputs.iter().map(String::as_str).zip(tensors).collect();
        let fetches: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let got = model.run(&feeds, &fetches)?;
        let pairs = got.iter().zip(&case.outputs);
        Ok(pairs.enumerate().find_map(|(idx, (got, want))| {
            let want = suite::tensor(want)?;
            let difference = difference(got, &want, case.rtol.max(1e-3), case.atol.max(1e-6))?;
            Some(format!("output {idx}: {difference}"))
        }))
    }

    #[test]
    fn fused_graphs_compute_the_suites_values() {
        check_suite(|graph| {
            let before = print_short(graph);
            passes::fuse(graph, &cpu::evaluate)?;
            passes::chain(graph)?;
            if print_short(graph) == before {
                return Ok(false);
            }
            passes::expand(graph, &|graph, id| cpu::refusal(graph, id).is_some())?;
            passes::prepare(graph, &cpu::evaluate)?;
            Ok(true)
        });
    }

    #[test]
    fn expanded_operators_compute_the_suites_values() {
        check_suite(|graph| {
            let changed = passes::expand(graph, &|_, _| true)?;
            passes::prepare(graph, &cpu::evaluate)?;
            Ok(changed)
        });
    }

    #[test]
    fn lowered_graphs_compute_the_suites_values() {
        check_suite(|graph| {
            let is_fixed = graph
                .values()
                .all(|(_, value)| value.fact.sizes().is_some());
            if !is_fixed {
                return Ok(false);
            }
            passes::lower_for_wonnx(graph, &cpu::evaluate)?;
            infer(graph)?;
            Ok(true)
        });
    }
}
