//! A worker without a server: a repository for one test and what the doors share.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sentinel_inference::graph::text::parse;
use sentinel_inference::model::onnx::{WriteOptions, write};
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{Frame, FromClient, FromWorker, InferRequest, Limits};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Counters};
use crate::memory::Memory;
use crate::service::{ProviderChoice, Service, ServiceOptions};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(3600);
/// The model of these tests: `y = 3 x` for `x` of `[n, 2]`.
pub const MODEL: &str = "triple.it";

pub struct Setup {
    pub credits: u32,
    pub heartbeat: Duration,
    pub idle_timeout: Duration,
    pub limits: Limits,
    pub memory: Memory,
    /// Requests wait until [`Worker::open_gate`].
    pub is_gated: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            credits: 4,
            heartbeat: LONG,
            idle_timeout: LONG,
            limits: Limits::default(),
            memory: Memory::new(Limits::default().max_message_bytes),
            is_gated: false,
        }
    }
}

/// Where requests wait on their way to the model, so that they are under way for as long as a test wants them to be.
#[derive(Default)]
struct Gate {
    open: CancellationToken,
    n_waiting: AtomicUsize,
}

/// By worker.
static GATES: LazyLock<Mutex<HashMap<String, Arc<Gate>>>> = LazyLock::new(Mutex::default);

fn gates() -> MutexGuard<'static, HashMap<String, Arc<Gate>>> {
    GATES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gate(worker_id: &str) -> Option<Arc<Gate>> {
    gates().get(worker_id).cloned()
}

struct Waiting(Arc<Gate>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.n_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub async fn pass_gate(worker_id: &str) {
    if let Some(gate) = gate(worker_id) {
        gate.n_waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(gate);
        waiting.0.open.cancelled().await;
    }
}

pub struct Worker {
    pub context: Arc<Context>,
    folder: PathBuf,
}

impl Worker {
    pub async fn start(setup: Setup) -> Worker {
        let name = format!("sentinel-channel-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        put(&folder, MODEL, 3.0);
        let options = ServiceOptions {
            model_repository: folder.clone(),
            provider: ProviderChoice::Cpu,
            adapter: None,
            batch_size: 8,
            max_delay: Duration::ZERO,
            max_queue_size: 64,
            allow_upload: true,
            max_upload_bytes: 1 << 20,
        };
        let service = Service::open(options).await.expect("the folder is ours");
        let worker_id = format!("{:x}", rand::random::<u64>());
        if setup.is_gated {
            gates().insert(worker_id.clone(), Arc::default());
        }
        let context = Arc::new(Context {
            service,
            limits: setup.limits,
            memory: setup.memory,
            worker_id,
            credits: setup.credits,
            heartbeat: setup.heartbeat,
            idle_timeout: setup.idle_timeout,
            allow_upload: true,
            draining: CancellationToken::new(),
            counters: Counters::default(),
        });
        Worker { context, folder }
    }

    /// Puts another model in, which multiplies with `factor`.
    pub async fn load(&self, name: &str, factor: f32) {
        put(&self.folder, name, factor);
        let loaded = self.context.service.load(name).await;
        loaded.expect("the model is whole");
    }

    /// At the gate.
    pub fn n_waiting(&self) -> usize {
        let gate = gate(&self.context.worker_id).expect("the worker is gated");
        gate.n_waiting.load(Ordering::Relaxed)
    }

    pub fn open_gate(&self) {
        let gate = gate(&self.context.worker_id).expect("the worker is gated");
        gate.open.cancel();
    }

    pub fn in_flight(&self) -> usize {
        let models = self.context.service.statistics();
        models.iter().map(|model| model.in_flight).sum()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What is left in a folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn put(folder: &std::path::Path, name: &str, factor: f32) {
    let version = folder.join(name).join("1");
    fs::create_dir_all(&version).expect("the folder is ours");
    fs::write(version.join("model.onnx"), scale(factor)).expect("the folder is ours");
}

pub fn scale(factor: f32) -> Vec<u8> {
    let text =
        format!("input x: f32[n, 2]\n const f: f32[] = [{factor:?}]\n y = Mul(x, f)\n output y");
    let graph = parse(&text).expect("the text is a graph");
    let written = write(&graph, &WriteOptions::default());
    written.expect("the graph is a model").model
}

/// A request for rows of two columns.
pub fn infer(id: &str, x: &[f32]) -> Bytes {
    infer_with(id, x, |_| {})
}

pub fn infer_with(id: &str, x: &[f32], edit: impl FnOnce(&mut InferRequest)) -> Bytes {
    let mut request = InferRequest {
        id: id.to_owned(),
        model_name: MODEL.to_owned(),
        ..InferRequest::default()
    };
    let tensor = Tensor::from_vec(&[x.len() / 2, 2], x.to_vec()).expect("rows of two columns");
    let payload = request.set_inputs(&[("x".to_owned(), tensor)]);
    let payload = payload.expect("f32 is a type of the protocol");
    edit(&mut request);
    Frame::write(&FromClient::Infer(request), &payload)
}

pub fn said(message: Bytes) -> (FromWorker, Bytes) {
    let limits = Limits::default();
    let frame = Frame::read(message, &limits).expect("the worker writes frames");
    let said = FromWorker::read(&frame, &limits).expect("the worker speaks the protocol");
    (said, frame.payload)
}

/// The elements of `y`, where the message is the output of this id.
pub fn output(id: &str, (said, payload): (FromWorker, Bytes)) -> Vec<f32> {
    let FromWorker::Output(response) = said else {
        panic!("expected the output of {id}, given {said:?}");
    };
    assert_eq!(response.id, id);
    let outputs = response.tensors(payload, &Limits::default());
    let outputs = outputs.expect("the worker's tensors are whole");
    assert_eq!(outputs[0].0, "y");
    outputs[0].1.elements().expect("y is f32").into_owned()
}

/// The code, where the message is an error for this id.
pub fn error(id: &str, (said, _): (FromWorker, Bytes)) -> String {
    let FromWorker::Error(failure) = said else {
        panic!("expected the error of {id}, given {said:?}");
    };
    assert_eq!(failure.id, id, "{failure:?}");
    failure.code
}
