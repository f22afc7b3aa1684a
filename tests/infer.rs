//! Inference against what models declare and against what they really give: the ONNX backend
//! suite with its expected outputs, and the real models of `tests/fixtures`, `target/models` and
//! `../shared/models`.

#[expect(
    dead_code,
    reason = "comparing elements is for the tests that run models"
)]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sentinel_inference::graph::{Graph, Source, ValueId, infer, specialize};
use sentinel_inference::model::onnx::{FolderExternal, MapExternal, read};
use sentinel_inference::ops;
use sentinel_inference::tensor::{Dim, Fact, Kind, Shape, Tensor};

fn shown(fact: &Fact) -> String {
    let dtype = fact
        .dtype
        .map_or_else(|| "?".to_owned(), |dtype| dtype.to_string());
    let shape = fact
        .shape
        .as_ref()
        .map_or_else(String::new, Shape::to_string);
    format!("{dtype}{shape}")
}

/// True when both cannot be true of one value: types, ranks, or two numbers differ.
fn contradicts(a: &Fact, b: &Fact) -> bool {
    if a.dtype.zip(b.dtype).is_some_and(|(a, b)| a != b) {
        return true;
    }
    let (Some(a), Some(b)) = (&a.shape, &b.shape) else {
        return false;
    };
    let differ = |(a, b): (&Dim, &Dim)| a.is_known() && b.is_known() && a != b;
    a.rank() != b.rank() || a.iter().zip(b.iter()).any(differ)
}

/// Infers `graph` and names every value that contradicts what `known` says of it.
fn contradictions(
    graph: &mut Graph,
    known: impl Fn(&str) -> Option<Fact>,
    at: &str,
    failed: &mut Vec<String>,
) {
    if let Err(error) = infer(graph) {
        failed.push(format!("{at}: {error}"));
        return;
    }
    for (_, value) in graph.values() {
        let Some(known) = known(&value.name) else {
            continue;
        };
        if contradicts(&value.fact, &known) {
            let node = match &value.source {
                Source::Node { node, .. } => graph.node(*node).label(),
                _ => String::new(),
            };
            let (found, known) = (shown(&value.fact), shown(&known));
            failed.push(format!(
                "{at}: {node} {}: found {found}, is {known}",
                value.name
            ));
        }
    }
}

fn declared(graph: &Graph) -> BTreeMap<String, Fact> {
    let pairs = graph
        .values()
        .map(|(_, value)| (value.name.to_string(), value.fact.clone()));
    pairs.collect()
}

/// The same graph without what it declares of values that nodes make.
fn forgetful(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let ids: Vec<_> = graph.values().map(|(id, _)| id).collect();
    for id in ids {
        let value = graph.value_mut(id);
        if matches!(value.source, Source::Node { .. }) {
            value.fact = Fact::default();
        }
    }
    graph
}

/// Operators of a graph and its bodies.
fn operators(graph: &Graph, found: &mut BTreeSet<(bool, String)>) {
    for (_, node) in graph.nodes() {
        let has_rule = ops::find(&node.op).is_some() || !node.bodies.is_empty();
        found.insert((has_rule, node.op.to_string()));
        for body in node.bodies.values() {
            operators(body, found);
        }
    }
}

fn report(what: &str, operators: &BTreeSet<(bool, String)>, graphs: &[Graph]) {
    let without: Vec<&str> = operators
        .iter()
        .filter(|(has_rule, _)| !has_rule)
        .map(|(_, name)| &**name)
        .collect();
    let outputs = graphs
        .iter()
        .flat_map(|graph| graph.outputs.iter().map(|&id| graph.value(id)));
    let (mut full, mut ranked, mut all) = (0, 0, 0);
    for value in outputs {
        all += 1;
        ranked += usize::from(value.fact.shape.is_some());
        full += usize::from(value.fact.sizes().is_some());
    }
    println!(
        "{what}: {} models, rules for {} of {} operators, outputs: {full} with numbers, {ranked} \
         with rank, of {all}; without a rule: {without:?}",
        graphs.len(),
        operators.len() - without.len(),
        operators.len(),
    );
}

#[test]
fn the_suite_gives_what_is_inferred() {
    let mut failed = Vec::new();
    let mut found = BTreeSet::new();
    let (mut with_shapes, mut with_values) = (Vec::new(), Vec::new());
    for case in suite::cases() {
        let at = &case.name;
        let Ok(model) = read(case.model.clone(), &MapExternal::default()) else {
            continue;
        };
        operators(&model.graph, &mut found);
        let facts = declared(&model.graph);
        let mut graph = forgetful(&model.graph);
        contradictions(&mut graph, |name| facts.get(name).cloned(), at, &mut failed);
        with_shapes.push(graph);

        let mut graph = forgetful(&model.graph);
        let outputs: Vec<&str> = model
            .graph
            .outputs
            .iter()
            .map(|&id| name(&model.graph, id))
            .collect();
        let expected = outputs.iter().zip(&case.outputs);
        let expected: BTreeMap<&str, Fact> = expected
            .filter_map(|(name, bytes)| Some((*name, Fact::of(&suite::tensor(bytes)?))))
            .collect();
        let tensors: Vec<Option<Tensor>> = case.inputs.iter().map(suite::tensor).collect();
        for (&id, tensor) in model.graph.inputs.iter().zip(tensors) {
            if let Some(tensor) = tensor
                && model.graph.value(id).fact.kind == Kind::Tensor
            {
                graph.value_mut(id).fact = Fact::of(&tensor);
                graph.value_mut(id).source = Source::Constant(tensor);
            }
        }
        let at = format!("{at} with its inputs as constants");
        contradictions(
            &mut graph,
            |name| expected.get(name).cloned(),
            &at,
            &mut failed,
        );
        for (name, expected) in &expected {
            let value = graph.value(graph.find(name).expect("the output is in the graph"));
            let pairs = value
                .fact
                .value
                .iter()
                .flatten()
                .zip(expected.value.iter().flatten());
            let mut wrong = pairs.filter(|(found, is)| found.is_known() && found != is);
            if let Some((found, is)) = wrong.next() {
                failed.push(format!("{at}: {name}: found an element {found}, is {is}"));
            }
        }
        with_values.push(graph);
    }
    report("suite, declared inputs", &found, &with_shapes);
    report("suite, constant inputs", &found, &with_values);
    assert!(
        failed.is_empty(),
        "{} contradictions:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn name(graph: &Graph, id: ValueId) -> &str {
    &graph.value(id).name
}

/// Real models by file name, from whatever folders are here.
fn model_files() -> BTreeMap<String, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "tests/fixtures/models",
        "tests/fixtures/digits",
        "target/models",
        "../shared/models/onnx",
        "../shared/models/torch",
        "../shared/models/digits",
    ];
    let mut files = BTreeMap::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: no folder {folder}");
            continue;
        };
        for entry in entries {
            let path = entry.expect("a folder that can be read").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "onnx")
            {
                let name = path
                    .file_name()
                    .expect("a file")
                    .to_string_lossy()
                    .into_owned();
                files.entry(name).or_insert(path);
            }
        }
    }
    files
}

/// Real models by file name; what cannot be read is a failure.
fn real_models(failed: &mut Vec<String>) -> Vec<(String, Graph)> {
    let mut graphs = Vec::new();
    for (at, path) in model_files() {
        let bytes = std::fs::read(&path).expect("the file can be read");
        match read(bytes.into(), &FolderExternal::beside(&path)) {
            Ok(model) => graphs.push((at, model.graph)),
            Err(error) => failed.push(format!("{at}: {error}")),
        }
    }
    graphs
}

/// How many values that nodes make have a known rank, how many have numbers only, of how many.
fn known(graph: &Graph) -> (usize, usize, usize) {
    let made = graph
        .values()
        .filter(|(_, value)| matches!(value.source, Source::Node { .. }));
    made.fold((0, 0, 0), |(ranked, full, all), (_, value)| {
        let has_rank = usize::from(value.fact.shape.is_some());
        (
            ranked + has_rank,
            full + usize::from(value.fact.sizes().is_some()),
            all + 1,
        )
    })
}

#[test]
fn real_models_infer_what_they_declare() {
    let (mut failed, mut found) = (Vec::new(), BTreeSet::new());
    let mut graphs = Vec::new();
    for (at, model) in real_models(&mut failed) {
        operators(&model, &mut found);
        let facts = declared(&model);
        let mut graph = forgetful(&model);
        contradictions(
            &mut graph,
            |name| facts.get(name).cloned(),
            &at,
            &mut failed,
        );
        let (ranked, full, all) = known(&graph);
        println!("{at}: of {all} values {ranked} with rank, {full} with numbers");
        graphs.push(graph);
    }
    report("real models", &found, &graphs);
    assert!(
        failed.is_empty(),
        "{} contradictions:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Puts one number in place of every symbol, and of every input size without a name.
fn bind_inputs(graph: &mut Graph, size: i64) {
    specialize(graph, &|_| Some(size));
    for id in graph.inputs.clone() {
        let shape = graph.value_mut(id).fact.shape.iter_mut();
        for dim in shape.flat_map(|shape| &mut shape.0) {
            if *dim == Dim::Unknown {
                *dim = Dim::Size(size);
            }
        }
    }
}

#[test]
fn real_models_have_the_same_sizes_whether_symbols_are_bound_early_or_late() {
    let mut failed = Vec::new();
    for (at, model) in real_models(&mut failed) {
        let mut symbolic = forgetful(&model);
        if let Err(error) = infer(&mut symbolic) {
            failed.push(format!("{at}: {error}"));
            continue;
        }
        let mut counts = Vec::new();
        for size in [1, 2, 64, 160] {
            let lookup = |_: &str| Some(size);
            let mut bound = forgetful(&model);
            bind_inputs(&mut bound, size);
            if let Err(error) = infer(&mut bound) {
                counts.push(format!("{size} refused ({error})"));
                continue;
            }
            let (_, full, all) = known(&bound);
            counts.push(format!("{size}: {full} of {all}"));
            for (id, value) in symbolic.values() {
                let late = Fact {
                    shape: value.fact.shape.as_ref().map(|shape| shape.bind(&lookup)),
                    ..value.fact.clone()
                };
                let early = &bound.value(id).fact;
                if contradicts(&late, early) {
                    let (late, early) = (shown(&late), shown(early));
                    failed.push(format!("{at}: {}: late {late}, early {early}", value.name));
                }
            }
        }
        println!("{at}: values with numbers, by size: {}", counts.join(", "));
    }
    assert!(
        failed.is_empty(),
        "{} differences:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
