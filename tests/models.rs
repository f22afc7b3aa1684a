//! Real models against their reference outputs, natively: `|got - want| <= atol + rtol * |want|`.
//!
//! Models that the repository does not carry are in `target/models` once `pkg-scripts/fetch-models`
//! has run, or in `../shared/models`; what is on neither place is skipped and counted.

mod difference;
mod native;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use difference::difference;
use sentinel_inference::backend::webgpu::Gpu;
use sentinel_inference::backend::webgpu::native::NativeDevice;
use sentinel_inference::error::Error;
use sentinel_inference::graph::Graph;
use sentinel_inference::model::npz::read_npz;
use sentinel_inference::model::onnx::{FolderExternal, read};
use sentinel_inference::session::Provider;
use sentinel_inference::tensor::Tensor;

struct Model {
    name: String,
    path: PathBuf,
    inputs: Vec<Tensor>,
    outputs: Vec<Reference>,
    on_wonnx: bool,
    /// Operators that have no kernel.
    cpu_ops: Vec<String>,
}

struct Reference {
    name: String,
    tensor: Tensor,
    rtol: f64,
    atol: f64,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The models that are here, and the names of those that are not.
fn models() -> (Vec<Model>, Vec<String>) {
    let manifest = std::fs::read(root().join("tests/fixtures/manifest.json")).expect("a fixture");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for entry in manifest["models"].as_array().expect("a list of models") {
        let name = entry["name"].as_str().expect("a name");
        let place = |key: &str| {
            let path = root().join(entry[key].as_str()?);
            path.exists().then_some(path)
        };
        let (Some(path), Some(io)) = (place("file"), place("io")) else {
            missing.push(name.to_owned());
            continue;
        };
        here.push(model(name, path, &io, entry));
    }
    (here, missing)
}

fn model(name: &str, path: PathBuf, io: &Path, entry: &serde_json::Value) -> Model {
    let arrays = read_npz(&std::fs::read(io).expect("the arrays exist")).expect("an npz file");
    let arrays: HashMap<String, Tensor> = arrays.into_iter().collect();
    let port = |key: &str, idx: usize, port: &serde_json::Value| {
        let array = arrays
            .get(&format!("{key}_{idx}"))
            .expect("an array for each port");
        (
            port["name"].as_str().expect("a name").to_owned(),
            array.clone(),
        )
    };
    let list = |key: &str| {
        entry[key]
            .as_array()
            .expect("a list of ports")
            .iter()
            .enumerate()
    };
    let inputs = list("inputs").map(|(idx, json)| port("in", idx, json).1);
    let outputs = list("outputs").map(|(idx, json)| {
        let (name, tensor) = port("out", idx, json);
        let tolerance = &json["tolerance"];
        Reference {
            name,
            tensor,
            rtol: tolerance["rtol"].as_f64().expect("a tolerance"),
            atol: tolerance["atol"].as_f64().expect("a tolerance"),
        }
    });
    let cpu_ops = entry["cpuOps"].as_array().into_iter().flatten();
    Model {
        name: name.to_owned(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        on_wonnx: entry["wonnx"].as_bool().unwrap_or(false),
        cpu_ops: cpu_ops
            .map(|op| op.as_str().expect("an operator").to_owned())
            .collect(),
        path,
    }
}

fn graph(model: &Model) -> Result<Graph, Error> {
    let bytes = std::fs::read(&model.path).expect("the model is here");
    let folder = model.path.parent().expect("a file is in a folder");
    Ok(read(bytes.into(), &FolderExternal::new(folder))?.graph)
}

fn check(model: &Model, provider: Provider) -> Result<(), String> {
    let outputs = graph(model).and_then(|graph| match provider {
        Provider::Webgpu => on_webgpu(&native::open(false)?, model, graph),
        _ => native::run(graph, model.inputs.clone(), provider),
    });
    compare(model, outputs)
}

/// The outputs from the engine's own kernels; nodes on the CPU must be those that the manifest
/// lists.
fn on_webgpu(
    gpu: &Rc<Gpu<NativeDevice>>,
    model: &Model,
    graph: Graph,
) -> Result<Vec<Tensor>, Error> {
    let inputs = model.inputs.clone();
    let (outputs, placement) = native::run_on_webgpu(gpu, graph, inputs)?;
    let on_cpu = placement.iter().filter(|row| row.provider == Provider::Cpu);
    let unlisted = on_cpu.filter(|row| !model.cpu_ops.contains(&row.op));
    let unlisted: Vec<String> = unlisted
        .map(|row| format!("{} {}: {}", row.op, row.node, row.reason))
        .collect();
    if !unlisted.is_empty() {
        return Err(Error::internal("on the cpu", unlisted.join("\n")));
    }
    Ok(outputs)
}

fn compare(model: &Model, outputs: Result<Vec<Tensor>, Error>) -> Result<(), String> {
    let outputs = outputs.map_err(|error: Error| format!("{}: {error}", error.kind.code()))?;
    for (got, want) in outputs.iter().zip(&model.outputs) {
        if let Some(difference) = difference(got, &want.tensor, want.rtol, want.atol) {
            return Err(format!("output {}: {difference}", want.name));
        }
    }
    Ok(())
}

/// Checks a model and notes whether it met its reference, for the README's table
/// (`pkg-scripts/models-table`).
fn recorded(model: &Model, provider: Provider) -> Result<(), String> {
    let folder = root().join("target/ran");
    let note = folder.join(format!("native.{}.{}", provider.name(), model.name));
    std::fs::create_dir_all(&folder).expect("the build's folder can be written");
    // What an earlier run noted; there may be none.
    let _ = std::fs::remove_file(&note);
    check(model, provider)?;
    std::fs::write(note, "").expect("the build's folder can be written");
    Ok(())
}

fn check_all(models: &[Model], provider: Provider) {
    let results = models
        .iter()
        .map(|model| (&model.name, recorded(model, provider)));
    let failed: Vec<_> = results
        .filter_map(|(name, result)| Some((name, result.err()?)))
        .collect();
    println!("{} models checked on {}", models.len(), provider.name());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn reference_outputs_are_met_on_cpu() {
    let (models, missing) = models();
    if !missing.is_empty() {
        let names = missing.join(", ");
        native::say_skipped(&format!(
            "{} models that are not here: {names}",
            missing.len()
        ));
    }
    check_all(&models, Provider::Cpu);
}

#[test]
fn reference_outputs_are_met_on_webgpu() {
    if let Some(why) = native::no_adapter() {
        return native::say_skipped(&format!("the models on webgpu: {why}"));
    }
    let (models, _) = models();
    check_all(&models, Provider::Webgpu);
}

#[test]
fn kernels_for_hardware_meet_the_references_too() {
    if let Some(why) = native::no_adapter() {
        return native::say_skipped(&format!("the models on kernels for hardware: {why}"));
    }
    let (models, _) = models();
    let gpu = native::open(true).expect("there is an adapter");
    let results = models.iter().map(|model| {
        let outputs = graph(model).and_then(|graph| on_webgpu(&gpu, model, graph));
        (&model.name, compare(model, outputs))
    });
    let failed = results.filter_map(|(name, result)| Some((name, result.err()?)));
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn reference_outputs_are_met_on_wonnx() {
    if let Some(why) = native::no_adapter() {
        return native::say_skipped(&format!("the models on wonnx: {why}"));
    }
    let (models, _) = models();
    let on_wonnx: Vec<Model> = models.into_iter().filter(|model| model.on_wonnx).collect();
    check_all(&on_wonnx, Provider::Wonnx);
}
