//! Random chains of operators: what is said to be joinable is.

use proptest::prelude::*;
use sentinel_inference::graph::text::parse;
use sentinel_inference::tensor::Tensor;

use super::joined::{alone_and_joined, bound, rebatched, run};

/// Steps from `a: f32[n, 2, 6]` to `b` of the same shape; some of them mix rows.
const STEPS: &[&str] = &[
    "b = Tanh(a)",
    "b = Softmax(a)",
    "b = Softmax(a) {axis = 1}",
    "b = Softmax(a) {axis = 0}",
    "b = Add(a, feature)",
    "b = Mul(a, x)",
    "m# = ReduceMean(a, one) {keepdims = 1}\n b = Sub(a, m#)",
    "m# = ReduceMax(a, zero) {keepdims = 1}\n b = Sub(a, m#)",
    "b = CumSum(a, second)",
    "b = CumSum(a, first)",
    "t# = Transpose(a) {perm = [2, 0, 1]}\n s# = Softmax(t#) {axis = 0}\n b = Transpose(s#) {perm = [1, 2, 0]}",
    "t# = Transpose(a) {perm = [2, 0, 1]}\n s# = Softmax(t#) {axis = 1}\n b = Transpose(s#) {perm = [1, 2, 0]}",
    "t# = Reshape(a, flat)\n s# = Softmax(t#)\n b = Reshape(s#, whole)",
    "t# = Reshape(a, merged)\n s# = Softmax(t#)\n b = Reshape(s#, whole)",
    "t# = Reshape(a, merged)\n s# = Softmax(t#) {axis = 0}\n b = Reshape(s#, whole)",
    "t# = Transpose(a) {perm = [1, 0, 2]}\n u# = Reshape(t#, merged)\n s# = Tanh(u#)\n v# = Reshape(s#, turned)\n b = Transpose(v#) {perm = [1, 0, 2]}",
    "b = MatMul(a, weight)",
    "t# = Transpose(a) {perm = [0, 2, 1]}\n g# = MatMul(a, t#)\n b = MatMul(g#, a)",
    "l#, r# = Split(a) {axis = 2, num_outputs = 2}\n b = Concat(r#, l#) {axis = 2}",
    "s# = Slice(a, zero, far, zero)\n b = Neg(s#)",
    "s# = Slice(a, zero, first_one, zero)\n b = Add(a, s#)",
    "i# = ArgMax(a) {axis = 1}\n f# = Cast(i#) {to = 1}\n b = Add(a, f#)",
    "v# = Shape(a)\n c# = ConstantOfShape(v#) {value = f32[1] [0.5]}\n b = Add(a, c#)",
    "v# = Shape(a) {end = 1}\n f# = Cast(v#) {to = 1}\n b = Mul(a, f#)",
    "k#, j# = TopK(a, one) {axis = 2}\n b = Sub(a, k#)",
    "b = LayerNormalization(a, feature)",
    "b = Einsum(a, weight) {equation = \"nsi,ij->nsj\"}",
    "b = Einsum(a, a, a) {equation = \"nsi,nti,ntj->nsj\"}",
    "b = Einsum(a, a, a) {equation = \"nsi,msi,nsj->msj\"}",
    "s# = Slice(a, zero, far, one)\n b = Exp(s#)",
    "r# = Slice(a, last, front, zero, last)\n b = Add(a, r#)",
    "r# = Slice(a, last, front, one, last)\n b = Add(a, r#)",
    "s# = Squeeze(a)\n v# = Shape(a)\n c# = Reshape(s#, v#)\n b = Softmax(c#) {axis = 1}",
    "s# = Squeeze(a)\n t# = Softmax(s#) {axis = 1}\n v# = Shape(a)\n b = Reshape(t#, v#)",
    "u# = Unsqueeze(a, first_one)\n s# = Squeeze(u#)\n v# = Shape(a)\n b = Reshape(s#, v#)",
    "f# = Flatten(a) {axis = 0}\n s# = Sin(f#)\n v# = Shape(a)\n b = Reshape(s#, v#)",
    "f# = Flatten(a) {axis = 0}\n s# = Softmax(f#)\n v# = Shape(a)\n b = Reshape(s#, v#)",
    "f# = Flatten(a) {axis = 2}\n s# = Softmax(f#)\n v# = Shape(a)\n b = Reshape(s#, v#)",
    "v# = Shape(a)\n e# = Expand(tile, v#)\n b = Mul(a, e#)",
    "c# = Concat(a, item) {axis = 1}\n k# = Gather(c#, picks) {axis = 1}\n b = Add(a, k#)",
    "v# = Shape(a) {end = 1}\n n# = Squeeze(v#)\n r# = Range(nought, n#, unit)\n u# = Unsqueeze(r#, one)\n m# = ReduceMax(a, two) {keepdims = 0}\n i# = ArgMax(m#) {axis = 1}\n j# = Concat(u#, i#) {axis = 1}\n g# = GatherND(a, j#)\n w# = Unsqueeze(g#, one)\n b = Sub(a, w#)",
    "v# = Shape(a) {end = 1}\n n# = Squeeze(v#)\n r# = Range(nought, n#, unit)\n h# = Mod(r#, modulus)\n u# = Unsqueeze(h#, one)\n m# = ReduceMax(a, two) {keepdims = 0}\n i# = ArgMax(m#) {axis = 1}\n j# = Concat(i#, u#) {axis = 1}\n g# = GatherND(a, j#) {batch_dims = 1}\n w# = Unsqueeze(g#, one)\n y# = Unsqueeze(w#, one)\n b = Sub(a, y#)",
    "i# = ArgMax(a) {axis = 2}\n g# = GatherElements(a, i#) {axis = 2}\n b = Div(a, g#)",
    "i# = ArgMax(a) {axis = 2}\n m# = ReduceMin(a, two)\n b = ScatterElements(a, i#, m#) {axis = 2}",
    "p# = Pad(a, pads)\n s# = Slice(p#, one, far, one)\n b = Add(a, s#)",
    "p# = Pad(a, pads_rows)\n s# = Slice(p#, one, far, zero)\n b = Add(a, s#)",
    "t# = Tile(a, twice)\n s# = Slice(t#, two, far, one)\n b = Add(a, s#)",
    "z# = Less(a, feature)\n b = Where(z#, a, item)",
    "s# = ReduceSum(a)\n k# = Greater(s#, nil)\n b = If(k#) then_branch {\n q = Neg(a)\n output q\n} else_branch {\n q = Abs(a)\n output q\n}",
    "s# = Reshape(a, six)\n t# = Softmax(s#) {axis = 1}\n b = Reshape(t#, whole)",
    "s# = Reshape(a, swapped)\n t# = Softmax(s#) {axis = 0}\n b = Reshape(t#, whole)",
    "g# = Gather(a, pick) {axis = 1}\n b = Max(a, g#)",
];

const HEAD: &str = "const feature: f32[6] = [1.0, 2.0, 0.5, -1.0, 0.25, 3.0]
const weight: f32[6, 6] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.0, 0.2, 0.0, 0.3, 0.0, 0.0, 0.1, 0.0, 0.2, 0.0, 0.3, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1]
const zero: i64[1] = [0]
const one: i64[1] = [1]
const first_one: i64[1] = [1]
const first: i64[] = [0]
const second: i64[] = [1]
const far: i64[1] = [9223372036854775807]
const pick: i64[1] = [1]
const last: i64[1] = [-1]
const two: i64[1] = [2]
const front: i64[1] = [-9223372036854775807]
const nought: i64[] = [0]
const unit: i64[] = [1]
const modulus: i64[] = [6]
const nil: f32[] = [0.0]
const tile: f32[1, 2, 1] = [0.5, 2.0]
const item: f32[1, 2, 6] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
const picks: i64[2] = [3, 0]
const pads: i64[6] = [0, 1, 0, 0, 0, 0]
const pads_rows: i64[6] = [1, 0, 0, 0, 0, 0]
const twice: i64[3] = [1, 2, 1]
const six: i64[3] = [-1, 6, 2]
const swapped: i64[3] = [2, -1, 6]
const flat: i64[2] = [-1, 12]
const merged: i64[2] = [-1, 6]
const whole: i64[3] = [-1, 2, 6]
const turned: i64[3] = [2, -1, 6]
";

fn chain(steps: &[usize], rows: &str) -> String {
    let mut text = format!("input x: f32[{rows}, 2, 6]\n{HEAD}");
    for (idx, &step) in steps.iter().enumerate() {
        let from = if idx == 0 {
            "x".to_owned()
        } else {
            format!("y{idx}")
        };
        let words = STEPS[step].replace('#', &format!("_{idx}"));
        let words: Vec<String> = words
            .split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map(
                |word| match word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()) {
                    "a" => word.replacen('a', &from, 1),
                    "b" => word.replacen('b', &format!("y{}", idx + 1), 1),
                    _ => word.to_owned(),
                },
            )
            .collect();
        text += &words.concat();
        text.push('\n');
    }
    text + &format!("output y{}\n", steps.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn what_is_said_to_be_joinable_is(
        steps in prop::collection::vec(0..STEPS.len(), 1..6),
        rows in prop::sample::select(&["n", "1", "2"][..]),
        elements in prop::collection::vec(-2.0_f32..2.0, 72),
    ) {
        let text = chain(&steps, rows);
        let graph = parse(&text).expect(&text);
        let Ok((joined, found)) = rebatched(graph.clone(), 0) else { return Ok(()) };
        if found.joinable.is_ok() {
            let n_rows = if rows == "2" { 2 } else { 1 };
            let item = |part: &[f32]| {
                vec![Tensor::from_vec(&[n_rows, 2, 6], part.to_vec()).expect("as many")]
            };
            let items: Vec<Vec<Tensor>> = elements.chunks(12 * n_rows).take(3).map(item).collect();
            let (graph, joined) = (bound(&graph, n_rows), bound(&joined, n_rows * items.len()));
            prop_assume!(items.iter().all(|item| run(graph.clone(), item).is_ok()));
            let pairs = alone_and_joined(&graph, &joined, &found, &items).expect(&text);
            for (alone, joined) in pairs {
                prop_assert_eq!(alone.sizes(), joined.sizes(), "{}", &text);
                let (alone, joined) = (alone.to_f64s().expect("f"), joined.to_f64s().expect("f"));
                for (a, b) in alone.iter().zip(&joined) {
                    let close = (a - b).abs() <= 1e-5 + 1e-5 * a.abs() || (a.is_nan() && b.is_nan());
                    prop_assert!(close || a == b, "{a} alone, {b} joined: {}", &text);
                }
            }
        }
    }
}

#[test]
fn steps_that_keep_rows_apart_are_joinable_in_any_order() {
    let is_joinable = |steps: &[usize]| {
        let graph = parse(&chain(steps, "n")).expect("a graph");
        rebatched(graph, 0)
            .expect("a right graph")
            .1
            .joinable
            .is_ok()
    };
    let kept: Vec<usize> = (0..STEPS.len())
        .filter(|&step| is_joinable(&[step]))
        .collect();
    assert_eq!(
        kept.len(),
        34,
        "{:?}",
        kept.iter().map(|&step| STEPS[step]).collect::<Vec<_>>()
    );
    for &first in &kept {
        for &second in &kept {
            assert!(
                is_joinable(&[first, second]),
                "{} {}",
                STEPS[first],
                STEPS[second]
            );
        }
    }
}
