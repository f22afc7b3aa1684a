//! The ONNX backend suite, read from its archive, and the comparison that it asks for.

#[cfg(all(feature = "cpu", feature = "wonnx"))]
pub mod native;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use sentinel_inference::model::onnx::read_tensor_proto;
use sentinel_inference::tensor::{Data, Tensor};

pub struct Case {
    /// `node/test_abs`
    pub name: String,
    pub model: Bytes,
    pub inputs: Vec<Bytes>,
    pub outputs: Vec<Bytes>,
    pub rtol: f64,
    pub atol: f64,
}

/// All cases by name.
pub fn cases() -> Vec<Case> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/onnx_conformance.tar.gz");
    let file = std::fs::File::open(path).expect("the archive is part of the repository");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files: BTreeMap<String, BTreeMap<String, Bytes>> = BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("a whole archive");
        let path = entry
            .path()
            .expect("paths are UTF-8")
            .to_string_lossy()
            .into_owned();
        let mut parts = path.splitn(3, '/');
        let (Some(kind), Some(case), Some(file)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if file.is_empty() || file.ends_with('/') {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a whole archive");
        let case = files.entry(format!("{kind}/{case}")).or_default();
        case.insert(file.to_owned(), bytes.into());
    }
    files
        .into_iter()
        .filter_map(|(name, files)| case(name, files))
        .collect()
}

fn case(name: String, mut files: BTreeMap<String, Bytes>) -> Option<Case> {
    let model = files.remove("model.onnx")?;
    let meta: serde_json::Value = files
        .get("meta.json")
        .map(|bytes| serde_json::from_slice(bytes).expect("meta.json is JSON"))
        .unwrap_or_default();
    let numbered = |stem: &str| {
        let file = |idx| {
            files
                .get(&format!("test_data_set_0/{stem}_{idx}.pb"))
                .cloned()
        };
        (0..).map_while(file).collect::<Vec<Bytes>>()
    };
    Some(Case {
        inputs: numbered("input"),
        outputs: numbered("output"),
        rtol: meta["rtol"].as_f64().unwrap_or(1e-3),
        atol: meta["atol"].as_f64().unwrap_or(1e-7),
        name,
        model,
    })
}

/// `None` for sequences and optionals, which are not tensors.
pub fn tensor(bytes: &Bytes) -> Option<Tensor> {
    Some(read_tensor_proto(bytes).ok()?.1)
}

/// What differs: types, shapes, or an element with `|got - want| > atol + rtol * |want|`.
pub fn difference(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    if got.dtype() != want.dtype() || got.sizes() != want.sizes() {
        let show = |tensor: &Tensor| format!("{}{:?}", tensor.dtype(), tensor.sizes());
        return Some(format!("got {}, want {}", show(got), show(want)));
    }
    if let (Data::Strings(got), Data::Strings(want)) = (got.data(), want.data()) {
        return (got != want).then(|| format!("got {got:?}, want {want:?}"));
    }
    if let (Some(got), Some(want)) = (got.to_f64s(), want.to_f64s()) {
        let off = |(got, want): (&f64, &f64)| {
            let close = (got - want).abs() <= atol + rtol * want.abs();
            got != want && !close && !(got.is_nan() && want.is_nan())
        };
        let idx = got.iter().zip(&want).position(off)?;
        return Some(format!(
            "element {idx}: got {}, want {}",
            got[idx], want[idx]
        ));
    }
    if let (Some(got), Some(want)) = (got.to_i64s(), want.to_i64s()) {
        let idx = got.iter().zip(&want).position(|(got, want)| got != want)?;
        return Some(format!(
            "element {idx}: got {}, want {}",
            got[idx], want[idx]
        ));
    }
    (got.bytes() != want.bytes()).then(|| "other bytes".to_owned())
}
