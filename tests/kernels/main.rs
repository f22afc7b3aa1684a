//! Kernels on a device of this machine against the `cpu` backend, on the operators' own cases; and
//! the text of every kernel through naga, which needs no device.
//!
//! `SENTINEL_OPS=Conv,MaxPool` keeps to the operators named.

#[path = "../difference/mod.rs"]
mod difference;
mod generated;
#[path = "../gpu/mod.rs"]
mod gpu;
#[path = "../random/mod.rs"]
mod random;

use std::collections::{BTreeMap, HashMap};

use naga::valid::{Capabilities as NagaCapabilities, ValidationFlags, Validator};
use sentinel_inference::backend::cpu;
use sentinel_inference::backend::webgpu::Device;
use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::{Graph, specialize, text};
use sentinel_inference::kernel::{Capabilities, Launch};
use sentinel_inference::ops::{OPS, OpDef};
use sentinel_inference::passes;
use sentinel_inference::plan::{Plan, Step};
use sentinel_inference::tensor::{DType, Tensor};

use difference::difference;
use random::Random;

/// Sizes for symbols: each name gets one of them by its letters.
const SIZES: [&[i64]; 4] = [&[1], &[2, 3], &[7, 5, 6], &[33, 20]];

fn defs() -> impl Iterator<Item = &'static OpDef> {
    let chosen = std::env::var("SENTINEL_OPS").ok();
    let is_chosen = move |def: &&OpDef| match &chosen {
        Some(names) => names.split(',').any(|name| name == def.name),
        None => true,
    };
    OPS.iter().copied().flatten().filter(is_chosen)
}

/// The case with numbers for its symbols, prepared; `None` where the sizes do not fit each other
/// or a shape stays unknown.
fn prepared(case: &str, sizes: &[i64]) -> Option<Graph> {
    let mut graph = text::parse(case).expect("tests/ops.rs has parsed it");
    let lookup = |name: &str| {
        let sum: usize = name.bytes().map(usize::from).sum();
        Some(sizes[sum % sizes.len()])
    };
    for id in graph.outputs.clone() {
        graph.value_mut(id).fact.shape = None;
    }
    specialize(&mut graph, &lookup);
    passes::prepare(&mut graph, &cpu::evaluate).ok()?;
    let known = |id: &sentinel_inference::graph::ValueId| graph.value(*id).fact.sizes().is_some();
    graph.inputs.iter().all(known).then_some(graph)
}

/// Elements that every operator can bear: small, of both signs where the type has them.
fn element(random: &mut Random) -> f64 {
    (random.below(4001) as f64 - 2000.0) / 1000.0
}

fn tensor(random: &mut Random, dtype: DType, sizes: &[usize]) -> Option<Tensor> {
    let n: usize = sizes.iter().product();
    let mut ints = |low: i64, high: i64| -> Vec<i64> {
        (0..n)
            .map(|_| low + random.below((high - low) as usize + 1) as i64)
            .collect()
    };
    let made = match dtype {
        DType::F32 => Tensor::from_vec(sizes, (0..n).map(|_| element(random) as f32).collect()),
        DType::F16 => {
            let elements = (0..n).map(|_| half::f16::from_f64(element(random)));
            Tensor::from_vec(sizes, elements.collect())
        }
        DType::I64 => Tensor::from_vec(sizes, ints(0, 2)),
        DType::I32 => Tensor::from_vec(sizes, ints(0, 2).iter().map(|&n| n as i32).collect()),
        DType::U32 => Tensor::from_vec(sizes, ints(0, 2).iter().map(|&n| n as u32).collect()),
        DType::U64 => Tensor::from_vec(sizes, ints(0, 2).iter().map(|&n| n as u64).collect()),
        DType::I8 => Tensor::from_vec(sizes, ints(-9, 9).iter().map(|&n| n as i8).collect()),
        DType::U8 => Tensor::from_vec(sizes, ints(0, 19).iter().map(|&n| n as u8).collect()),
        DType::Bool => {
            let bytes: Vec<u8> = ints(0, 1).iter().map(|&n| n as u8).collect();
            Tensor::from_bytes(dtype, sizes, bytes)
        }
        _ => return None,
    };
    made.ok()
}

fn feeds(graph: &Graph, seed: u64) -> Option<HashMap<String, Tensor>> {
    let mut random = Random(seed);
    let inputs = graph.inputs.iter().map(|&id| {
        let value = graph.value(id);
        let made = tensor(&mut random, value.fact.dtype?, &value.fact.sizes()?)?;
        Some((value.name.to_string(), made))
    });
    inputs.collect()
}

/// What devices differ in, as far as kernels are chosen by it.
fn devices() -> Vec<(&'static str, Capabilities)> {
    let plain = Capabilities::default();
    vec![
        ("gpu", plain.clone()),
        (
            "software",
            Capabilities {
                software: true,
                ..plain.clone()
            },
        ),
        (
            "gpu f16",
            Capabilities {
                shader_f16: true,
                ..plain
            },
        ),
    ]
}

fn launches(plan: &Plan) -> impl Iterator<Item = &Launch> {
    let steps = plan.steps.iter().filter_map(|step| match step {
        Step::Launch(placed) => Some(placed),
        _ => None,
    });
    plan.setup.iter().chain(steps).map(|placed| &placed.launch)
}

fn validate(launch: &Launch) -> Result<(), String> {
    let numbered = || {
        let lines = launch.code.lines().enumerate();
        lines
            .map(|(idx, line)| format!("{:4} {line}\n", idx + 1))
            .collect::<String>()
    };
    let module = naga::front::wgsl::parse_str(&launch.code)
        .map_err(|error| format!("{}\n{}", error.emit_to_string(&launch.code), numbered()))?;
    let capabilities = NagaCapabilities::SHADER_FLOAT16;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let validated = validator.validate(&module);
    validated.map_err(|error| format!("{}\n{}", error.emit_to_string(&launch.code), numbered()))?;
    Ok(())
}

#[test]
fn every_kernel_is_valid_wgsl() {
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut failed = Vec::new();
    for def in defs() {
        for (case, sizes) in def
            .cases
            .iter()
            .flat_map(|case| SIZES.map(|sizes| (case, sizes)))
        {
            let Some(graph) = prepared(case, sizes) else {
                continue;
            };
            for (device, caps) in devices() {
                let Ok(plan) = gpu::whole(&graph, &caps) else {
                    continue;
                };
                for launch in launches(&plan) {
                    let code = launch.code.to_string();
                    let known = texts.entry(code).or_insert_with(|| validate(launch).err());
                    if let Some(why) = known {
                        failed.push(format!("{} on {device}: {why}\n{case}", def.name));
                    }
                }
            }
        }
    }
    println!("{} shaders", texts.len());
    assert!(
        failed.is_empty(),
        "{} fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn kernels_agree_with_the_cpu() {
    let gpu = match gpu::open() {
        Ok(gpu) => gpu,
        Err(error) => return gpu::say_skipped(&format!("kernels on a GPU: {error}")),
    };
    let own = gpu.device.capabilities().clone();
    let (mut agreed, mut refused, mut failed) = (0, BTreeMap::new(), Vec::new());
    for def in defs() {
        for (case_idx, case) in def.cases.iter().enumerate() {
            for sizes in SIZES {
                let Some(graph) = prepared(case, sizes) else {
                    continue;
                };
                let seed = (case_idx as u64) << 8 | sizes.len() as u64;
                let Some(feeds) = feeds(&graph, seed) else {
                    continue;
                };
                let Ok(wanted) = gpu::reference(&graph, &feeds) else {
                    continue;
                };
                for (device, caps) in devices() {
                    if caps.shader_f16 && !own.shader_f16 {
                        continue;
                    }
                    let plan = match gpu::whole(&graph, &caps) {
                        Ok(plan) => plan,
                        Err(error) => {
                            refused
                                .insert(format!("{} {}", def.domain, def.name), error.to_string());
                            continue;
                        }
                    };
                    let shown = plan.to_string();
                    let got = gpu::run(&gpu, plan, feeds.clone());
                    let wrong = match got {
                        Err(error) => Some(error.to_string()),
                        Ok(got) => got.iter().zip(&wanted).find_map(|(got, wanted)| {
                            let (rtol, atol) = tolerance(wanted.dtype());
                            difference(got, wanted, rtol, atol)
                        }),
                    };
                    match wrong {
                        None => agreed += 1,
                        Some(why) => failed.push(format!(
                            "{} on {device}, sizes {sizes:?}, seed {seed}: {why}\n{case}\n{shown}",
                            def.name
                        )),
                    }
                }
            }
        }
    }
    println!(
        "{agreed} agree; {} operators have a case without kernels",
        refused.len()
    );
    if std::env::var_os("SENTINEL_OPS").is_some() {
        println!("{refused:#?}");
    }
    assert!(
        failed.is_empty(),
        "{} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Halves are computed in f32 on either side and rounded at different places.
fn tolerance(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::F16 => (4e-3, 4e-3),
        _ => (1e-4, 1e-5),
    }
}

#[test]
fn a_destroyed_device_fails_as_lost_and_takes_no_other_with_it() {
    let (Ok(gpu), Ok(other)) = (gpu::open(), gpu::open()) else {
        return gpu::say_skipped("the loss of a GPU: there is none");
    };
    let case = "input x: f32[2, 33]\n y = Softmax(x)\n output y";
    let graph = prepared(case, &[1]).expect("the case has numbers only");
    let feeds = feeds(&graph, 1).expect("floats can be made");
    let run = |gpu: &_| {
        let plan = gpu::whole(&graph, &Capabilities::default())?;
        gpu::run(gpu, plan, feeds.clone())
    };
    run(&gpu).expect("the device is there");
    gpu.device.destroy();
    let error = run(&gpu).expect_err("the device is gone");
    assert_eq!(error.kind, ErrorKind::DeviceLost, "{error}");
    assert_eq!(gpu.memory().buffers, 0);
    run(&other).expect("the other device is there");
}
