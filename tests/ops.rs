//! Every operator's `cases` through inference, and the same graphs with hostile attributes,
//! constants and shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sentinel_inference::error::Error;
use sentinel_inference::graph::{Graph, NodeId, Source, ValueId, infer, specialize, text};
use sentinel_inference::kernel::Capabilities;
use sentinel_inference::ops::{Attr, OPS, OpDef};
use sentinel_inference::plan::lower;
use sentinel_inference::tensor::{DType, Dim, Fact, Shape, Tensor};

fn defs() -> impl Iterator<Item = &'static OpDef> {
    OPS.iter().copied().flatten()
}

fn label(def: &OpDef) -> String {
    format!("{}::{}", def.domain, def.name)
}

fn shown(fact: &Fact) -> String {
    let dtype = fact.dtype.map_or("?", DType::name);
    let shape = fact
        .shape
        .as_ref()
        .map_or_else(String::new, Shape::to_string);
    format!("{:?} {dtype}{shape}", fact.kind)
}

/// What differs between what a case declares of its outputs and what inference finds.
fn check(case: &str) -> Result<(), String> {
    let mut graph = text::parse(case).map_err(|error| error.to_string())?;
    if graph.outputs.is_empty() {
        return Err("the case declares no output".into());
    }
    let outputs = graph.outputs.clone();
    let declared: Vec<Fact> = outputs
        .iter()
        .map(|&id| std::mem::take(&mut graph.value_mut(id).fact))
        .collect();
    infer(&mut graph).map_err(|error| error.to_string())?;
    for (&id, declared) in outputs.iter().zip(declared) {
        let value = graph.value(id);
        let found = Fact {
            value: None,
            ..value.fact.clone()
        };
        if found != declared {
            let (found, declared) = (shown(&found), shown(&declared));
            return Err(format!(
                "{}: found {found}, declared {declared}",
                value.name
            ));
        }
    }
    Ok(())
}

#[test]
fn cases_infer_what_they_declare() {
    let mut failed = Vec::new();
    let mut n_cases = 0;
    for def in defs() {
        for case in def.cases {
            n_cases += 1;
            if let Err(why) = check(case) {
                failed.push(format!("{}: {why}\n {case}\n", label(def)));
            }
        }
    }
    println!("{n_cases} cases of {} operators", defs().count());
    assert!(
        failed.is_empty(),
        "{} of {n_cases} cases fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn every_operator_is_defined_once_and_has_a_case() {
    let mut seen = BTreeSet::new();
    for def in defs() {
        assert!(seen.insert(label(def)), "{} is defined twice", label(def));
        let uses = |case: &&str| {
            let graph = text::parse(case).unwrap_or_default();
            let mut nodes = graph.nodes();
            nodes.any(|(_, node)| &*node.op.domain == def.domain && &*node.op.name == def.name)
        };
        assert!(
            def.cases.iter().any(uses),
            "no case of {} uses it",
            label(def)
        );
    }
}

/// Numbers for symbols: each name gets one of them by its letters.
const SIZES: [&[i64]; 6] = [&[0], &[1], &[2], &[1, 3, 4], &[7, 9, 6, 4], &[12, 8, 48]];

/// What differs between the symbolic sizes with numbers put in, and those found from numbers.
fn compare_bound(graph: &Graph, sizes: &[i64]) -> Result<bool, String> {
    let lookup = |name: &str| {
        let sum: usize = name.bytes().map(usize::from).sum();
        Some(sizes[sum % sizes.len()])
    };
    let (mut symbolic, mut bound) = (graph.clone(), graph.clone());
    for &id in &graph.outputs {
        symbolic.value_mut(id).fact = Fact::default();
        bound.value_mut(id).fact = Fact::default();
    }
    infer(&mut symbolic).map_err(|error| error.to_string())?;
    specialize(&mut bound, &lookup);
    if infer(&mut bound).is_err() {
        // The symbols cannot have these sizes.
        return Ok(false);
    }
    for (id, value) in symbolic.values() {
        let (Some(general), Some(special)) = (&value.fact.shape, &bound.value(id).fact.shape)
        else {
            continue;
        };
        let general = general.bind(&lookup);
        let differ = |(a, b): (&Dim, &Dim)| a.is_known() && a != b;
        if general.rank() != special.rank() || general.iter().zip(special.iter()).any(differ) {
            let name = &value.name;
            return Err(format!(
                "{name} is {general} with {sizes:?} put in late, {special} early"
            ));
        }
    }
    Ok(true)
}

#[test]
fn symbols_give_the_same_sizes_whether_bound_early_or_late() {
    let (mut failed, mut n_bound) = (Vec::new(), 0);
    for def in defs() {
        for case in def.cases {
            let Ok(graph) = text::parse(case) else {
                continue;
            };
            for sizes in SIZES {
                match compare_bound(&graph, sizes) {
                    Ok(bound) => n_bound += usize::from(bound),
                    Err(why) => failed.push(format!("{}: {why}\n {case}\n", label(def))),
                }
            }
        }
    }
    println!("{n_bound} graphs with numbers put in");
    assert!(
        failed.is_empty(),
        "{} graphs:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Graphs that can never be right, and what is said of them.
const REFUSALS: &[(&str, &str)] = &[
    (
        "input x: f32[2, 3]\n input y: f32[4]\n z = Add(x, y) @sum\n output z",
        "Add sum: [2, 3] and [4] do not broadcast",
    ),
    (
        "input x: f32[2]\n input y: i64[2]\n z = Mul(x, y)\n output z",
        "Mul: input 0 is f32, input 1 is i64",
    ),
    (
        "input x: i64[2]\n z = Sin(x)\n output z",
        "Sin: input 0 is i64, expected a float type",
    ),
    (
        "input x: seq(f32[2])\n z = Relu(x)\n output z",
        "Relu: input 0 is Sequence, not a tensor",
    ),
    (
        "input x: f32[2]\n z = Where(x, x, x)\n output z",
        "Where: input 0 is f32, expected bool",
    ),
    (
        "input x: f32[3, 1]\n input slope: f32[3, 2]\n z = PRelu(x, slope)\n output z",
        "PRelu: slope [3, 2] does not broadcast to [3, 1]",
    ),
    (
        "input x: f32[n, 3]\n const s: i64[2] = [4, -2]\n z = Reshape(x, s)\n output z",
        "Reshape: [n, 3] to [4, -2]: a size is below -1",
    ),
    (
        "input x: f32[5, 3]\n const s: i64[2] = [-1, 4]\n z = Reshape(x, s)\n output z",
        "Reshape: [5, 3] to [-1, 4]: the element count is no multiple of the other sizes",
    ),
    (
        "input x: f32[5, 3]\n const s: i64[2] = [4, 4]\n z = Reshape(x, s)\n output z",
        "Reshape: [5, 3] to [4, 4]: 15 elements cannot be 16",
    ),
    (
        "input x: f32[3]\n const s: i64[2] = [3, 0]\n z = Reshape(x, s)\n output z",
        "Reshape: [3] to [3, 0]: a 0 stands where the input has no axis",
    ),
    (
        "input x: f32[0, 3]\n const s: i64[2] = [0, -1]\n z = Reshape(x, s)\n output z",
        "Reshape: [0, 3] to [0, -1]: beside a size of 0, -1 can be anything",
    ),
    (
        "input x: f32[2, n]\n const a: i64[1] = [0]\n z = Squeeze(x, a)\n output z",
        "Squeeze: axis 0 of [2, n] is not 1",
    ),
    (
        "input x: f32[2, n]\n z = Transpose(x) {perm = [0, 1, 2]}\n output z",
        "Transpose: perm has 3 axes, the input is [2, n]",
    ),
    (
        "input x: f32[2, n]\n z = Transpose(x) {perm = [0, 0]}\n output z",
        "Transpose: axis 0 comes twice in [0, 0]",
    ),
    (
        "input x: f32[2, 3]\n input y: f32[n, 4]\n z = Concat(x, y) {axis = 0}\n output z",
        "Concat: input 1 is [n, 4], those before are [2, 3], on axis 0",
    ),
    (
        "input x: f32[2]\n z = Concat(x)\n output z",
        "Concat: attribute axis is missing or has another type",
    ),
    (
        "opset 11\n input x: f32[7]\n y, z = Split(x)\n output y\n output z",
        "Split: parts [3, 3] do not fill a size of 7 for 2 outputs",
    ),
    (
        "input x: f32[4]\n const a: i64[1] = [0]\n z = Slice(x, a, a, a, a)\n output z",
        "Slice: the step of axis 0 is 0",
    ),
    (
        "input x: f32[4]\n const a: i64[2] = [0, 0]\n z = Slice(x, a, a)\n output z",
        "Slice: 2 starts, 2 ends, 2 steps for 2 axes of [4]",
    ),
    (
        "input x: f32[4, n]\n const i: i64[1] = [4]\n z = Gather(x, i)\n output z",
        "Gather: index 4 is outside axis 0 of [4, n]",
    ),
    (
        "input x: f32[4, n]\n input i: i64[2, 3]\n z = GatherND(x, i)\n output z",
        "GatherND: [2, 3] cannot index [4, n] with batch_dims 0",
    ),
    (
        "input x: f32[4, 5]\n input i: i64[2, 1]\n input u: f32[2, 6]\n z = ScatterND(x, i, u)\n output z",
        "ScatterND: indexed places and updates differ: [2, 5] and [2, 6]",
    ),
    (
        "input x: f32[3]\n const p: i64[2] = [-2, -2]\n z = Pad(x, p)\n output z",
        "Pad: the pads leave a size of -1 on axis 0",
    ),
    (
        "input x: f32[3]\n input p: i64[3]\n z = Pad(x, p)\n output z",
        "Pad: 3 pads for 1 axes of [3]",
    ),
    (
        "input x: f32[1, 6, 2, 2]\n z = DepthToSpace(x) {blocksize = 2}\n output z",
        "DepthToSpace: depth 6 is no multiple of 4",
    ),
    (
        "input x: f32[n, 3]\n const a: i64[1] = [2]\n z = ReduceSum(x, a)\n output z",
        "ReduceSum: axis 2 is outside a rank of 2",
    ),
    (
        "input x: f32[n, 3]\n const k: i64[1] = [4]\n y, z = TopK(x, k)\n output z",
        "TopK: k is 4 for axis 1 of [n, 3]",
    ),
    (
        "input x: f32[3]\n z = BitCast(x) {to = 7}\n output z",
        "BitCast: f32 has other bits than i64",
    ),
    (
        "input x: f32[3]\n z = Cast(x) {to = 99}\n output z",
        "Cast: attribute to is 99, which is no element type",
    ),
    (
        "const a: i64[] = [0]\n z = Range(a, a, a)\n output z",
        "Range: a delta of 0",
    ),
    (
        "input x: f32[2]\n z = Add(x)\n output z",
        "Add: input 1 is missing",
    ),
];

#[test]
fn graphs_that_can_never_be_right_are_refused_by_name_and_numbers() {
    let mut failed = Vec::new();
    for (graph, why) in REFUSALS {
        let found = text::parse(graph).and_then(|mut graph| infer(&mut graph));
        let found = found.map_or_else(|error| error.to_string(), |()| "nothing wrong".into());
        if found != *why {
            failed.push(format!("found {found:?}, expected {why:?}\n {graph}\n"));
        }
    }
    assert!(
        failed.is_empty(),
        "{} refusals:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Attributes of every type with values that break arithmetic.
fn hostile_attrs() -> Vec<Attr> {
    let numbers = [i64::MIN, -1, 0, 1, 3, 1 << 32, i64::MAX];
    let mut attrs: Vec<Attr> = numbers.into_iter().map(Attr::Int).collect();
    attrs.extend(
        [
            vec![],
            vec![0],
            vec![i64::MIN; 2],
            vec![i64::MAX; 3],
            vec![-1; 8],
        ]
        .map(Attr::Ints),
    );
    attrs.extend(
        [
            vec![],
            vec![f32::NAN; 4],
            vec![f32::INFINITY],
            vec![0.0, -1.0],
        ]
        .map(Attr::Floats),
    );
    attrs.extend([f32::NAN, -0.0, f32::MAX].map(Attr::Float));
    attrs.extend([b"".to_vec(), b"->".to_vec(), vec![0xff]].map(Attr::Str));
    attrs.push(Attr::Strs(vec![vec![0xff], vec![]]));
    attrs.push(Attr::Tensor(Tensor::vector::<i64>(&[])));
    attrs.push(Attr::Tensor(Tensor::scalar(i64::MIN)));
    attrs
}

/// Constants of the type of `like`, where integers are its type.
fn hostile_constants(like: &Tensor) -> Vec<Tensor> {
    let vectors: [&[i64]; 7] = [
        &[],
        &[0],
        &[i64::MIN],
        &[i64::MAX, i64::MAX],
        &[-1, -1],
        &[0, 0, 0, 0],
        &[1 << 40; 5],
    ];
    match like.dtype() {
        DType::I64 => {
            let scalars = [i64::MIN, -1, 0, i64::MAX].map(Tensor::scalar);
            vectors
                .into_iter()
                .map(Tensor::vector)
                .chain(scalars)
                .collect()
        }
        DType::F32 => {
            let vectors: [&[f32]; 3] = [&[], &[f32::NAN; 2], &[0.0, -1.0, f32::INFINITY, 1e30]];
            let scalars = [f32::NAN, 0.0, f32::MAX].map(Tensor::scalar);
            vectors
                .into_iter()
                .map(Tensor::vector)
                .chain(scalars)
                .collect()
        }
        _ => Vec::new(),
    }
}

fn hostile_facts(fact: &Fact) -> Vec<Fact> {
    let with = |shape: Option<Shape>| Fact {
        shape,
        value: None,
        ..fact.clone()
    };
    let huge = Dim::Size(i64::MAX);
    let rank = fact.shape.as_ref().map_or(2, |shape| shape.rank());
    vec![
        with(None),
        with(Some(Shape::scalar())),
        with(Some(Shape::known(&[0]))),
        with(Some(Shape(vec![Dim::Size(0); rank]))),
        with(Some(Shape(vec![huge; rank]))),
        with(Some(Shape::unknown(rank))),
        with(Some(Shape::unknown(100))),
        with(Some(vec![Dim::symbol("q"); rank + 1].into_iter().collect())),
        Fact {
            dtype: None,
            ..fact.clone()
        },
        Fact {
            dtype: Some(DType::Str),
            ..fact.clone()
        },
    ]
}

/// Every change of one thing in a graph, each as its name and the changed graph.
fn changes(graph: &Graph, attr_names: &BTreeSet<String>, change: &mut impl FnMut(String, Graph)) {
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        for name in attr_names {
            for attr in hostile_attrs() {
                let mut changed = graph.clone();
                let what = format!("{name} = {attr:?} in {}", graph.node(id).label());
                changed.node_mut(id).attrs.set(name, attr);
                change(what, changed);
            }
            let mut changed = graph.clone();
            changed.node_mut(id).attrs.remove(name);
            change(format!("{name} removed"), changed);
        }
        for idx in 0..graph.node(id).inputs.len() {
            let mut changed = graph.clone();
            changed.node_mut(id).inputs[idx] = None;
            change(
                format!("input {idx} of {} left out", graph.node(id).label()),
                changed,
            );
            let mut changed = graph.clone();
            changed.node_mut(id).inputs.truncate(idx);
            change(
                format!("{idx} inputs of {}", graph.node(id).label()),
                changed,
            );
        }
    }
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        let value = graph.value(id);
        match &value.source {
            Source::Constant(tensor) => {
                for tensor in hostile_constants(tensor) {
                    let mut changed = graph.clone();
                    let what = format!("{} = {tensor:?}", value.name);
                    changed.value_mut(id).fact = Fact::of(&tensor);
                    changed.value_mut(id).source = Source::Constant(tensor);
                    change(what, changed);
                }
            }
            Source::Input { .. } => {
                for fact in hostile_facts(&value.fact) {
                    let mut changed = graph.clone();
                    let what = format!("{}: {}", value.name, shown(&fact));
                    changed.value_mut(id).fact = fact;
                    change(what, changed);
                }
            }
            _ => {}
        }
    }
}

/// A size of an output that is no size.
fn bad_size(graph: &Graph) -> Option<String> {
    graph.values().find_map(|(_, value)| {
        let shape = value.fact.shape.as_ref()?;
        let negative = shape
            .iter()
            .any(|dim| matches!(dim, Dim::Size(n) if *n < 0));
        negative.then(|| format!("{} has shape {shape}", value.name))
    })
}

/// Asks every node for its kernels, on each kind of device; a refusal is an answer.
fn lower_all(graph: &Graph) {
    for software in [false, true] {
        let caps = Capabilities {
            software,
            ..Capabilities::default()
        };
        for (id, _) in graph.nodes() {
            let _ = lower(graph, id, &caps);
        }
    }
}

#[test]
fn hostile_attributes_constants_and_shapes_never_panic() {
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    let mut n_graphs = 0;
    for family in OPS {
        let cases = family
            .iter()
            .flat_map(|def| def.cases.iter().map(move |case| (def, case)));
        let cases: Vec<_> = cases
            .filter_map(|(def, case)| Some((def, case, text::parse(case).ok()?)))
            .collect();
        let names: BTreeSet<String> = cases
            .iter()
            .flat_map(|(_, _, graph)| graph.nodes())
            .flat_map(|(_, node)| node.attrs.iter().map(|(name, _)| name.to_owned()))
            .collect();
        for (def, case, graph) in cases {
            changes(&graph, &names, &mut |what, mut changed| {
                n_graphs += 1;
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    infer(&mut changed)?;
                    lower_all(&changed);
                    Ok::<(), Error>(())
                }));
                let wrong = match outcome {
                    Err(_) => Some("panics".to_owned()),
                    Ok(Ok(())) => bad_size(&changed),
                    Ok(Err(_)) => None,
                };
                if let Some(wrong) = wrong {
                    failed
                        .entry(label(def))
                        .or_insert(format!("{wrong} with {what}\n {case}"));
                }
            });
        }
    }
    println!("{n_graphs} changed graphs");
    let failed: Vec<String> = failed
        .iter()
        .map(|(op, why)| format!("{op}: {why}\n"))
        .collect();
    assert!(
        failed.is_empty(),
        "{} operators:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
