//! The best place that this machine has for a model.

use sentinel_inference::error::Result;

use super::{OpenModel, Runner, cpu, onnxruntime, webgpu};

type Open = fn(&OpenModel) -> Result<Runner>;

/// The fastest first. The CPU comes after them: what it finds is what is wrong with the model.
const PLACES: &[(&str, Open)] = &[
    ("onnxruntime", onnxruntime::open_if_present),
    ("webgpu", webgpu::open_on_hardware),
];

pub fn open(open: &OpenModel) -> Result<Runner> {
    let mut passed_over = Vec::new();
    for (name, place) in PLACES {
        match place(open) {
            Ok(runner) => return Ok(with_reasons(runner, passed_over)),
            Err(error) => passed_over.push(format!("not {name}: {error}")),
        }
    }
    Ok(with_reasons(cpu::open(open)?, passed_over))
}

fn with_reasons(mut runner: Runner, passed_over: Vec<String>) -> Runner {
    let reasons = std::iter::once(std::mem::take(&mut runner.reason)).chain(passed_over);
    runner.reason = reasons.collect::<Vec<_>>().join("; ");
    runner
}
