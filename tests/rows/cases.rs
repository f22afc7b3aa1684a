//! The operators' own cases with rows on every axis of every choice of their inputs: where they
//! are said to be joinable, joined is as alone.
//!
//! `SENTINEL_OPS=Clip,Gemm` keeps to the operators named.

use std::collections::BTreeMap;
use std::rc::Rc;

use sentinel_inference::backend::cpu::evaluate;
use sentinel_inference::backend::webgpu::native::NativeDevice;
use sentinel_inference::backend::webgpu::{Device, Gpu};
use sentinel_inference::error::Result;
use sentinel_inference::graph::{Graph, Source, ValueId, specialize, text};
use sentinel_inference::ops::{OPS, OpDef};
use sentinel_inference::passes::{self, Batch, Rows};
use sentinel_inference::tensor::{DType, Dim, Fact, Tensor};

use super::difference::difference;
use super::gpu;
use super::joined::{Run, alone_and_joined_by, bound, rebatched, run};
use super::random::Random;
use super::tricky::TRICKY;

/// Sizes for the symbols of a case: each name gets one of them by its letters.
const SIZES: [&[i64]; 2] = [&[1], &[2, 3]];

/// Rows come in at most that many inputs besides all.
const MAX_CARRIERS: usize = 3;

const MAX_READABLE: usize = 7;
const MAX_AXES: usize = 3;

/// Operators with rules of their own that the CPU has: without a comparison nothing is said of them.
const COMPARED: &[&str] = &[
    "Attention",
    "Einsum",
    "GatherElements",
    "LSTM",
    "QLinearMatMul",
    "ScatterElements",
    "com.microsoft::SkipLayerNormalization",
];

/// Comparisons of one operator that the CPU does not have; a device takes longer.
const MAX_ON_DEVICE: usize = 60;

/// What a case says of the size of the batch.
#[derive(Clone, Copy, Debug)]
enum Leading {
    Symbol,
    Fixed(i64),
}

const LEADING: [Leading; 3] = [Leading::Symbol, Leading::Fixed(1), Leading::Fixed(2)];

#[derive(Default)]
struct Counts {
    asked: usize,
    joinable: usize,
    refused_alone: usize,
    compared: usize,
    on_device: usize,
}

fn defs() -> impl Iterator<Item = &'static OpDef> {
    let chosen = std::env::var("SENTINEL_OPS").ok();
    let is_chosen = move |def: &&OpDef| match &chosen {
        Some(names) => names.split(',').any(|name| name == def.name),
        None => true,
    };
    OPS.iter().copied().flatten().filter(is_chosen)
}

fn label(def: &OpDef) -> String {
    match def.domain {
        "" => def.name.to_owned(),
        domain => format!("{domain}::{}", def.name),
    }
}

/// The case with numbers for its symbols and nothing declared of what its nodes make.
fn prepared(case: &str, sizes: &[i64]) -> Graph {
    let mut graph = text::parse(case).expect(case);
    let lookup = |name: &str| {
        let sum: usize = name.bytes().map(usize::from).sum();
        Some(sizes[sum % sizes.len()])
    };
    specialize(&mut graph, &lookup);
    let made = graph
        .values()
        .filter(|(_, value)| !matches!(value.source, Source::Input { .. } | Source::Constant(_)));
    for id in made.map(|(id, _)| id).collect::<Vec<ValueId>>() {
        graph.value_mut(id).fact = Fact::default();
    }
    graph
}

/// What the nodes read and might carry rows: inputs, and constants in place of which rows may
/// come.
fn readable(graph: &Graph) -> Vec<ValueId> {
    let is_known = |id: &ValueId| {
        let fact = &graph.value(*id).fact;
        fact.sizes().is_some_and(|sizes| !sizes.is_empty())
    };
    let constants = graph
        .values()
        .filter(|(_, value)| matches!(value.source, Source::Constant(_)));
    let inputs = graph.inputs.iter().copied();
    let all = inputs.chain(constants.map(|(id, _)| id));
    all.filter(is_known).take(MAX_READABLE).collect()
}

/// The graph with rows on these axes, or `None` where an axis is missing.
fn with_rows(graph: &Graph, carriers: &[(ValueId, usize)], leading: Leading) -> Option<Graph> {
    let mut graph = graph.clone();
    for &(id, axis) in carriers {
        let value = graph.value_mut(id);
        value.fact.value = None;
        let dim = value.fact.shape.as_mut()?.0.get_mut(axis)?;
        *dim = match leading {
            Leading::Symbol => Dim::symbol("rows"),
            Leading::Fixed(n_rows) => Dim::Size(n_rows),
        };
        if !graph.inputs.contains(&id) {
            graph.value_mut(id).source = Source::Input { default: None };
            graph.inputs.push(id);
        }
    }
    Some(graph)
}

fn tensor(random: &mut Random, dtype: DType, sizes: &[usize]) -> Option<Tensor> {
    let n: usize = sizes.iter().product();
    let mut real = || (random.below(4001) as f64 - 2000.0) / 1000.0;
    let made = match dtype {
        DType::F32 => Tensor::from_vec(sizes, (0..n).map(|_| real() as f32).collect()),
        DType::F64 => Tensor::from_vec(sizes, (0..n).map(|_| real()).collect()),
        DType::F16 => {
            Tensor::from_vec(sizes, (0..n).map(|_| half::f16::from_f64(real())).collect())
        }
        DType::I64 => Tensor::from_vec(sizes, (0..n).map(|_| random.below(3) as i64).collect()),
        DType::I32 => Tensor::from_vec(sizes, (0..n).map(|_| random.below(3) as i32).collect()),
        DType::Bool | DType::U8 | DType::I8 => {
            let limit = if dtype == DType::Bool { 2 } else { 20 };
            let bytes: Vec<u8> = (0..n).map(|_| random.below(limit) as u8).collect();
            Tensor::from_bytes(dtype, sizes, bytes)
        }
        _ => return None,
    };
    made.ok()
}

/// Inputs of several items with some rows each; what is shared is the same in all.
fn items(graph: &Graph, rows: &Rows, n_items: usize, n_rows: usize) -> Option<Vec<Vec<Tensor>>> {
    let mut random = Random(n_items as u64);
    let mut items = vec![Vec::new(); n_items];
    for (&id, (_, axis)) in graph.inputs.iter().zip(&rows.inputs) {
        let fact = &graph.value(id).fact;
        let mut shape = fact.shape.clone()?;
        if let (Some(axis), Batch::Symbol(_)) = (axis, &rows.batch)
            && !shape[*axis].is_known()
        {
            shape.0[*axis] = Dim::from(n_rows);
        }
        let sizes = shape.sizes()?;
        let shared = tensor(&mut random, fact.dtype?, &sizes)?;
        for item in &mut items {
            item.push(match axis {
                None => shared.clone(),
                Some(_) => tensor(&mut random, fact.dtype?, &sizes)?,
            });
        }
    }
    Some(items)
}

/// How many rows an item has.
fn rows_in(item: &[Tensor], rows: &Rows) -> usize {
    let mut carried = item.iter().zip(&rows.inputs);
    let found = carried.find_map(|(tensor, (_, axis))| Some(tensor.sizes()[(*axis)?]));
    found.expect("rows that may be joined come in")
}

fn run_on_device(
    device: &Rc<Gpu<NativeDevice>>,
    mut graph: Graph,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>> {
    passes::prepare(&mut graph, &evaluate)?;
    let names = graph
        .inputs
        .iter()
        .map(|&id| graph.value(id).name.to_string());
    let feeds = names.zip(inputs.iter().cloned()).collect();
    gpu::run(
        device,
        gpu::whole(&graph, device.device.capabilities())?,
        feeds,
    )
}

fn check(
    graph: &Graph,
    axis: usize,
    device: Option<&Rc<Gpu<NativeDevice>>>,
    counts: &mut Counts,
) -> std::result::Result<(), String> {
    counts.asked += 1;
    let Ok((joined, rows)) = rebatched(graph.clone(), axis) else {
        return Ok(());
    };
    if rows.joinable.is_err() {
        return Ok(());
    }
    counts.joinable += 1;
    for (n_items, n_rows) in [(3, 1), (2, 2)] {
        let Some(items) = items(graph, &rows, n_items, n_rows) else {
            continue;
        };
        let n_alone = rows_in(&items[0], &rows);
        let (alone, joined) = (bound(graph, n_alone), bound(&joined, n_alone * n_items));
        let runs_on = |run: Run| items.iter().all(|item| run(alone.clone(), item).is_ok());
        let on_device = device.map(|device| {
            move |graph: Graph, inputs: &[Tensor]| run_on_device(device, graph, inputs)
        });
        let chosen: Run = match &on_device {
            _ if runs_on(&run) => &run,
            Some(on_device) if counts.on_device < MAX_ON_DEVICE && runs_on(on_device) => {
                counts.on_device += 1;
                on_device
            }
            _ => {
                counts.refused_alone += 1;
                continue;
            }
        };
        let pairs = alone_and_joined_by(chosen, &alone, &joined, &rows, &items);
        let pairs = pairs.map_err(|error| format!("{n_items} joined: {error}"))?;
        counts.compared += 1;
        for (alone, part) in pairs {
            if let Some(why) = difference(&part, &alone, 1e-5, 1e-5) {
                return Err(format!("{n_items} joined: {why}"));
            }
        }
    }
    Ok(())
}

/// Every choice of carriers and of one axis that all of them have the rows on, or the first of the
/// carriers on another than the rest.
fn choices(values: &[ValueId]) -> Vec<(Vec<(ValueId, usize)>, Leading)> {
    let mut choices = Vec::new();
    for subset in 1_usize..1 << values.len() {
        let members: Vec<ValueId> = (0..values.len())
            .filter(|idx| subset >> idx & 1 == 1)
            .map(|idx| values[idx])
            .collect();
        if members.len() > MAX_CARRIERS && members.len() < values.len() {
            continue;
        }
        for first in 0..MAX_AXES {
            let rest = if members.len() > 1 { MAX_AXES } else { 1 };
            for other in 0..rest {
                let axis = |idx: usize| if idx == 0 { first } else { other };
                let members = members.iter().enumerate();
                let carriers: Vec<_> = members.map(|(idx, &id)| (id, axis(idx))).collect();
                choices.extend(LEADING.map(|leading| (carriers.clone(), leading)));
            }
        }
    }
    choices
}

/// Every case with the name under which it is counted.
fn named_cases() -> impl Iterator<Item = (String, &'static str)> {
    let own = defs().flat_map(|def| def.cases.iter().map(move |case| (label(def), *case)));
    own.chain(TRICKY.iter().map(|case| ("tricky".to_owned(), *case)))
}

#[test]
fn cases_that_are_said_to_be_joinable_are() {
    let device = gpu::open();
    if let Err(error) = &device {
        gpu::say_skipped(&format!("operators that only devices have: {error}"));
    }
    let device = device.ok();
    let mut failed = Vec::new();
    let mut totals: BTreeMap<String, Counts> = BTreeMap::new();
    for (name, case) in named_cases() {
        let counts = totals.entry(name.clone()).or_default();
        for sizes in SIZES {
            let graph = prepared(case, sizes);
            for (carriers, leading) in choices(&readable(&graph)) {
                let Some(graph) = with_rows(&graph, &carriers, leading) else {
                    continue;
                };
                if let Err(why) = check(&graph, carriers[0].1, device.as_ref(), counts) {
                    failed.push(format!("{name}: {why}\n{}", text::print(&graph)));
                }
            }
        }
    }
    let sum = |of: fn(&Counts) -> usize| totals.values().map(of).sum::<usize>();
    println!(
        "{} asked, {} joinable, {} refused alone, {} compared",
        sum(|counts| counts.asked),
        sum(|counts| counts.joinable),
        sum(|counts| counts.refused_alone),
        sum(|counts| counts.compared)
    );
    for (name, counts) in &totals {
        let Counts {
            joinable,
            compared,
            on_device,
            ..
        } = counts;
        println!("{name:40} {joinable:6} joinable {compared:6} compared {on_device:6} on a device");
    }
    for name in COMPARED {
        let is_compared = totals.get(*name).is_none_or(|counts| counts.compared > 0);
        assert!(is_compared, "{name} is not compared");
    }
    assert!(
        failed.is_empty(),
        "{} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
