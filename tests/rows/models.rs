//! Real models: which may be joined, and whether joined runs give what single runs give.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use sentinel_inference::error::Error;
use sentinel_inference::model::npz::read_npz;
use sentinel_inference::model::onnx::{FolderExternal, read};
use sentinel_inference::passes::Rows;
use sentinel_inference::tensor::Tensor;

use super::difference::difference;
use super::joined::{alone_and_joined, numbers, perturbed, rebatched};

/// Models whose rows may not be joined: swift_f0 cuts all rows into frames at once, and dynamic
/// quantisation has one scale for the whole batch.
const REFUSED: &[&str] = &["swift_f0", "token_encoder.dyn_int8"];

#[test]
fn joinable_models_give_each_item_what_it_gets_alone() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read(root.join("tests/fixtures/manifest.json")).expect("a fixture");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let (mut n_missing, mut failed) = (0, Vec::new());
    for entry in manifest["models"].as_array().expect("a list of models") {
        let name = entry["name"].as_str().expect("a name");
        let place = |key: &str| Some(root.join(entry[key].as_str()?)).filter(|path| path.exists());
        let (Some(path), Some(io)) = (place("file"), place("io")) else {
            n_missing += 1;
            continue;
        };
        match check(&path, &io, entry) {
            Err(error) => failed.push(format!("{name}: {error}")),
            Ok((rows, note)) => {
                let verdict = rows.joinable.as_ref().map_or_else(Clone::clone, |_| note);
                println!("{name:28} {:?} {verdict}", rows.batch);
                if rows.joinable.is_err() != REFUSED.contains(&name) {
                    failed.push(format!("{name}: {verdict}"));
                }
            }
        }
    }
    if n_missing > 0 {
        let mut terminal = std::io::stderr();
        writeln!(terminal, "SKIPPED: {n_missing} models that are not here").expect("it is open");
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn check(path: &Path, io: &Path, entry: &serde_json::Value) -> Result<(Rows, String), Error> {
    let bytes = std::fs::read(path).expect("the model is here");
    let folder = path.parent().expect("a file is in a folder");
    let graph = read(bytes.into(), &FolderExternal::new(folder))?.graph;
    let (joined, rows) = rebatched(graph.clone(), 0)?;
    if rows.joinable.is_err() {
        return Ok((rows, String::new()));
    }
    let arrays = read_npz(&std::fs::read(io).expect("the arrays are here"))?;
    let arrays: HashMap<String, Tensor> = arrays.into_iter().collect();
    let n_inputs = rows.inputs.len();
    let first: Vec<Tensor> = (0..n_inputs)
        .map(|idx| arrays[&format!("in_{idx}")].clone())
        .collect();
    let mut next = numbers(4);
    let mut items = vec![first.clone()];
    for _ in 0..2 {
        let inputs = first.iter().zip(&rows.inputs);
        let item = inputs.map(|(tensor, (_, axis))| match axis {
            Some(_) => perturbed(tensor, &mut next),
            None => tensor.clone(),
        });
        items.push(item.collect());
    }
    let pairs = alone_and_joined(&graph, &joined, &rows, &items)?;
    let tolerances = entry["outputs"].as_array().expect("a list of outputs");
    for (idx, (alone, joined)) in pairs.iter().enumerate() {
        let tolerance = &tolerances[idx % tolerances.len()]["tolerance"];
        let of = |key: &str| tolerance[key].as_f64().expect("a tolerance");
        if let Some(why) = difference(joined, alone, of("rtol"), of("atol")) {
            return Err(Error::internal(format!("joined item {idx}"), why));
        }
    }
    Ok((rows, "joined is as alone".into()))
}
