//! Generated graphs: kernels against the `cpu` backend, against loops written here, or against the
//! same thing computed in another way.
//!
//! `SENTINEL_SEED` is where the numbers begin, `SENTINEL_CASES` how many graphs there are: a failing
//! graph is its seed with one case. `SENTINEL_FAMILY=windows` keeps to one family.

mod case;
mod elementwise;
mod layout;
mod loops;
mod normal;
mod poisoned;
mod products;
mod resample;
mod sequence;
mod windows;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sentinel_inference::backend::cpu;
use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Device, Gpu};
use sentinel_inference::error::Result;
use sentinel_inference::graph::Graph;
use sentinel_inference::kernel::Capabilities;
use sentinel_inference::passes;
use sentinel_inference::plan::lower;
use sentinel_inference::tensor::{DType, Tensor};

use crate::difference::difference;
use crate::gpu;
use crate::random::Random;
use case::Case;
use poisoned::Poisoned;

type Family = (&'static str, fn(&mut Case));

/// The more kernels a family has, the more lines.
const FAMILIES: &[Family] = &[
    ("windows", windows::conv),
    ("windows", windows::conv),
    ("windows", windows::conv_transpose),
    ("windows", windows::pool),
    ("products", products::matmul),
    ("products", products::matmul),
    ("products", products::gemm),
    ("products", products::integers),
    ("products", products::bits),
    ("products", products::byte_sums),
    ("products", products::einsum),
    ("elementwise", elementwise::unary),
    ("elementwise", elementwise::binary),
    ("elementwise", elementwise::choose),
    ("elementwise", elementwise::cast),
    ("elementwise", elementwise::quantize),
    ("normal", normal::reduce),
    ("normal", normal::along_axis),
    ("normal", normal::norm),
    ("layout", layout::sandwich),
    ("layout", layout::sandwich),
    ("layout", layout::gather),
    ("layout", layout::scatter),
    ("resample", resample::resize),
    ("resample", resample::grid_sample),
    ("sequence", sequence::recurrent),
    ("sequence", sequence::attention),
    ("sequence", sequence::heads),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn devices(own: &Capabilities) -> Vec<(&'static str, Capabilities)> {
    let mut devices = crate::devices();
    // As if every grid were too long for one axis.
    let narrow = Capabilities {
        max_workgroups: 12,
        ..Capabilities::default()
    };
    devices.push(("gpu of narrow grids", narrow));
    devices.retain(|(_, caps)| own.shader_f16 || !caps.shader_f16);
    devices
}

/// The graph as a session makes it for a device.
fn finished(graph: &Graph, caps: &Capabilities) -> Result<Graph> {
    let mut graph = graph.clone();
    passes::fuse(&mut graph, &cpu::evaluate)?;
    if passes::expand(&mut graph, &|graph, id| lower(graph, id, caps).is_err())? {
        passes::prepare(&mut graph, &cpu::evaluate)?;
    }
    passes::chain(&mut graph)?;
    Ok(graph)
}

enum Outcome {
    Agrees,
    /// The rules take no such graph, no kernel computes it, or nothing to compare it with.
    Skipped(&'static str, String),
    Differs(String),
}

fn run(gpu: &Rc<Gpu<Poisoned>>, case: &Case) -> Vec<Outcome> {
    let graph = match case.graph() {
        Ok(graph) => graph,
        Err(error) => return vec![Outcome::Skipped("refused", error.to_string())],
    };
    let on_cpu = gpu::reference(&graph, &case.feeds());
    if let (Some(wanted), Ok(got)) = (&case.wanted, &on_cpu)
        && let Some(why) = wrong(case, &got[..1], std::slice::from_ref(wanted))
    {
        return vec![Outcome::Differs(format!("on cpu: {why}\n"))];
    }
    let wanted = match (&case.wanted, on_cpu) {
        (Some(wanted), _) => vec![wanted.clone()],
        (None, Ok(wanted)) => wanted,
        (None, Err(_)) if case.is_pair => Vec::new(),
        (None, Err(error)) => {
            return vec![Outcome::Skipped("without reference", error.to_string())];
        }
    };
    let own = gpu.device.capabilities();
    let on_device = |(device, caps): (&'static str, Capabilities)| {
        let plan = match finished(&graph, &caps).and_then(|graph| gpu::whole(&graph, &caps)) {
            Ok(plan) => plan,
            Err(error) => return Outcome::Skipped("without kernel", error.to_string()),
        };
        let shown = plan.to_string();
        let got = match gpu::run(gpu, plan, case.feeds()) {
            Ok(got) => got,
            Err(error) => return Outcome::Differs(format!("on {device}: {error}\n{shown}")),
        };
        let same = if case.is_pair {
            wrong(case, &got[1..2], &got[..1])
        } else {
            None
        };
        match wrong(case, &got, &wanted).or(same) {
            Some(why) => Outcome::Differs(format!("on {device}: {why}\n{shown}")),
            None => Outcome::Agrees,
        }
    };
    devices(own).into_iter().map(on_device).collect()
}

/// The first difference of outputs.
fn wrong(case: &Case, got: &[Tensor], wanted: &[Tensor]) -> Option<String> {
    let mut pairs = got.iter().zip(wanted).enumerate();
    pairs.find_map(|(idx, (got, wanted))| {
        let (rtol, atol) = tolerance(wanted.dtype(), case.is_rough);
        let why = difference(got, wanted, rtol, atol)?;
        Some(format!("output {idx}, {why}"))
    })
}

fn tolerance(dtype: DType, is_rough: bool) -> (f64, f64) {
    match dtype {
        DType::F16 if is_rough => (2e-2, 5e-2),
        DType::F16 => (6e-3, 6e-3),
        _ => (2e-4, 5e-5),
    }
}

#[test]
fn kernels_agree_on_generated_graphs() {
    let gpu = match pollster::block_on(NativeDevice::open(&AdapterChoice::from_env())) {
        Ok(device) => Gpu::new(Poisoned(device)),
        Err(error) => return gpu::say_skipped(&format!("generated graphs on a GPU: {error}")),
    };
    let first = number("SENTINEL_SEED").unwrap_or(1);
    let n_cases = number("SENTINEL_CASES").unwrap_or(400);
    println!("SENTINEL_SEED={first} SENTINEL_CASES={n_cases}");
    let wanted_family = std::env::var("SENTINEL_FAMILY").ok();
    let (mut agree, mut skipped, mut failed) = (0, BTreeMap::new(), Vec::new());
    for seed in first..first + n_cases {
        let mut random = Random(seed);
        let (family, generate) = random.pick(FAMILIES);
        if wanted_family
            .as_deref()
            .is_some_and(|wanted| wanted != family)
        {
            continue;
        }
        let mut case = Case::new(random);
        let made = catch_unwind(AssertUnwindSafe(|| generate(&mut case)));
        let ran = made.and_then(|()| catch_unwind(AssertUnwindSafe(|| run(&gpu, &case))));
        let outcomes = ran.unwrap_or_else(|panic| {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
            vec![Outcome::Differs(format!(
                "panics: {}",
                why.unwrap_or_default()
            ))]
        });
        if n_cases == 1 {
            println!("{}", case.text());
        }
        for outcome in outcomes {
            match outcome {
                Outcome::Agrees => agree += 1,
                Outcome::Skipped(kind, why) => {
                    let (n, of) = skipped.entry((kind, why)).or_insert((0, seed));
                    *n += 1;
                    *of = seed;
                }
                Outcome::Differs(why) => {
                    failed.push(format!("SENTINEL_SEED={seed} {why}{}", case.text()));
                }
            }
        }
    }
    let n_skipped: usize = skipped.values().map(|(n, _)| n).sum();
    println!("{agree} agree, {n_skipped} skipped");
    if std::env::var_os("SENTINEL_CASES").is_some() {
        for ((kind, why), (n, seed)) in &skipped {
            println!("{n} {kind}: {why} (seed {seed})");
        }
    }
    assert!(
        failed.is_empty(),
        "{} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
