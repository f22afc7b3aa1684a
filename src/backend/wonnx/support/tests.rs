use super::whole::MAX_DEPTH;
use super::{graph_refusal, refusal};
use crate::graph::infer;
use crate::graph::text::parse;

/// The first reason against the graph or one of its nodes.
fn reason(text: &str) -> Option<String> {
    let mut graph = parse(&format!("opset 13\n{text}")).unwrap();
    infer(&mut graph).unwrap();
    let of_nodes = graph.nodes().find_map(|(id, _)| refusal(&graph, id));
    of_nodes.or_else(|| graph_refusal(&graph))
}

/// Each graph with what is said against it; nothing when it is taken.
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expected)| {
            let found = reason(text).unwrap_or_default();
            (found != *expected)
                .then(|| format!("{text}\n  said: {found:?}\n  not: {expected:?}\n"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn elementwise_operators_are_taken_with_the_types_they_are_right_for() {
    check(&[
        ("input x: f32[2]\n y = Tanh(x)\n output y", ""),
        ("input x: f32[]\n y = Neg(x)\n output y", ""),
        ("input x: i32[2]\n y = Neg(x)\n output y", ""),
        (
            "input x: i64[2]\n y = Neg(x)\n output y",
            "wonnx has no Neg for i64",
        ),
        (
            "input x: f32[2, 3]\n input z: f32[3]\n y = Add(x, z)\n output y",
            "",
        ),
        (
            "input x: f32[2]\n y = Asin(x)\n output y",
            "wonnx has no Asin",
        ),
        (
            "input x: f32[2]\n y = Softplus(x)\n output y",
            "wonnx has no Softplus",
        ),
        (
            "input x: f32[2]\n y = com.microsoft::Gelu(x)\n value y: f32[2]\n output y",
            "wonnx has no com.microsoft::Gelu",
        ),
        (
            "input x: i32[2]\n const d: i32[2] = [3, -1]\n y = Div(x, d)\n output y",
            "",
        ),
        (
            "input x: i32[2]\n const d: i32[2] = [3, 0]\n y = Div(x, d)\n output y",
            "wonnx: Div: an integer divisor may be zero",
        ),
        (
            "input x: i32[2]\n input d: i32[2]\n y = Div(x, d)\n output y",
            "wonnx: Div: an integer divisor may be zero",
        ),
        (
            "input x: f32[2]\n const e: f32[] = [2.0]\n y = Pow(x, e)\n output y",
            "wonnx: Pow: the base may be negative",
        ),
        (
            "input x: f32[2]\n const b: f32[] = [2.0]\n y = Pow(b, x)\n output y",
            "",
        ),
        (
            "input x: f32[2]\n y = LeakyRelu(x) {alpha = 1e20}\n output y",
            "wonnx: LeakyRelu: a number among its attributes is above 1e10",
        ),
        (
            "input x: f32[2]\n y = Elu(x) {alpha = -1.0}\n output y",
            "wonnx: Elu: alpha is not positive",
        ),
        (
            "input x: f32[2, 3]\n const s: f32[3] = [1.0, 2.0, 3.0]\n y = PRelu(x, s)\n output y",
            "",
        ),
        ("input x: i64[2]\n y = Cast(x) {to = 1}\n output y", ""),
        (
            "input x: f32[2]\n y = Cast(x) {to = 7}\n output y",
            "wonnx: Cast: it does not cast to f32 or i32",
        ),
        (
            "input x: bool[2]\n y = Cast(x) {to = 1}\n output y",
            "wonnx: Cast: an element type is none of f32, i32 and i64",
        ),
    ]);
}

#[test]
fn clip_wants_both_bounds_with_one_decimal() {
    let clip = |bounds: &str, inputs: &str| {
        reason(&format!(
            "input x: f32[2]\n{bounds}\n y = Clip({inputs})\n output y"
        ))
        .unwrap_or_default()
    };
    let zero = "const lo: f32[] = [0.0]";
    assert_eq!(
        clip(&format!("{zero}\n const hi: f32[] = [6.0]"), "x, lo, hi"),
        ""
    );
    assert_eq!(
        clip(
            &format!("{zero}\n const hi: f32[] = [3.4028235e38]"),
            "x, lo, hi"
        ),
        ""
    );
    assert_eq!(
        clip(&format!("{zero}\n const hi: f32[] = [0.25]"), "x, lo, hi"),
        "wonnx: Clip: a bound has more than one decimal"
    );
    assert_eq!(
        clip(&format!("{zero}\n const hi: f32[] = [inf]"), "x, lo, hi"),
        "wonnx: Clip: a bound has more than one decimal"
    );
    assert_eq!(clip(zero, "x, lo"), "wonnx: Clip: a bound is not given");
    assert_eq!(clip(zero, "x, _, lo"), "wonnx: Clip: an input is left out");
    assert_eq!(
        clip("input lo: f32[]", "x, lo, lo"),
        "wonnx: Clip: a bound is not constant"
    );
}

#[test]
fn convolutions_of_three_by_three_are_taken_where_weight_and_shader_agree() {
    let conv = |n_filters: usize, inputs: &str, attrs: &str| {
        let weight = "00".repeat(4 * n_filters * 9);
        let bias = "00".repeat(4 * n_filters);
        reason(&format!(
            "input x: f32[1, 1, 8, 8]\n input v: f32[{n_filters}, 1, 3, 3]\n\
             const w: f32[{n_filters}, 1, 3, 3] = 0x{weight}\n const b: f32[{n_filters}] = 0x{bias}\n\
             y = Conv({inputs}) {{{attrs}}}\n output y"
        ))
        .unwrap_or_default()
    };
    let three = "kernel_shape = [3, 3]";
    let dilated = "kernel_shape = [3, 3], dilations = [2, 2]";
    assert_eq!(conv(4, "x, w, b", three), "");
    assert_eq!(
        conv(4, "x, w", three),
        "wonnx: Conv: a 3 x 3 kernel has no bias"
    );
    assert_eq!(
        conv(4, "x, v, b", three),
        "wonnx: Conv: a 3 x 3 kernel is not constant"
    );
    assert_eq!(conv(4, "x, w", dilated), "");
    assert_eq!(
        conv(4, "x, w, b", dilated),
        "wonnx: Conv: a dilated 3 x 3 kernel has a bias"
    );
    for attrs in [three, dilated, "kernel_shape = [3, 3], strides = [2, 2]"] {
        assert_eq!(conv(3, "x, w", attrs), "");
        assert_eq!(conv(3, "x, w, b", attrs), "");
    }
    assert_eq!(
        conv(4, "x, w, b", ""),
        "wonnx: Conv: kernel_shape is not given"
    );
    assert_eq!(
        conv(4, "x, w, b", "kernel_shape = [3, 3], auto_pad = \"NOTSET\""),
        "wonnx: Conv: auto_pad is given"
    );
}

#[test]
fn pools_and_normalisation_are_over_pictures() {
    let params = "const c: f32[3] = [1.0, 1.0, 1.0]";
    check(&[
        (
            "input x: f32[1, 3, 8, 8]\n y = MaxPool(x) {kernel_shape = [2, 2], ceil_mode = 1, dilations = [2, 1]}\n output y",
            "",
        ),
        (
            "input x: f32[1, 3, 8]\n y = MaxPool(x) {kernel_shape = [2]}\n output y",
            "wonnx: MaxPool: it is not over two spatial axes",
        ),
        (
            "input x: f32[1, 3, 8, 8]\n y, i = MaxPool(x) {kernel_shape = [2, 2]}\n output y\n output i",
            "wonnx: MaxPool: a second output is read",
        ),
        (
            "input x: f32[1, 3, 8, 8]\n y = AveragePool(x) {kernel_shape = [2, 2], ceil_mode = 1}\n output y",
            "",
        ),
        (
            "input x: f32[1, 3, 8, 8]\n y = AveragePool(x) {kernel_shape = [2, 2], ceil_mode = 1, count_include_pad = 1}\n output y",
            "wonnx: AveragePool: ceil_mode and count_include_pad are both set",
        ),
        (
            "input x: f32[1, 3, 8, 8]\n y = GlobalAveragePool(x)\n output y",
            "",
        ),
        (
            &format!(
                "input x: f32[1, 3, 8, 8]\n{params}\n y = BatchNormalization(x, c, c, c, c)\n output y"
            ),
            "",
        ),
        (
            &format!(
                "input x: f32[1, 3, 8]\n{params}\n y = BatchNormalization(x, c, c, c, c)\n output y"
            ),
            "wonnx: BatchNormalization: it is not over two spatial axes",
        ),
        (
            &format!(
                "input x: f32[1, 3, 3, 30001]\n{params}\n y = BatchNormalization(x, c, c, c, c)\n output y"
            ),
            "wonnx: BatchNormalization: the picture is too large for one launch",
        ),
    ]);
}

#[test]
fn matrix_products_suit_the_blocks() {
    let odd = "the greatest common divisor of its sizes is neither 2 nor a multiple of 4";
    let gemm = |m: usize, k: usize, n: usize, bias: &str, attrs: &str| {
        reason(&format!(
            "input a: f32[{m}, {k}]\n input b: f32[{k}, {n}]\n input c: f32{bias}\n y = Gemm(a, b, c) {{{attrs}}}\n output y"
        ))
        .unwrap_or_default()
    };
    assert_eq!(gemm(2, 4, 6, "[6]", ""), "");
    assert_eq!(gemm(8, 4, 12, "[8, 1]", "alpha = 0.5"), "");
    assert_eq!(gemm(3, 6, 9, "[9]", ""), format!("wonnx: Gemm: {odd}"));
    assert_eq!(gemm(6, 6, 6, "[6]", ""), format!("wonnx: Gemm: {odd}"));
    assert_eq!(
        gemm(2, 4, 6, "[]", ""),
        "wonnx: Gemm: the bias is neither a row nor a matrix"
    );
    assert_eq!(
        gemm(4, 4, 4, "[4]", "transB = 1"),
        "wonnx: Gemm: transA or transB is set"
    );
    assert_eq!(gemm(1, 4, 7, "[7]", ""), "");
    assert_eq!(
        gemm(1, 4, 7, "[1]", ""),
        "wonnx: Gemm: one row with a bias of another length"
    );
    assert_eq!(
        gemm(1, 6, 7, "[7]", ""),
        "wonnx: Gemm: the inner size of a single row is no multiple of 4"
    );
    assert_eq!(
        gemm(1, 4, 70000, "[70000]", ""),
        "wonnx: Gemm: a single row has more than 65,535 columns"
    );
    let matmul = |a: &str, b: &str| {
        reason(&format!(
            "input a: f32{a}\n input b: f32{b}\n y = MatMul(a, b)\n output y"
        ))
        .unwrap_or_default()
    };
    assert_eq!(matmul("[2, 4, 8]", "[2, 8, 4]"), "");
    assert_eq!(
        matmul("[2, 1, 8]", "[2, 8, 4]"),
        "wonnx: MatMul: a batch of single rows"
    );
    assert_eq!(
        matmul("[2, 4, 8]", "[8, 4]"),
        "wonnx: MatMul: batches broadcast"
    );
    assert_eq!(
        matmul("[8]", "[8, 4]"),
        "wonnx: MatMul: it is not over matrices"
    );
    assert_eq!(
        matmul("[1028, 4]", "[4, 1028]"),
        "wonnx: MatMul: the number of blocks does not suit one launch"
    );
    assert_eq!(matmul("[1024, 4]", "[4, 1024]"), "");
}

#[test]
fn reductions_keep_no_lonely_last_axis() {
    let reduce = |shape: &str, axes: &str| {
        reason(&format!(
            "input x: f32{shape}\n y = ReduceMean(x) {{axes = {axes}}}\n output y"
        ))
        .unwrap_or_default()
    };
    assert_eq!(reduce("[2, 3, 4, 5]", "[2, 3]"), "");
    assert_eq!(reduce("[1, 3, 4]", "[-1]"), "");
    assert_eq!(reduce("[1, 1, 4]", "[2]"), "");
    assert_eq!(reduce("[2, 3]", "[0, 1]"), "");
    assert_eq!(
        reduce("[2, 1, 3]", "[2]"),
        "wonnx: ReduceMean: the last kept axis has the size 1"
    );
    check(&[
        (
            "input x: f32[2, 3]\n y = ReduceMax(x)\n output y",
            "wonnx: ReduceMax: its axes are not given",
        ),
        (
            "input x: i32[2, 3]\n const a: i64[1] = [1]\n y = ReduceSum(x, a)\n output y",
            "",
        ),
        (
            "input x: i64[2, 3]\n const a: i64[1] = [1]\n y = ReduceSum(x, a)\n output y",
            "wonnx has no ReduceSum for i64",
        ),
        (
            "input x: f32[2, 3]\n y = Softmax(x) {axis = 0}\n output y",
            "",
        ),
        (
            "input x: f32[70001, 2]\n y = Softmax(x)\n output y",
            "wonnx: Softmax: the number of rows does not suit one launch",
        ),
        ("input x: f32[70002, 2]\n y = Softmax(x)\n output y", ""),
    ]);
}

#[test]
fn what_moves_elements_is_taken_along_the_first_axis() {
    check(&[
        (
            "input x: f32[1, 2]\n input z: f32[1, 3]\n y = Concat(x, z) {axis = 1}\n output y",
            "",
        ),
        (
            "input x: f32[2, 2]\n input z: f32[2, 3]\n y = Concat(x, z) {axis = -1}\n output y",
            "wonnx: Concat: dimensions before the axis are not 1",
        ),
        (
            "input x: f32[2]\n y = Concat(x, x, x, x, x, x, x, x) {axis = 0}\n output y",
            "wonnx: Concat: it has more than seven inputs",
        ),
        (
            "input x: i64[4, 2]\n input i: i64[3]\n y = Gather(x, i)\n output y",
            "",
        ),
        (
            "input x: f32[4, 2]\n input i: i64[3]\n y = Gather(x, i) {axis = 1}\n output y",
            "wonnx: Gather: the axis is not 0",
        ),
        (
            "input x: f32[5, 70001]\n input i: i64[3]\n y = Gather(x, i)\n output y",
            "wonnx: Gather: the length of a row does not suit one launch",
        ),
        ("input x: f32[2, 3]\n y = Transpose(x)\n output y", ""),
        (
            "input x: f32[]\n y = Transpose(x)\n output y",
            "wonnx: Transpose: the input is a scalar",
        ),
        (
            "input x: f32[1]\n const s: i64[0] = []\n y = Reshape(x, s)\n output y",
            "",
        ),
        (
            "input x: f32[2, 3]\n input s: i64[1]\n y = Reshape(x, s)\n value y: f32[6]\n output y",
            "wonnx: Reshape: the shape is not constant",
        ),
        (
            "input x: f32[2, 1]\n const a: i64[1] = [1]\n y = Squeeze(x, a)\n output y",
            "wonnx: Squeeze: it has a second input",
        ),
        (
            "input x: f32[3]\n const p: i64[2] = [4, 1]\n y = Pad(x, p)\n output y",
            "",
        ),
        (
            "input x: f32[3]\n const p: i64[2] = [0, 2]\n y = Pad(x, p)\n output y",
            "wonnx: Pad: an end pad is above 1",
        ),
        (
            "input x: f32[3]\n const p: i64[2] = [-1, 0]\n y = Pad(x, p)\n output y",
            "wonnx: Pad: a pad is negative",
        ),
        (
            "input x: f32[3]\n const p: i64[2] = [1, 1]\n y = Pad(x, p) {mode = \"edge\"}\n output y",
            "wonnx: Pad: the mode is not constant",
        ),
        (
            "input x: i32[3]\n const d: i32[1] = [5]\n const v: f32[2] = [0.0, 1.0]\n y = OneHot(x, d, v)\n output y",
            "",
        ),
        (
            "input x: i32[3]\n const d: i32[1] = [5]\n const v: f32[2] = [0.0, 1.0]\n y = OneHot(x, d, v) {axis = 0}\n output y",
            "wonnx: OneHot: the new axis is not the last",
        ),
    ]);
}

#[test]
fn pictures_grow_by_whole_numbers() {
    let resize = |scales: &str, attrs: &str| {
        reason(&format!(
            "input x: f32[1, 1, 4, 4]\n const s: f32[4] = {scales}\n y = Resize(x, _, s) {{{attrs}}}\n output y"
        ))
        .unwrap_or_default()
    };
    let floor = "coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"";
    assert_eq!(resize("[1.0, 1.0, 2.0, 3.0]", floor), "");
    assert_eq!(
        resize("[1.0, 1.0, 1.5, 1.5]", floor),
        "wonnx: Resize: a scale is not a whole number"
    );
    assert_eq!(
        resize("[1.0, 1.0, 2.0, 2.0]", "nearest_mode = \"floor\""),
        "wonnx: Resize: pixels are not found by asymmetric and floor"
    );
    assert_eq!(
        resize("[1.0, 1.0, 2.0, 2.0]", "mode = \"linear\""),
        "wonnx: Resize: the mode is not nearest"
    );
}

#[test]
fn nodes_that_disturb_each_other_are_refused() {
    let conv = "const w: f32[1, 1, 1, 1] = [1.0]\n c = Conv(x, w) {kernel_shape = [1, 1]}";
    let follows = "wonnx: LeakyRelu: it follows a Conv";
    check(&[
        ("input x: f32[2]\n y = LeakyRelu(x)\n output y", ""),
        (
            &format!("input x: f32[1, 1, 4, 4]\n{conv}\n y = LeakyRelu(c)\n output y"),
            follows,
        ),
        (
            &format!(
                "input x: f32[1, 1, 4, 4]\n{conv}\n i = Identity(c)\n y = LeakyRelu(i)\n output y"
            ),
            follows,
        ),
        (
            &format!("input x: f32[1, 1, 4, 4]\n{conv}\n y = Relu(c)\n output y"),
            "",
        ),
        (
            "input x: f32[4]\n a, b = Split(x)\n y = Add(a, b)\n output y",
            "",
        ),
        (
            "input x: f32[4]\n r = Relu(x)\n a, b = Split(r)\n output a\n output b",
            "wonnx: Split: a node makes its input",
        ),
        (
            "input x: f32[5]\n const s: i64[2] = [2, 3]\n a, b = Split(x, s)\n output a\n output b",
            "wonnx: Split: the lengths of the parts are an input",
        ),
    ]);
}

#[test]
fn whole_graphs_have_fixed_shapes_and_few_types() {
    check(&[
        (
            "input x: f32[n]\n y = Relu(x)\n output y",
            "wonnx: Relu: a size is unknown",
        ),
        (
            "input x: f32[0]\n y = Relu(x)\n output y",
            "wonnx: Relu: a value has no elements",
        ),
        (
            "input x: f32[2]\n input u: f16[2]\n y = Relu(x)\n output y",
            "wonnx: u: it has the type f16, wonnx has f32, i32 and i64",
        ),
        (
            "input x: f32[2]\n input u: f32[?]\n y = Relu(x)\n output y",
            "wonnx: u: it has no fixed shape",
        ),
        (
            "input x: f32[2]\n y = Relu(x)\n output y\n output x",
            "wonnx: x: no node makes this output",
        ),
        (
            "input x: f32[2]\n const c: f32[2] = [1.0, 2.0]\n d = Neg(c)\n y = Add(x, d)\n output y",
            "wonnx: Neg: all inputs are constants",
        ),
        (
            "input x: f32[2] = [1.0, 2.0]\n y = Relu(x)\n output y",
            "wonnx: x: it is an input with a default",
        ),
        (
            "input x: i64[2]\n const c: i64[1] = [3000000000]\n y = Concat(x, c) {axis = 0}\n output y",
            "wonnx: c: an integer does not fit into 32 bits",
        ),
        (
            "input x: f32[4096, 4096]\n y = Relu(x)\n output y",
            "wonnx: Relu: the output has more than 16,776,960 elements",
        ),
        ("input x: f32[4096, 4096]\n y = Identity(x)\n output y", ""),
    ]);
}

#[test]
fn other_versions_and_domains_are_refused() {
    let of = |versions: &str| {
        let text = format!("{versions}\n input x: f32[2]\n y = Relu(x)\n output y");
        graph_refusal(&parse(&text).unwrap())
    };
    let other = "wonnx: it knows ONNX's version 13, the graph is of 21";
    assert_eq!(of("opset 21").as_deref(), Some(other));
    let foreign = "wonnx: it has no operators but ONNX's own";
    assert_eq!(
        of("opset 13\n opset com.microsoft 1").as_deref(),
        Some(foreign)
    );
}

#[test]
fn paths_longer_than_the_stack_are_refused() {
    let chain = |n_nodes: usize| {
        let nodes: String = (0..n_nodes)
            .map(|n| format!("v{} = Tanh(v{n})\n", n + 1))
            .collect();
        reason(&format!("input v0: f32[1]\n{nodes} output v{n_nodes}"))
    };
    assert_eq!(chain(MAX_DEPTH), None);
    let why = format!(
        "wonnx: the longest path has {} nodes, it bears {MAX_DEPTH}",
        MAX_DEPTH + 1
    );
    assert_eq!(chain(MAX_DEPTH + 1), Some(why));
}
