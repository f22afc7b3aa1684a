//! The ONNX backend suite, read from its archive.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use sentinel_inference::model::onnx::read_tensor_proto;
use sentinel_inference::tensor::Tensor;

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
