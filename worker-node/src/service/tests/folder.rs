//! A repository for one test, and the models that tests put there.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sentinel_inference::tensor::Tensor;

use crate::service::{Infer, ProviderChoice, Service, ServiceOptions};

/// Goes with what is in it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let name = format!("sentinel-service-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("it has a name of its own");
        Folder(path)
    }

    /// A version whose one output is its input times `factor`, rows of two columns.
    pub fn put(&self, name: &str, version: u64, factor: f32) {
        self.put_bytes(name, version, &scale(factor));
    }

    pub fn put_bytes(&self, name: &str, version: u64, bytes: &[u8]) {
        let folder = self.0.join(name).join(version.to_string());
        fs::create_dir_all(&folder).expect("the folder is ours");
        let new = folder.join("new");
        fs::write(&new, bytes).expect("the folder is ours");
        fs::rename(new, folder.join("model.onnx")).expect("the folder is ours");
    }

    pub fn options(&self) -> ServiceOptions {
        ServiceOptions {
            model_repository: self.0.clone(),
            provider: ProviderChoice::Cpu,
            adapter: None,
            batch_size: 8,
            max_delay: Duration::ZERO,
            max_queue_size: 64,
            allow_upload: true,
            max_upload_bytes: 1 << 20,
        }
    }

    pub async fn open(&self) -> Arc<Service> {
        Service::open(self.options())
            .await
            .expect("the folder is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `y = x * factor` for `x` of `[n, 2]`, as the bytes of a model.
pub fn scale(factor: f32) -> Vec<u8> {
    let graph =
        format!("input x: f32[n, 2]\n const f: f32[] = [{factor:?}]\n y = Mul(x, f)\n output y");
    onnx(&graph)
}

fn onnx(text: &str) -> Vec<u8> {
    use sentinel_inference::graph::text::parse;
    use sentinel_inference::model::onnx::{WriteOptions, write};
    let graph = parse(text).expect("the text is a graph");
    let written = write(&graph, &WriteOptions::default());
    written.expect("the graph is a model").model
}

/// A request for `x` of one row.
pub fn request(model: &str, x: [f32; 2]) -> Infer {
    let x = Tensor::from_vec(&[1, 2], x.to_vec()).expect("two are two");
    Infer {
        model: model.to_owned(),
        version: None,
        sha256: None,
        inputs: vec![("x".to_owned(), x)],
        outputs: Vec::new(),
        deadline: None,
        priority: 0,
    }
}
