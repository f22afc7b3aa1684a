//! Small graphs: which may be joined, and why the others may not.

use sentinel_inference::graph::text::parse;
use sentinel_inference::inspect::Port;
use sentinel_inference::passes::Batch;
use sentinel_inference::session::{Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

use super::joined::{alone_and_joined, numbers, perturbed, rebatched};

/// Graphs whose rows may be joined, each with the shapes of its inputs for one row.
const JOINABLE: &[(&str, &[&[usize]])] = &[
    ("input x: f32[n, 4]\n y = Relu(x)\n output y", &[&[1, 4]]),
    (
        "input x: f32[n, 4]\n const b: f32[4] = [1, 2, 3, 4]\n y = Add(b, x)\n output y",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n input z: f32[n, 1]\n y = Mul(x, z)\n output y",
        &[&[1, 4], &[1, 1]],
    ),
    (
        "input x: f32[?, 4]\n input z: f32[?, 4]\n y = Mul(x, z)\n output y",
        &[&[1, 4], &[1, 4]],
    ),
    (
        "input x: f32[n, 2]\n const w: f32[2, 3] = [1, 2, 3, 4, 5, 6]\n y = MatMul(x, w)\n output y",
        &[&[1, 2]],
    ),
    (
        "input x: f32[n, 2, 3]\n input z: f32[n, 3, 2]\n y = MatMul(x, z)\n output y",
        &[&[1, 2, 3], &[1, 3, 2]],
    ),
    (
        "input x: f32[n, 2]\n const w: f32[3, 2] = [1, 2, 3, 4, 5, 6]\n const b: f32[3] = [1, 2, 3]\n y = Gemm(x, w, b) {transB = 1}\n output y",
        &[&[1, 2]],
    ),
    (
        "input x: f32[n, 3, 4]\n const s: i64[3] = [0, -1, 2]\n y = Reshape(x, s)\n output y",
        &[&[1, 3, 4]],
    ),
    (
        "input x: f32[n, 3, 4]\n v = Shape(x)\n const low: i64[1] = [0]\n b = Gather(v, low)\n const rest: i64[1] = [-1]\n s = Concat(b, rest) {axis = 0}\n y = Reshape(x, s)\n output y",
        &[&[1, 3, 4]],
    ),
    (
        "input x: f32[n, 6]\n const a: i64[2] = [-1, 3]\n const b: i64[2] = [-1, 6]\n t = Reshape(x, a)\n u = Softmax(t)\n y = Reshape(u, b)\n output y",
        &[&[1, 6]],
    ),
    (
        "input x: f32[n, 3]\n t = Transpose(x) {perm = [1, 0]}\n u = Softmax(t) {axis = 0}\n y = Transpose(u) {perm = [1, 0]}\n output y",
        &[&[1, 3]],
    ),
    (
        "input x: f32[n, 3]\n y = Transpose(x) {perm = [1, 0]}\n output y",
        &[&[1, 3]],
    ),
    (
        "input x: f32[n, 3, 2]\n const a: i64[1] = [-1]\n y = ReduceSum(x, a) {keepdims = 0}\n output y",
        &[&[1, 3, 2]],
    ),
    (
        "input x: f32[n, 3]\n v = Shape(x) {end = 1}\n const d: i64[1] = [3]\n s = Concat(v, d) {axis = 0}\n c = ConstantOfShape(s) {value = f32[1] [2.0]}\n y = Concat(x, c) {axis = 1}\n output y",
        &[&[1, 3]],
    ),
    // Fixed sizes, mended.
    (
        "input x: f32[1, 3, 4]\n const s: i64[2] = [1, 12]\n y = Reshape(x, s)\n output y",
        &[&[1, 3, 4]],
    ),
    (
        "input x: f32[2, 1, 3]\n y = Squeeze(x)\n z = Softmax(y) {axis = 1}\n output z",
        &[&[2, 1, 3]],
    ),
    (
        "input x: f32[1, 2, 3]\n const c: f32[1, 1, 3] = [1, 2, 3]\n y = Concat(c, x) {axis = 1}\n output y",
        &[&[1, 2, 3]],
    ),
    (
        "input x: f32[1, 2, 2]\n const e: i64[0] = []\n const sizes: i64[3] = [1, 2, 4]\n y = Resize(x, _, _, sizes)\n output y",
        &[&[1, 2, 2]],
    ),
    (
        "input x: f32[1, 3]\n const s: i64[2] = [0, 0]\n const e: i64[2] = [1, 2]\n y = Slice(x, s, e)\n output y",
        &[&[1, 3]],
    ),
    (
        "input x: f32[2, 3]\n const b: f32[2, 3] = [1, 2, 3, 1, 2, 3]\n y = Add(x, b)\n output y",
        &[&[2, 3]],
    ),
    (
        "input x: f32[2, 3]\n const s: i64[3] = [2, 3, 4]\n const a: i64[1] = [2]\n t = Unsqueeze(x, a)\n y = Expand(t, s)\n output y",
        &[&[2, 3]],
    ),
];

/// Graphs whose rows must stay apart, and what the reason names.
const MIXING: &[(&str, &str, &[&[usize]])] = &[
    (
        "input x: f32[n, 4]\n const a: i64[1] = [0]\n y = ReduceMean(x, a)\n z = Sub(x, y)\n output z",
        "ReduceMean: it works along axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n m = ReduceMax(x)\n y = Div(x, m)\n output y",
        "ReduceMax: it reduces over all axes",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n y = Softmax(x) {axis = 0}\n output y",
        "Softmax: it works along axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n const a: i64[] = [0]\n y = CumSum(x, a)\n output y",
        "CumSum: it works along axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n t = Transpose(x) {perm = [1, 0]}\n y = MatMul(x, t)\n output y",
        "MatMul: every row meets every row",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n t = Transpose(x) {perm = [1, 0]}\n g = MatMul(t, x)\n y = MatMul(x, g)\n output y",
        "MatMul: it sums over the rows",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n v = Shape(x) {end = 1}\n f = Cast(v) {to = 1}\n y = Div(x, f)\n output y",
        "computed from the number of rows",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n v = Shape(x) {end = 1}\n s = Squeeze(v)\n const o: i64[] = [0]\n const i: i64[] = [1]\n r = Range(o, s, i)\n const a: i64[1] = [1]\n u = Unsqueeze(r, a)\n f = Cast(u) {to = 1}\n y = Add(x, f)\n output y",
        "depends on the number of the row",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n const s: i64[1] = [-1]\n f = Reshape(x, s)\n w = Softmax(f)\n v = Shape(x)\n y = Reshape(w, v)\n output y",
        "Softmax: it works along axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n const i: i64[1] = [0]\n f = Gather(x, i)\n y = Sub(x, f)\n output y",
        "Gather: it picks rows on axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n q, s, z = DynamicQuantizeLinear(x)\n y = DequantizeLinear(q, s, z)\n output y",
        "DynamicQuantizeLinear: it takes one scale for the whole batch",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 4]\n const k: i64[1] = [1]\n v, i = TopK(x, k) {axis = 0}\n y = Sub(x, v)\n output y",
        "TopK: it works along axis 0",
        &[&[1, 4]],
    ),
    (
        "input x: f32[n, 2, 2]\n y = Flatten(x) {axis = 0}\n z = Softmax(y)\n v = Shape(x)\n w = Reshape(z, v)\n output w",
        "Softmax: it works along axis 1",
        &[&[1, 2, 2]],
    ),
    (
        "input x: f32[2, 3]\n const b: f32[2, 3] = [1, 2, 3, 4, 5, 6]\n y = Add(x, b)\n output y",
        "Add: input 1 is no input of rows and has 2 values along their axis",
        &[&[2, 3]],
    ),
];

fn items(text: &str, shapes: &[&[usize]]) -> Vec<Vec<Tensor>> {
    let mut next = numbers(text.len() as u64);
    let one = |sizes: &&[usize]| Tensor::from_vec(sizes, vec![1.5_f32; sizes.iter().product()]);
    let ones: Vec<Tensor> = shapes
        .iter()
        .map(|sizes| one(sizes).expect("sizes"))
        .collect();
    let noisy = |_| {
        ones.iter()
            .map(|tensor| perturbed(tensor, &mut next))
            .collect()
    };
    (0..3).map(noisy).collect()
}

fn largest_difference(pairs: &[(Tensor, Tensor)]) -> f64 {
    let between = |(alone, joined): &(Tensor, Tensor)| {
        if alone.sizes() != joined.sizes() {
            return f64::INFINITY;
        }
        let (alone, joined) = (
            alone.to_f64s().expect("floats"),
            joined.to_f64s().expect("floats"),
        );
        alone
            .iter()
            .zip(&joined)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    };
    pairs.iter().map(between).fold(0.0, f64::max)
}

#[test]
fn rows_that_may_be_joined_come_out_as_they_do_alone() {
    for (text, shapes) in JOINABLE {
        let graph = parse(text).expect("a graph");
        let (joined, rows) = rebatched(graph.clone(), 0).expect("a right graph");
        assert_eq!(rows.joinable, Ok(()), "{text}");
        assert!(matches!(rows.batch, Batch::Symbol(_)), "{text}");
        let pairs = alone_and_joined(&graph, &joined, &rows, &items(text, shapes));
        let largest = largest_difference(&pairs.unwrap_or_else(|error| panic!("{text}: {error}")));
        assert!(largest < 1e-5, "{text}: {largest}");
    }
}

#[test]
fn a_refusal_names_the_node_and_is_deserved() {
    for (text, reason, shapes) in MIXING {
        let graph = parse(text).expect("a graph");
        let (same, mut rows) = rebatched(graph.clone(), 0).expect("a right graph");
        let why = rows.joinable.clone().expect_err(text);
        assert!(why.contains(reason), "{text}: {why}");
        if let Batch::Fixed(_) = rows.batch {
            continue;
        }
        rows.outputs
            .iter_mut()
            .for_each(|(_, axis)| *axis = Some(0));
        let pairs = alone_and_joined(&graph, &same, &rows, &items(text, shapes));
        let largest = largest_difference(&pairs.unwrap_or_else(|error| panic!("{text}: {error}")));
        assert!(largest > 1e-3, "{text}: joined is as alone");
    }
}

#[test]
fn inputs_say_along_which_axis_they_carry_rows() {
    let text = "input x: f32[?, 6]\n input h: f32[2, ?, 6]\n input k: f32[]\n const a: i64[1] = [0]\n r = ReduceSum(h, a) {keepdims = 0}\n t = Add(x, r)\n y = Mul(t, k)\n output y\n output h";
    let rows = rebatched(parse(text).expect("a graph"), 0)
        .expect("a right graph")
        .1;
    let axes: Vec<Option<usize>> = rows.inputs.iter().map(|(_, axis)| *axis).collect();
    assert_eq!(axes, [Some(0), Some(1), None]);
    assert_eq!(
        rows.outputs,
        [("y".to_owned(), Some(0)), ("h".to_owned(), Some(1))]
    );
}

#[test]
fn a_model_without_the_axis_has_no_batch() {
    let rows = rebatched(
        parse("input x: f32[]\n y = Neg(x)\n output y").expect("a graph"),
        0,
    );
    let rows = rows.expect("a right graph").1;
    assert_eq!(
        rows.joinable,
        Err("no input is known to have an axis 0".into())
    );
    assert!(matches!(rows.batch, Batch::None(_)));
}

#[test]
fn a_session_that_cannot_be_rebatched_is_refused_with_the_reason() {
    let text = "input x: f32[1, 4]\n y = Softmax(x) {axis = 0}\n output y";
    let options = Options {
        rebatch: true,
        ..Options::only(Provider::Cpu)
    };
    let created = Session::create(parse(text).expect("a graph"), &options);
    let error = created.err().expect("it mixes rows");
    assert_eq!(error.kind.code(), "MODEL_UNSUPPORTED");
    assert!(
        error.to_string().contains("Softmax: it works along axis 0"),
        "{error}"
    );
}

#[test]
fn a_rebatched_session_has_a_symbol_in_the_shapes_of_its_ports() {
    let text = "input x: f32[1, 3, 4]\n const s: i64[2] = [1, 12]\n y = Reshape(x, s)\n output y: f32[1, 12]";
    let options = Options {
        rebatch: true,
        ..Options::only(Provider::Cpu)
    };
    let session = Session::create(parse(text).expect("a graph"), &options).expect("it is safe");
    let shape = |port: &Port| port.fact.shape.as_ref().expect("a rank").to_string();
    assert_eq!(shape(&session.inputs()[0]), "[batch, 3, 4]");
    assert_eq!(shape(&session.outputs()[0]), "[batch, 12]");
    assert_eq!(
        session.rows().map(|rows| rows.joinable.clone()),
        Some(Ok(()))
    );
}
