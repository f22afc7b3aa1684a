//! Fusions: text in, text out, and the same values on the `cpu` backend, where what was fused is
//! expanded again.
#![cfg(feature = "cpu")]

mod difference;
mod random;
mod rewrites;

use std::collections::HashMap;
use std::fmt::Write as _;

use sentinel_inference::backend::cpu;
use sentinel_inference::error::{Error, Result};
use sentinel_inference::graph::{Graph, ValueId};
use sentinel_inference::passes;
use sentinel_inference::tensor::{DType, Tensor};

use difference::difference;
use random::Random;

fn fuse(graph: &mut Graph) -> Result<()> {
    passes::fuse(graph, &cpu::evaluate)
}

/// Each case before and after; `""` for one that stays as it is.
fn check(cases: &[(&str, &str)]) {
    check_rewrite(fuse, cases);
}

fn check_rewrite(rewrite: fn(&mut Graph) -> Result<()>, cases: &[(&str, &str)]) {
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|&(before, after)| (before, if after.is_empty() { before } else { after }))
        .collect();
    rewrites::check(rewrite, &cases);
    let mut failures = String::new();
    for (before, _) in &cases {
        match changed(before, rewrite) {
            Ok(None) => (),
            Ok(Some(difference)) => {
                writeln!(failures, "{difference} in\n{before}").expect("strings grow")
            }
            Err(error) => writeln!(failures, "{error} in\n{before}").expect("strings grow"),
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What differs between the outputs of a graph and of its rewritten form.
fn changed(text: &str, rewrite: fn(&mut Graph) -> Result<()>) -> Result<Option<String>> {
    let mut plain = rewrites::graph(text);
    passes::prepare(&mut plain, &cpu::evaluate)?;
    let mut fused = plain.clone();
    rewrite(&mut fused)?;
    let feeds = feeds(&plain);
    let (want, got) = (run(plain, &feeds)?, run(fused, &feeds)?);
    let f16 = |tensor: &Tensor| tensor.dtype() == DType::F16;
    let mut pairs = got.iter().zip(&want);
    Ok(pairs.find_map(|(got, want)| {
        let tolerance = if f16(want) { 1e-2 } else { 1e-5 };
        difference(got, want, tolerance, tolerance)
    }))
}

fn feeds(graph: &Graph) -> HashMap<String, Tensor> {
    let mut random = Random(7);
    let mut tensor = |id: &ValueId| {
        let value = graph.value(*id);
        let sizes = value.fact.sizes().unwrap_or_else(|| vec![2, 3]);
        let n: usize = sizes.iter().product();
        let elements = (0..n).map(|_| (random.below(4001) as f32 - 2000.0) / 500.0);
        let elements: Vec<f32> = elements.collect();
        let made = match value.fact.dtype {
            Some(DType::F16) => {
                let elements = elements.into_iter().map(half::f16::from_f32);
                Tensor::from_vec(&sizes, elements.collect())
            }
            Some(DType::I32) => {
                Tensor::from_vec(&sizes, elements.iter().map(|&x| x as i32).collect())
            }
            Some(DType::I64) => {
                Tensor::from_vec(&sizes, elements.iter().map(|&x| x as i64).collect())
            }
            Some(DType::Bool) => {
                let bytes: Vec<u8> = elements.iter().map(|&x| u8::from(x > 0.0)).collect();
                Tensor::from_bytes(DType::Bool, &sizes, bytes)
            }
            _ => Tensor::from_vec(&sizes, elements),
        };
        (
            value.name.to_string(),
            made.expect("there is one element for each place"),
        )
    };
    graph.inputs.iter().map(&mut tensor).collect()
}

fn run(mut graph: Graph, feeds: &HashMap<String, Tensor>) -> Result<Vec<Tensor>> {
    passes::expand(&mut graph, &|graph, id| cpu::refusal(graph, id).is_some())?;
    passes::prepare(&mut graph, &cpu::evaluate)?;
    if let Some(why) = graph.nodes().find_map(|(id, _)| cpu::refusal(&graph, id)) {
        return Err(Error::unsupported("", why));
    }
    let names = |ids: &[ValueId]| -> Vec<String> {
        ids.iter()
            .map(|&id| graph.value(id).name.to_string())
            .collect()
    };
    let (inputs, outputs) = (names(&graph.inputs), names(&graph.outputs));
    let feeds: Vec<(&str, &Tensor)> = inputs.iter().map(|name| (&**name, &feeds[name])).collect();
    let fetches: Vec<&str> = outputs.iter().map(String::as_str).collect();
    cpu::load(&graph)?.run(&feeds, &fetches)
}

#[test]
fn activations_that_are_written_out_become_one_operator() {
    check(&[
        (
            "input x: f32[5]\n s = Sigmoid(x)\n y = Mul(s, x)\n output y",
            "input x: f32[5]\n y = Swish(x)\n output y",
        ),
        (
            "input x: f32[5]\n const a: f32[] = [2.0]\n t = Mul(x, a)\n s = Sigmoid(t)\n y = Mul(x, s)\n output y",
            "input x: f32[5]\n y = Swish(x) {alpha = 2.0}\n output y",
        ),
        (
            "input x: f32[5]\n const a: f32[1] = [3.0]\n const lo: f32[] = [0.0]\n const hi: f32[] = [6.0]\n \
             t = Add(x, a)\n c = Clip(t, lo, hi)\n d = Div(c, hi)\n y = Mul(d, x)\n output y",
            "input x: f32[5]\n y = HardSwish(x)\n output y",
        ),
        (
            "input x: f32[5]\n const a: f32[1] = [3.0]\n const lo: f32[] = [0.0]\n const hi: f32[] = [6.0]\n \
             t = Add(x, a)\n c = Clip(t, lo, hi)\n m = Mul(x, c)\n y = Div(m, hi)\n output y",
            "input x: f32[5]\n y = HardSwish(x)\n output y",
        ),
        (
            "input x: f32[5]\n h = HardSigmoid(x) {alpha = 0.16666667, beta = 0.5}\n y = Mul(x, h)\n output y",
            "input x: f32[5]\n y = HardSwish(x)\n output y",
        ),
        (
            "input x: f32[5]\n const r: f32[] = [1.4142135]\n const one: f32[] = [1.0]\n const half: f32[] = [0.5]\n \
             d = Div(x, r)\n e = Erf(d)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, half)\n output y",
            "input x: f32[5]\n y = Gelu(x) {approximate = \"none\"}\n output y",
        ),
        (
            "input x: f32[5]\n const r: f32[] = [0.70710677]\n const one: f32[] = [1.0]\n const half: f32[] = [0.5]\n \
             d = Mul(x, r)\n e = Erf(d)\n b = Add(one, e)\n h = Mul(half, x)\n y = Mul(h, b)\n output y",
            "input x: f32[5]\n y = Gelu(x) {approximate = \"none\"}\n output y",
        ),
        (
            "input x: f32[5]\n const k: f32[] = [0.044715]\n const r: f32[] = [0.7978846]\n const three: f32[] = [3.0]\n \
             const one: f32[] = [1.0]\n const half: f32[] = [0.5]\n \
             p = Pow(x, three)\n c = Mul(k, p)\n s = Add(x, c)\n u = Mul(s, r)\n t = Tanh(u)\n b = Add(t, one)\n h = Mul(x, half)\n y = Mul(h, b)\n output y",
            "input x: f32[5]\n y = Gelu(x) {approximate = \"tanh\"}\n output y",
        ),
        (
            "input x: f32[5]\n p = Softplus(x)\n t = Tanh(p)\n y = Mul(x, t)\n output y",
            "input x: f32[5]\n y = Mish(x)\n output y",
        ),
        (
            "input x: f32[5]\n const z: f32[] = [0.0]\n y = Max(x, z)\n output y",
            "input x: f32[5]\n y = Relu(x)\n output y",
        ),
        (
            "input x: f32[5]\n const z: f32[1] = [-1.0]\n const h: f32[] = [2.0]\n t = Max(x, z)\n y = Min(h, t)\n output y",
            "input x: f32[5]\n const z: f32[] = [-1.0]\n const h: f32[] = [2.0]\n y = Clip(x, z, h)\n output y",
        ),
        (
            "input x: f32[5]\n const z: f32[] = [0.0]\n y = Clip(x, z)\n output y",
            "input x: f32[5]\n y = Relu(x)\n output y",
        ),
    ]);
}

#[test]
fn what_only_looks_like_an_activation_stays() {
    check(&[
        // The sigmoid is read elsewhere.
        (
            "input x: f32[5]\n s = Sigmoid(x)\n y = Mul(s, x)\n output y\n output s",
            "",
        ),
        (
            "input x: f32[5]\n s = Sigmoid(x)\n y = Mul(s, x)\n z = Neg(s)\n output y\n output z",
            "",
        ),
        // Another value.
        (
            "input x: f32[5]\n input w: f32[5]\n s = Sigmoid(x)\n y = Mul(s, w)\n output y",
            "",
        ),
        // Other constants.
        (
            "input x: f32[5]\n const a: f32[1] = [2.9]\n const lo: f32[] = [0.0]\n const hi: f32[] = [6.0]\n \
             t = Add(x, a)\n c = Clip(t, lo, hi)\n m = Mul(x, c)\n y = Div(m, hi)\n output y",
            "",
        ),
        (
            "input x: f32[5]\n h = HardSigmoid(x) {alpha = 0.2, beta = 0.5}\n y = Mul(x, h)\n output y",
            "",
        ),
        // A constant that raises the rank.
        (
            "input x: f32[5]\n const z: f32[1, 1] = [0.0]\n y = Max(x, z)\n output y",
            "",
        ),
        (
            "input x: f32[5]\n const z: f32[] = [0.0]\n const h: f32[] = [9.0]\n y = Clip(x, z, h)\n output y",
            "",
        ),
    ]);
}

#[test]
fn what_is_constant_for_each_channel_moves_into_the_weights() {
    let conv = "input x: f32[1, 1, 3]\n const w: f32[2, 1, 1] = [1.0, 2.0]";
    let cases = [
        (
            format!(
                "{conv}\n const s: f32[2] = [2.0, 4.0]\n const b: f32[2] = [1.0, 3.0]\n const m: f32[2] = [0.5, 0.25]\n const v: f32[2] = [4.0, 16.0]\n \
                 c = Conv(x, w)\n y = BatchNormalization(c, s, b, m, v) {{epsilon = 0.0}}\n output y"
            ),
            "input x: f32[1, 1, 3]\n const w: f32[2, 1, 1] = [1.0, 2.0]\n const b: f32[2] = [0.5, 2.75]\n y = Conv(x, w, b)\n output y".to_owned(),
        ),
        (
            "input x: f32[1, 2, 3]\n const w: f32[2, 2, 1] = [1.0, 2.0, 3.0, 4.0]\n const c: f32[2] = [1.0, 1.0]\n const s: f32[2] = [2.0, 4.0]\n const b: f32[2] = [1.0, 3.0]\n const m: f32[2] = [0.5, 0.0]\n const v: f32[2] = [1.0, 1.0]\n \
             t = ConvTranspose(x, w, c)\n y = BatchNormalization(t, s, b, m, v) {epsilon = 0.0}\n output y".to_owned(),
            "input x: f32[1, 2, 3]\n const w: f32[2, 2, 1] = [2.0, 8.0, 6.0, 16.0]\n const b: f32[2] = [2.0, 7.0]\n y = ConvTranspose(x, w, b)\n output y".to_owned(),
        ),
        (
            "input x: f32[3, 1]\n const w: f32[1, 2] = [1.0, 2.0]\n const c: f32[2] = [1.0, 1.0]\n const s: f32[2] = [2.0, 4.0]\n const b: f32[2] = [1.0, 3.0]\n const m: f32[2] = [0.5, 0.0]\n const v: f32[2] = [1.0, 1.0]\n \
             t = Gemm(x, w, c) {beta = 2.0}\n y = BatchNormalization(t, s, b, m, v) {epsilon = 0.0}\n output y".to_owned(),
            "input x: f32[3, 1]\n const w: f32[1, 2] = [2.0, 8.0]\n const b: f32[2] = [4.0, 11.0]\n y = Gemm(x, w, b)\n output y".to_owned(),
        ),
        (
            format!("{conv}\n const k: f32[2, 1] = [3.0, 5.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y"),
            "input x: f32[1, 1, 3]\n const w: f32[2, 1, 1] = [3.0, 10.0]\n y = Conv(x, w)\n output y".to_owned(),
        ),
        (
            format!("{conv}\n const k: f32[1, 2, 1] = [3.0, 5.0]\n const d: f32[] = [2.0]\n c = Conv(x, w)\n s = Sub(c, k)\n y = Div(s, d)\n output y"),
            "input x: f32[1, 1, 3]\n const w: f32[2, 1, 1] = [0.5, 1.0]\n const b: f32[2] = [-1.5, -2.5]\n y = Conv(x, w, b)\n output y".to_owned(),
        ),
        (
            "input x: f16[1, 1, 3]\n const w: f16[1, 1, 1] = [1.0]\n const k: f16[] = [3.0]\n c = Conv(x, w)\n y = Add(k, c)\n output y".to_owned(),
            "input x: f16[1, 1, 3]\n const w: f16[1, 1, 1] = [1.0]\n const b: f16[1] = [3.0]\n y = Conv(x, w, b)\n output y".to_owned(),
        ),
        // A constant for each place is none for each channel.
        (format!("{conv}\n const k: f32[3] = [3.0, 5.0, 1.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y"), String::new()),
        (format!("{conv}\n const k: f32[2, 1] = [3.0, 5.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y\n output c"), String::new()),
        ("input x: f32[1, 1, 3]\n input w: f32[2, 1, 1]\n const k: f32[2, 1] = [3.0, 5.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y".to_owned(), String::new()),
        // It raises the number of channels, or the rank.
        ("input x: f32[1, 1, 3]\n const w: f32[1, 1, 1] = [1.0]\n const k: f32[2, 1] = [3.0, 5.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y".to_owned(), String::new()),
        (format!("{conv}\n const k: f32[1, 1, 1, 1] = [3.0]\n c = Conv(x, w)\n y = Mul(k, c)\n output y"), String::new()),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (&**a, &**b)).collect();
    check(&cases);
}

#[test]
fn convolutions_take_activations_residuals_and_pads() {
    check(&[
        (
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 3]\n c = Conv(x, w) {pads = [1, 1]}\n y = Relu(c)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 3]\n y = com.microsoft::FusedConv(x, w) {pads = [1, 1], activation = \"Relu\"}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 1]\n const lo: f32[] = [0.0]\n const hi: f32[] = [6.0]\n c = Conv(x, w)\n y = Clip(c, lo, hi)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 1]\n y = com.microsoft::FusedConv(x, w) {activation = \"Clip\", activation_params = [0.0, 6.0]}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 1]\n c = Conv(x, w)\n s = Sigmoid(c)\n y = Mul(c, s)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[3, 2, 1]\n y = com.microsoft::FusedConv(x, w) {activation = \"Swish\", activation_params = [1.0]}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n input b: f32[2]\n c = Conv(x, w, b)\n s = Add(x, c)\n y = LeakyRelu(s) {alpha = 0.25}\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n input b: f32[2]\n y = com.microsoft::FusedConv(x, w, b, x) {activation = \"LeakyRelu\", activation_params = [0.25]}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n const s: f32[1] = [0.5]\n c = Conv(x, w)\n y = PRelu(c, s)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n y = com.microsoft::FusedConv(x, w) {activation = \"LeakyRelu\", activation_params = [0.5]}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 3]\n const p: i64[6] = [0, 0, 1, 0, 0, 2]\n d = Pad(x, p)\n y = Conv(d, w) {pads = [0, 1]}\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 3]\n y = Conv(x, w) {pads = [1, 3]}\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n const k: f32[1] = [2.0]\n const d: f32[1] = [0.5]\n c = Conv(x, w)\n r = Relu(c)\n m = Mul(k, r)\n y = Add(m, d)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n y = com.microsoft::FusedConv(x, w) {activation = \"Relu\", gain = 2.0, shift = 0.5}\n output y",
        ),
        // The sum stretches the convolution.
        (
            "input x: f32[2, 2, 4]\n input r: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n c = Conv(r, w)\n y = Add(x, c)\n output y",
            "",
        ),
        // The activation comes before the sum.
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n c = Conv(x, w)\n r = Relu(c)\n y = Add(x, r)\n output y",
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n r = com.microsoft::FusedConv(x, w) {activation = \"Relu\"}\n y = Add(x, r)\n output y",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n c = Conv(x, w)\n y = Relu(c)\n output y\n output c",
            "",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n c = Conv(x, w)\n y = Add(c, c)\n output y",
            "",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 1]\n c = Conv(x, w)\n y = Abs(c)\n output y",
            "",
        ),
        // Padding that is not zero, or of channels.
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 2, 3]\n const p: i64[6] = [0, 0, 1, 0, 0, 2]\n d = Pad(x, p) {mode = \"edge\"}\n y = Conv(d, w)\n output y",
            "",
        ),
        (
            "input x: f32[1, 2, 4]\n input w: f32[2, 3, 3]\n const p: i64[6] = [0, 0, 1, 0, 1, 2]\n d = Pad(x, p)\n y = Conv(d, w)\n output y",
            "",
        ),
    ]);
}

#[test]
fn normalisation_that_is_written_out_becomes_one_operator() {
    let head = "input x: f32[2, 3]\n const a: i64[1] = [-1]\n const two: f32[] = [2.0]\n const e: f32[] = [0.001]";
    let layer = format!(
        "{head}\n m = ReduceMean(x, a)\n d = Sub(x, m)\n p = Pow(d, two)\n v = ReduceMean(p, a)\n s = Add(v, e)\n r = Sqrt(s)"
    );
    let ones = "input x: f32[2, 3]\n const one: f32[3] = [1.0, 1.0, 1.0]";
    let cases = [
        (
            format!("{layer}\n y = Div(d, r)\n output y"),
            format!("{ones}\n y = LayerNormalization(x, one) {{axis = -1, epsilon = 0.001}}\n output y"),
        ),
        (
            format!("{layer}\n m2 = ReduceMean(x, a)\n d2 = Sub(x, m2)\n y = Div(d2, r)\n output y"),
            format!("{ones}\n y = LayerNormalization(x, one) {{axis = -1, epsilon = 0.001}}\n output y"),
        ),
        (
            format!("{layer}\n input g: f32[3]\n input b: f32[1, 3]\n n = Div(d, r)\n k = Mul(g, n)\n y = Add(k, b)\n output y"),
            "input x: f32[2, 3]\n input g: f32[3]\n input b: f32[1, 3]\n const s: i64[1] = [3]\n f = Reshape(b, s)\n y = LayerNormalization(x, g, f) {axis = -1, epsilon = 0.001}\n output y".to_owned(),
        ),
        (
            format!("{head}\n input g: f32[3]\n p = Mul(x, x)\n v = ReduceMean(p, a)\n s = Add(e, v)\n r = Sqrt(s)\n q = Reciprocal(r)\n n = Mul(x, q)\n y = Mul(n, g)\n output y"),
            "input x: f32[2, 3]\n input g: f32[3]\n y = RMSNormalization(x, g) {axis = -1, epsilon = 0.001}\n output y".to_owned(),
        ),
        (
            "input x: f32[1, 4, 2, 3]\n input g: f32[4, 1, 1]\n input b: f32[1, 4, 1, 1]\n const s: i64[3] = [0, 2, -1]\n const t: i64[4] = [1, 4, 2, 3]\n const one: f32[2] = [1.0, 1.0]\n const zero: f32[2] = [0.0, 0.0]\n \
             h = Reshape(x, s)\n n = InstanceNormalization(h, one, zero)\n k = Reshape(n, t)\n m = Mul(k, g)\n y = Add(m, b)\n output y".to_owned(),
            "input x: f32[1, 4, 2, 3]\n input g: f32[4, 1, 1]\n input b: f32[1, 4, 1, 1]\n const c: i64[1] = [4]\n p = Reshape(g, c)\n q = Reshape(b, c)\n y = GroupNormalization(x, p, q) {num_groups = 2}\n output y".to_owned(),
        ),
        // Another exponent, another axis, and a scale for each row.
        (
            format!("{head}\n const three: f32[] = [3.0]\n m = ReduceMean(x, a)\n d = Sub(x, m)\n p = Pow(d, three)\n q = Abs(p)\n v = ReduceMean(q, a)\n s = Add(v, e)\n r = Sqrt(s)\n y = Div(d, r)\n output y"),
            String::new(),
        ),
        (
            "input x: f32[2, 3]\n const a: i64[1] = [0]\n const e: f32[] = [0.001]\n m = ReduceMean(x, a)\n d = Sub(x, m)\n p = Mul(d, d)\n v = ReduceMean(p, a)\n s = Add(v, e)\n r = Sqrt(s)\n y = Div(d, r)\n output y".to_owned(),
            String::new(),
        ),
        (
            format!("{layer}\n input g: f32[2, 1]\n n = Div(d, r)\n y = Mul(g, n)\n output y"),
            format!("{ones}\n input g: f32[2, 1]\n n = LayerNormalization(x, one) {{axis = -1, epsilon = 0.001}}\n y = Mul(g, n)\n output y"),
        ),(
            // The mean is read elsewhere.
            format!("{layer}\n y = Div(d, r)\n output y\n output m"),
            "input x: f32[2, 3]\n const a: i64[1] = [-1]\n const one: f32[3] = [1.0, 1.0, 1.0]\n m = ReduceMean(x, a)\n d = Sub(x, m)\n y = RMSNormalization(d, one) {axis = -1, epsilon = 0.001}\n output y\n output m".to_owned()),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (&**a, &**b)).collect();
    check(&cases);
}

#[test]
fn products_take_what_stands_around_them() {
    check(&[
        (
            "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[4]\n m = MatMul(a, b)\n s = Add(c, m)\n y = Relu(s)\n output y",
            "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[4]\n y = sentinel::FusedMatMul(a, b, c) {activation = \"Relu\"}\n output y",
        ),
        (
            "input a: f32[2, 3]\n input b: f32[3, 3]\n input c: f32[1, 3]\n m = MatMul(a, b)\n s = Add(m, c)\n y = Add(a, s)\n output y",
            "input a: f32[2, 3]\n input b: f32[3, 3]\n input c: f32[1, 3]\n const n: i64[1] = [3]\n d = Reshape(c, n)\n y = sentinel::FusedMatMul(a, b, d, a)\n output y",
        ),
        (
            "input a: f32[2, 3]\n input b: f32[4, 3]\n input c: f32[4]\n m = Gemm(a, b, c) {transB = 1}\n y = Tanh(m)\n output y",
            "input a: f32[2, 3]\n input b: f32[4, 3]\n input c: f32[4]\n y = sentinel::FusedMatMul(a, b, c) {trans_b = 1, activation = \"Tanh\"}\n output y",
        ),
        (
            "input q: f32[2, 5, 3, 4]\n input k: f32[2, 5, 3, 4]\n const d: f32[] = [2.0]\n t = Transpose(k) {perm = [0, 1, 3, 2]}\n m = MatMul(q, t)\n y = Div(m, d)\n output y",
            "input q: f32[2, 5, 3, 4]\n input k: f32[2, 5, 3, 4]\n y = sentinel::FusedMatMul(q, k) {trans_b = 1, alpha = 0.5}\n output y",
        ),
        (
            "input q: f32[2, 5, 3, 4]\n input k: f32[2, 3, 5, 4]\n const d: f32[1] = [2.0]\n s = Mul(d, q)\n t = Transpose(k) {perm = [0, 2, 3, 1]}\n y = MatMul(s, t)\n output y",
            "input q: f32[2, 5, 3, 4]\n input k: f32[2, 3, 5, 4]\n t = Transpose(k) {perm = [0, 2, 1, 3]}\n y = sentinel::FusedMatMul(q, t) {trans_b = 1, alpha = 2.0}\n output y",
        ),
        (
            "input a: f32[4, 3]\n input b: f32[3, 6]\n input c: f32[6]\n input r: f32[2, 2, 6]\n const s: i64[3] = [2, 2, 6]\n m = MatMul(a, b)\n v = Reshape(m, s)\n t = Add(v, c)\n u = Add(r, t)\n y = Relu(u)\n output y",
            "input a: f32[4, 3]\n input b: f32[3, 6]\n input c: f32[6]\n input r: f32[2, 2, 6]\n const s: i64[3] = [2, 2, 6]\n const q: i64[2] = [4, 6]\n v = Reshape(r, q)\n m = sentinel::FusedMatMul(a, b, c, v) {activation = \"Relu\"}\n y = Reshape(m, s)\n output y",
        ),
        // The product is read elsewhere, is stretched, or is of vectors.
        (
            "input a: f32[2, 3]\n input b: f32[3, 4]\n m = MatMul(a, b)\n y = Relu(m)\n output y\n output m",
            "",
        ),
        (
            "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[5, 2, 4]\n m = MatMul(a, b)\n y = Add(m, c)\n output y",
            "",
        ),
        (
            "input a: f32[2, 3]\n input b: f32[3]\n input c: f32[2]\n m = MatMul(a, b)\n y = Add(m, c)\n output y",
            "",
        ),
        // A bias for each row.
        (
            "input a: f32[2, 3]\n input b: f32[3, 4]\n input c: f32[2, 1]\n m = MatMul(a, b)\n y = Add(m, c)\n output y",
            "",
        ),
        // Axes of the batch that move stay.
        (
            "input a: f32[2, 4, 3]\n input b: f32[3, 2, 4]\n t = Transpose(b) {perm = [1, 0, 2]}\n y = MatMul(a, t)\n output y",
            "",
        ),
    ]);
}

#[test]
fn what_moves_nothing_goes() {
    check(&[
        (
            "input x: f32[2, 3, 4]\n t = Transpose(x) {perm = [1, 2, 0]}\n y = Transpose(t) {perm = [0, 2, 1]}\n output y",
            "input x: f32[2, 3, 4]\n y = Transpose(x) {perm = [1, 0, 2]}\n output y",
        ),
        (
            "input x: f32[2, 1, 4]\n y = Transpose(x) {perm = [0, 2, 1]}\n output y",
            "input x: f32[2, 1, 4]\n const s: i64[3] = [2, 4, 1]\n y = Reshape(x, s)\n output y",
        ),
        (
            "input x: f32[2, 6]\n const s: i64[2] = [3, 4]\n const t: i64[2] = [4, -1]\n r = Reshape(x, s)\n y = Reshape(r, t)\n output y",
            "input x: f32[2, 6]\n const t: i64[2] = [4, -1]\n y = Reshape(x, t)\n output y",
        ),
        (
            "input x: f32[6]\n const z: i64[1] = [0]\n const e: i64[1] = [9]\n s = Slice(x, z, e, z)\n y = Neg(s)\n output y",
            "input x: f32[6]\n y = Neg(x)\n output y",
        ),
        (
            "input x: f32[1, 3]\n input k: f32[2, 3]\n const s: i64[2] = [2, 3]\n e = Expand(x, s)\n y = Add(e, k)\n output y",
            "input x: f32[1, 3]\n input k: f32[2, 3]\n y = Add(x, k)\n output y",
        ),
        (
            "input x: bool[3]\n i = Cast(x) {to = 7}\n y = Cast(i) {to = 1}\n output y",
            "input x: bool[3]\n y = Cast(x) {to = 1}\n output y",
        ),
        // Steps that turn around, and a type that loses digits.
        (
            "input x: f32[6]\n const z: i64[1] = [-1]\n const e: i64[1] = [-9]\n const a: i64[1] = [0]\n s = Slice(x, z, e, a, z)\n y = Neg(s)\n output y",
            "",
        ),
        (
            "input x: f32[3]\n i = Cast(x) {to = 7}\n y = Cast(i) {to = 1}\n output y",
            "",
        ),
        (
            "input x: f32[1, 3]\n input k: f32[1, 3]\n const s: i64[2] = [2, 3]\n e = Expand(x, s)\n y = Add(e, k)\n output y",
            "",
        ),
        (
            "input x: f32[2, 6]\n const s: i64[2] = [3, 4]\n const t: i64[3] = [0, 2, 2]\n r = Reshape(x, s)\n y = Reshape(r, t)\n output y",
            "",
        ),
    ]);
}

#[test]
fn elementwise_operators_in_a_row_become_one_node() {
    check_rewrite(
        passes::chain,
        &[
            (
                "input a: f32[2, 3]\n input b: f32[3]\n input c: f32[2, 3]\n m = Mul(a, b)\n n = Mul(c, c)\n s = Sub(m, n)\n y = LeakyRelu(s) {alpha = 0.5}\n output y",
                "input a: f32[2, 3]\n input b: f32[3]\n input c: f32[2, 3]\n y = sentinel::Elementwise(a, b, c) {steps = [\"Mul\", \"Mul\", \"Sub\", \"LeakyRelu\"], operands = [0, 1, 2, 2, 3, 4, 5, -1], alpha_3 = 0.5}\n output y",
            ),
            (
                "input a: f32[2, 3]\n m = Neg(a)\n y = Mul(m, m)\n output y",
                "input a: f32[2, 3]\n y = sentinel::Elementwise(a) {steps = [\"Neg\", \"Mul\"], operands = [0, -1, 1, 1]}\n output y",
            ),
            // What is stretched or read twice is computed once.
            (
                "input a: f32[2, 3]\n input b: f32[3]\n m = Exp(b)\n y = Mul(a, m)\n output y",
                "",
            ),
            (
                "input a: f32[2, 3]\n m = Exp(a)\n y = Neg(m)\n z = Abs(m)\n output y\n output z",
                "",
            ),
            // Integers have other rules.
            (
                "input a: i32[2, 3]\n m = Abs(a)\n y = Neg(m)\n output y",
                "",
            ),
        ],
    );
}
