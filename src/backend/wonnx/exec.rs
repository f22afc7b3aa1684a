//! Runs prepared models on wonnx.
//!
//! wonnx takes whole ONNX files, computes 64-bit integers in 32 bits, recurses along the graph and
//! panics where it is surprised. What it is given has passed `support`; the checks here are those
//! that need the model's bytes, the values or the device.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use protobuf::Message;
use wgpu::compat::{self, AdapterChoice, FailureKind, Gpu, GpuFailure};
use wonnx::onnx::{GraphProto, ModelProto, TypeProto_oneof_value, ValueInfoProto};
use wonnx::utils::{InputTensor, OutputTensor};

use super::support::MAX_DEPTH;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Tensor};

const AT: &str = "wonnx";

/// The stack on which native sessions are made: room for [`MAX_DEPTH`] nodes.
#[cfg(not(target_arch = "wasm32"))]
const STACK_BYTES: usize = 128 << 20;

/// A model on the GPU. Runs of all sessions of a process take turns.
pub struct WonnxSession {
    gpu: Arc<Gpu>,
    session: wonnx::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output as the model declares it.
struct Port {
    name: String,
    dtype: DType,
    sizes: Vec<usize>,
}

impl WonnxSession {
    /// Builds the shaders and puts the constants on the GPU.
    ///
    /// `model` is a prepared ONNX file: fixed shapes, a declared type for every value, constants
    /// folded.
    ///
    /// # Errors
    /// `MODEL_PARSE` for other bytes; `MODEL_UNSUPPORTED` when wonnx refuses the model or there is
    /// no adapter; `OUT_OF_MEMORY` and `DEVICE_LOST` from the GPU; `INTERNAL` for a shader that
    /// the GPU refuses.
    pub async fn create(model: &[u8]) -> Result<WonnxSession> {
        WonnxSession::create_on(model, None).await
    }

    /// [`WonnxSession::create`] on the adapter with this name; without one, on that of
    /// `WGPU_ADAPTER_NAME`.
    ///
    /// # Errors
    /// As [`WonnxSession::create`].
    pub async fn create_on(model: &[u8], adapter: Option<&str>) -> Result<WonnxSession> {
        let model = ModelProto::parse_from_bytes(model)
            .map_err(|error| Error::parse(AT, error.to_string()))?;
        let graph = model.get_graph();
        let constants = graph.get_initializer();
        let is_constant = |name: &str| constants.iter().any(|tensor| tensor.get_name() == name);
        let inputs = graph
            .get_input()
            .iter()
            .filter(|info| !is_constant(info.get_name()));
        let inputs = inputs.map(port).collect::<Result<_>>()?;
        let outputs = graph.get_output().iter().map(port).collect::<Result<_>>()?;
        let depth = depth(graph);
        if depth > MAX_DEPTH {
            let why = format!("the longest path has {depth} nodes, wonnx bears {MAX_DEPTH}");
            return Err(Error::unsupported(AT, why));
        }

        let mut choice = AdapterChoice::from_env();
        choice.name = adapter.map(str::to_owned).or(choice.name);
        let gpu = compat::open(&choice).await.map_err(failed)?;
        let session = gpu.checked(build(model)).await.map_err(failed)??;
        Ok(WonnxSession {
            gpu,
            session,
            inputs,
            outputs,
        })
    }

    /// Name and driver of the adapter, as far as it tells them.
    pub fn adapter(&self) -> String {
        self.gpu.description()
    }

    /// All outputs, in the order of the model.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a missing or unknown name, `SHAPE_MISMATCH`, `DTYPE_MISMATCH` (also for
    /// 64-bit values beyond 32 bits); `OUT_OF_MEMORY`, `DEVICE_LOST` and `INTERNAL` from the GPU.
    /// The session stays usable unless the device is lost.
    pub async fn run(&self, feeds: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        for (name, _) in &feeds {
            if !self.inputs.iter().any(|port| port.name == *name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    name,
                    "the model has no such input",
                ));
            }
        }
        let mut given = HashMap::new();
        for port in &self.inputs {
            let missing =
                || Error::new(ErrorKind::InvalidInput, &port.name, "the input is missing");
            let feed = feeds.iter().find(|(name, _)| *name == port.name);
            let (_, tensor) = feed.ok_or_else(missing)?;
            given.insert(port.name.clone(), port.feed(tensor)?);
        }
        let run = caught(self.session.run(&given));
        let mut values = self
            .gpu
            .checked(run)
            .await
            .map_err(failed)??
            .map_err(|error| Error::internal(AT, error.to_string()))?;
        let outputs = self.outputs.iter().map(|port| {
            let absent = || Error::internal(&port.name, "wonnx gave no such output");
            let value = values.remove(&port.name).ok_or_else(absent)?;
            Ok((port.name.clone(), port.fetch(value)?))
        });
        outputs.collect()
    }
}

impl Port {
    fn feed<'a>(&self, tensor: &'a Tensor) -> Result<InputTensor<'a>> {
        if tensor.dtype() != self.dtype {
            let why = format!("expected {}, given {}", self.dtype, tensor.dtype());
            return Err(Error::dtype(&self.name, why));
        }
        if tensor.sizes() != self.sizes {
            let why = format!("expected {:?}, given {:?}", self.sizes, tensor.sizes());
            return Err(Error::shape(&self.name, why));
        }
        let read = "the type was compared";
        Ok(match self.dtype {
            DType::I64 => {
                let wide = tensor.elements::<i64>().expect(read);
                InputTensor::I32(Cow::Owned(self.narrow(&wide)?))
            }
            DType::I32 => InputTensor::I32(tensor.elements().expect(read)),
            _ => InputTensor::F32(tensor.elements().expect(read)),
        })
    }

    fn narrow(&self, wide: &[i64]) -> Result<Vec<i32>> {
        let narrow = |(idx, &value): (usize, &i64)| {
            i32::try_from(value).map_err(|_| {
                let why =
                    format!("{value} at element {idx} does not fit into the 32 bits of wonnx");
                Error::dtype(&self.name, why)
            })
        };
        wide.iter().enumerate().map(narrow).collect()
    }

    fn fetch(&self, value: OutputTensor) -> Result<Tensor> {
        match (self.dtype, value) {
            (DType::F32, OutputTensor::F32(values)) => Tensor::from_vec(&self.sizes, values),
            (DType::I32, OutputTensor::I32(values)) => Tensor::from_vec(&self.sizes, values),
            (DType::I64, OutputTensor::I64(values)) => Tensor::from_vec(&self.sizes, values),
            (DType::I64, OutputTensor::I32(values)) => {
                let wide: Vec<i64> = values.into_iter().map(i64::from).collect();
                Tensor::from_vec(&self.sizes, wide)
            }
            _ => Err(Error::internal(
                &self.name,
                "wonnx gave another element type",
            )),
        }
    }
}

fn port(info: &ValueInfoProto) -> Result<Port> {
    let at = format!("{AT}: {}", info.get_name());
    let Some(TypeProto_oneof_value::tensor_type(tensor)) = &info.get_field_type().value else {
        return Err(Error::unsupported(at, "no tensor"));
    };
    let dtype = DType::from_onnx(tensor.get_elem_type().into());
    let known = dtype.filter(|dtype| matches!(dtype, DType::F32 | DType::I32 | DType::I64));
    let dtype = known.ok_or_else(|| Error::unsupported(&at, "an element type wonnx has not"))?;
    let dims = tensor.get_shape().get_dim().iter();
    // A dimension with a name instead of a size has the size 0.
    let sizes = dims.map(|dim| {
        usize::try_from(dim.get_dim_value())
            .ok()
            .filter(|&size| size > 0)
    });
    let sizes: Option<Vec<usize>> = sizes.collect();
    Ok(Port {
        name: info.get_name().to_owned(),
        dtype,
        sizes: sizes.ok_or_else(|| Error::unsupported(at, "a dimension without a size"))?,
    })
}

/// The number of nodes on the longest path. Nodes stand behind those that they read.
fn depth(graph: &GraphProto) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    let mut longest = 0;
    for node in graph.get_node() {
        let before = node
            .get_input()
            .iter()
            .filter_map(|name| depths.get(name.as_str()));
        let depth = before.max().copied().unwrap_or(0) + 1;
        longest = longest.max(depth);
        for name in node.get_output() {
            depths.insert(name, depth);
        }
    }
    longest
}

#[cfg(target_arch = "wasm32")]
async fn build(model: ModelProto) -> Result<wonnx::Session> {
    built(caught(wonnx::Session::from_model(model)).await)
}

/// On a thread with a stack for wonnx's recursion; it only waits for the device, which is open.
#[cfg(not(target_arch = "wasm32"))]
async fn build(model: ModelProto) -> Result<wonnx::Session> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("wonnx".into())
            .stack_size(STACK_BYTES);
        let build = move || block_on(caught(wonnx::Session::from_model(model)));
        let io = |error: std::io::Error| Error::internal(AT, error.to_string());
        let built_there = thread.spawn_scoped(scope, build).map_err(io)?.join();
        built(built_there.unwrap_or_else(|panic| Err(panicked(&*panic))))
    })
}

fn built(session: Result<Result<wonnx::Session, wonnx::SessionError>>) -> Result<wonnx::Session> {
    session?.map_err(|error| Error::unsupported(AT, error.to_string()))
}

#[cfg(not(target_arch = "wasm32"))]
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A panic of wonnx's as an error, where panics unwind.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // What a panic leaves half done is the work's own, and nobody polls it again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Error::internal(
        AT,
        format!("wonnx panicked: {}", text.unwrap_or("without a message")),
    )
}

fn failed(failure: GpuFailure) -> Error {
    let kind = match failure.kind {
        FailureKind::NoAdapter => ErrorKind::ModelUnsupported,
        FailureKind::OutOfMemory => ErrorKind::OutOfMemory,
        FailureKind::Lost => ErrorKind::DeviceLost,
        FailureKind::Validation | FailureKind::Internal => ErrorKind::Internal,
    };
    Error::new(kind, AT, failure.message)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
