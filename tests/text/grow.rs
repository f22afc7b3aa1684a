//! Graphs from seeds: valid ones that use every corner of the graph's own form.

use sentinel_inference::graph::{Graph, Node, Source, ValueId};
use sentinel_inference::ops::{Attr, OpName};
use sentinel_inference::tensor::{DType, Dim, Fact, Kind, Shape, Tensor};

use crate::random::Random;

/// A graph that passes the verifier. `for_onnx` leaves out what ONNX cannot say: expressions, and
/// shapes without a type.
pub fn graph_from(seed: u64, for_onnx: bool) -> Graph {
    let mut random = Random(seed);
    let mut names = 0;
    let mut graph = grow(&mut random, for_onnx, &[], &mut names, 0);
    graph.opsets = [("", 17), ("com.microsoft", 1), ("odd domain\"", 2)]
        .map(|(domain, version)| (domain.into(), version))
        .into();
    set_opsets(&mut graph);
    graph
}

fn set_opsets(graph: &mut Graph) {
    let ids: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let opsets = graph.opsets.clone();
        for body in graph.node_mut(id).bodies.values_mut() {
            body.opsets = opsets.clone();
            set_opsets(body);
        }
    }
}

fn name(random: &mut Random, names: &mut usize) -> String {
    const STEMS: &[&str] = &[
        "x",
        "input",
        "const",
        "output",
        "_",
        "/layer/0",
        "a:0",
        "spaced name",
        "quote\"d",
        "ü",
        "7",
        "new\nline",
        "true",
        "inf",
        "..",
        "#",
        "back\\slash",
        "\u{7f}\0",
        "=",
        "then_branch {",
    ];
    *names += 1;
    format!("{}{names}", random.pick(STEMS))
}

fn dim(random: &mut Random, for_onnx: bool, depth: usize) -> Dim {
    match random.below(if for_onnx || depth > 3 { 5 } else { 10 }) {
        0 | 1 => Dim::Size(random.below(5) as i64),
        2 => Dim::symbol(random.pick(&["n", "batch", "max", "a b", "7x", "\"", "-1"])),
        3 => Dim::Unknown,
        4 => Dim::Size(i64::MAX),
        operator => {
            let left = dim(random, for_onnx, depth + 1);
            let right = dim(random, for_onnx, depth + 1);
            let result = match operator {
                5 => &left + &right,
                6 => &left - &right,
                7 => &left * &right,
                8 => left.floor_div(&right),
                _ => left.max(&right.min(&left)),
            };
            // A dimension is not negative.
            if result.value().is_some_and(|size| size < 0) {
                Dim::Unknown
            } else {
                result
            }
        }
    }
}

fn fact(random: &mut Random, for_onnx: bool) -> Fact {
    let dtypes: Vec<DType> = DType::all().collect();
    let rank = random.below(4);
    let dims = (0..rank).map(|_| dim(random, for_onnx, 0)).collect();
    let kinds = [
        Kind::Tensor,
        Kind::Tensor,
        Kind::Sequence,
        Kind::Optional,
        Kind::OptionalSequence,
    ];
    let is_typed = for_onnx || !random.chance(8);
    Fact {
        kind: random.pick(&kinds),
        dtype: is_typed.then(|| random.pick(&dtypes)),
        shape: (!random.chance(6)).then_some(Shape(dims)),
        value: None,
    }
}

fn tensor(random: &mut Random) -> Tensor {
    let dtypes: Vec<DType> = DType::all().collect();
    let dtype = random.pick(&dtypes);
    let sizes: Vec<usize> = (0..random.below(3)).map(|_| random.below(13)).collect();
    let count: usize = sizes.iter().product();
    if dtype == DType::Str {
        let texts = ["", "a", "\"", "line\nline", "é\u{202e}", "0x00"];
        let strings = (0..count).map(|_| random.pick(&texts).to_owned()).collect();
        return Tensor::from_strings(&sizes, strings).unwrap();
    }
    let n_bytes = dtype.size_bytes(count).unwrap();
    let bytes: Vec<u8> = match random.below(3) {
        0 => vec![0; n_bytes],
        1 => (0..n_bytes).map(|_| random.below(2) as u8).collect(),
        _ => (0..n_bytes).map(|_| random.next() as u8).collect(),
    };
    Tensor::from_bytes(dtype, &sizes, bytes).unwrap()
}

fn attr(random: &mut Random) -> Attr {
    let float = |random: &mut Random| match random.below(4) {
        0 => f32::from_bits(random.next() as u32),
        1 => random.pick(&[
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            f32::MIN_POSITIVE,
            1e-45,
        ]),
        _ => random.below(100) as f32 / 8.0,
    };
    let text = |random: &mut Random| {
        random
            .pick(&[&b"text"[..], b"", b"\"\n", &[0xff, 0], b"0x00"])
            .to_vec()
    };
    let n = random.below(4);
    match random.below(8) {
        0 => Attr::Float(float(random)),
        1 => Attr::Int(random.next() as i64 >> random.below(64)),
        2 => Attr::Str(text(random)),
        3 => Attr::Tensor(tensor(random)),
        4 => Attr::Floats((0..n).map(|_| float(random)).collect()),
        5 => Attr::Ints(
            (0..n)
                .map(|_| random.next() as i64 >> random.below(64))
                .collect(),
        ),
        6 => Attr::Strs((0..n).map(|_| text(random)).collect()),
        _ => Attr::Type(fact(random, true)),
    }
}

fn grow(
    random: &mut Random,
    for_onnx: bool,
    outer: &[String],
    names: &mut usize,
    depth: usize,
) -> Graph {
    let mut graph = Graph::default();
    let mut known: Vec<ValueId> = Vec::new();
    for _ in 0..random.below(3) + usize::from(depth == 0) {
        let name = name(random, names);
        let default = random.chance(4).then(|| tensor(random));
        let fact = match &default {
            Some(tensor) => Fact {
                value: None,
                ..Fact::of(tensor)
            },
            None => fact(random, for_onnx),
        };
        let id = graph
            .add_value(&name, fact, Source::Input { default })
            .unwrap();
        graph.inputs.push(id);
        known.push(id);
    }
    for _ in 0..random.below(3) {
        let name = name(random, names);
        known.push(graph.add_constant(&name, tensor(random)).unwrap());
    }
    for _ in 0..1 + random.below(5) {
        let mut inputs = Vec::new();
        for _ in 0..random.below(4) {
            inputs.push(match random.below(6) {
                0 => None,
                1 if !outer.is_empty() => {
                    let name = random.pick(outer);
                    Some(graph.find(&name).unwrap_or_else(|| {
                        graph
                            .add_value(&name, Fact::default(), Source::Capture)
                            .unwrap()
                    }))
                }
                _ if known.is_empty() => None,
                _ => Some(random.pick(&known)),
            });
        }
        let mut outputs = Vec::new();
        for _ in 0..1 + random.below(3) {
            let is_omitted = !outputs.is_empty() && random.chance(4);
            outputs.push((!is_omitted).then(|| {
                let name = name(random, names);
                let fact = if random.chance(2) {
                    fact(random, for_onnx)
                } else {
                    Fact::default()
                };
                graph.add_value(&name, fact, Source::Nothing).unwrap()
            }));
        }
        let domain = random.pick(&["", "com.microsoft", "odd domain\""]);
        let op = OpName::new(domain, random.pick(&["Add", "If", "Odd op", "2D"]));
        let mut node = Node::new(op, inputs, outputs.clone());
        if random.chance(2) {
            node.name = name(random, names).as_str().into();
        }
        for _ in 0..random.below(4) {
            let attr_name = name(random, names);
            node.attrs.set(&attr_name, attr(random));
        }
        if depth < 3 && random.chance(5) {
            let visible: Vec<String> = known
                .iter()
                .map(|&id| graph.value(id).name.to_string())
                .collect();
            let body = grow(random, for_onnx, &visible, names, depth + 1);
            node.bodies.insert("body {".into(), body);
        }
        graph.add_node(node).unwrap();
        known.extend(outputs.into_iter().flatten());
    }
    let mut outputs: Vec<ValueId> = (0..3).map(|_| random.pick(&known)).collect();
    outputs.sort();
    outputs.dedup();
    graph.outputs = outputs;
    graph
}
