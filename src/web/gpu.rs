//! Devices and tensors on them, as the host holds them.

use std::rc::Rc;

use js_sys::{Array, Object, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{GpuBuffer as JsGpuBuffer, GpuDevice};

use super::convert::{
    error_to_js, field, set, sizes_from_js, sizes_to_js, tensor_from_js, tensor_to_js,
};
use super::device::{AdapterFacts, WebDevice};
use super::failures::text;
use crate::backend::webgpu::{Command, Device, Feed, Fetched, Gpu, GpuBuffer, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Capabilities, Storage};
use crate::tensor::{DType, Tensor};

/// A device with what its sessions share: compiled shaders, and the count of its buffers.
#[wasm_bindgen]
pub struct EngineGpu {
    gpu: Rc<Gpu<WebDevice>>,
}

#[wasm_bindgen]
impl EngineGpu {
    /// `device` is a `GPUDevice`; `facts` are `{ software, description }` of its adapter.
    pub fn open(device: JsValue, facts: &JsValue) -> EngineGpu {
        let facts = AdapterFacts {
            software: field(facts, "software").is_truthy(),
            description: text(facts, "description"),
        };
        let device: GpuDevice = device.unchecked_into();
        EngineGpu {
            gpu: Gpu::new(WebDevice::new(device, facts)),
        }
    }

    /// What the sessions and tensors on it hold: `{ buffers, bytes }`.
    pub fn memory(&self) -> Object {
        let memory = self.gpu.memory();
        let counts = Object::new();
        set(&counts, "buffers", &(memory.buffers as f64).into());
        set(&counts, "bytes", &(memory.size_bytes as f64).into());
        counts
    }
}

impl EngineGpu {
    pub fn gpu(&self) -> &Rc<Gpu<WebDevice>> {
        &self.gpu
    }
}

/// A tensor in a buffer of its own, which goes with it.
#[wasm_bindgen]
pub struct GpuTensor {
    gpu: Rc<Gpu<WebDevice>>,
    buffer: GpuBuffer<WebDevice>,
    /// Of the elements, in whole words.
    used_bytes: u64,
    size_bytes: usize,
}

#[wasm_bindgen]
impl GpuTensor {
    /// The `GPUBuffer`.
    #[wasm_bindgen(getter)]
    pub fn buffer(&self) -> JsValue {
        self.buffer.buffer.clone().into()
    }

    /// The bytes of its elements.
    pub async fn read(&self) -> Result<Uint8Array, JsValue> {
        let bytes = self.bytes().await.map_err(error_to_js)?;
        Ok(Uint8Array::from(&bytes[..self.size_bytes]))
    }

    /// Copies its elements to a `GPUBuffer` of the same device.
    #[wasm_bindgen(js_name = copyTo)]
    pub fn copy_to(&self, buffer: JsValue) -> Result<(), JsValue> {
        let to: JsGpuBuffer = buffer.unchecked_into();
        let (has, needs) = (to.size() as u64, self.used_bytes);
        if has < needs {
            let why = format!("the buffer has {has} bytes, the elements take {needs}");
            return Err(error_to_js(Error::new(ErrorKind::InvalidInput, "", why)));
        }
        self.gpu.device.submit(&[self.copy(&to)], false);
        self.gpu
            .device
            .failure()
            .map_or(Ok(()), |error| Err(error_to_js(error)))
    }
}

impl GpuTensor {
    fn copy<'a>(&'a self, to: &'a JsGpuBuffer) -> Command<'a, WebDevice> {
        Command::Copy {
            from: &self.buffer.buffer,
            to,
            to_offset: 0,
            size_bytes: self.used_bytes,
        }
    }

    async fn bytes(&self) -> Result<Vec<u8>> {
        let staging = self.gpu.buffer(self.used_bytes, Usage::Staging)?;
        self.gpu.device.submit(&[self.copy(&staging.buffer)], false);
        let read = self
            .gpu
            .device
            .read_buffer(&staging.buffer, self.used_bytes);
        read.await
    }

    fn new(gpu: &Rc<Gpu<WebDevice>>, buffer: GpuBuffer<WebDevice>, size_bytes: usize) -> GpuTensor {
        GpuTensor {
            gpu: gpu.clone(),
            buffer,
            used_bytes: (size_bytes as u64).next_multiple_of(4),
            size_bytes,
        }
    }

    fn upload(gpu: &Rc<Gpu<WebDevice>>, tensor: &Tensor) -> Result<GpuTensor> {
        let mut bytes = tensor.bytes().to_vec();
        let size_bytes = bytes.len();
        bytes.resize(size_bytes.next_multiple_of(4), 0);
        let buffer = gpu.buffer(bytes.len() as u64, Usage::Storage)?;
        gpu.device.write_buffer(&buffer.buffer, &bytes);
        Ok(GpuTensor::new(gpu, buffer, size_bytes))
    }
}

/// How the elements of a type lie in a buffer that the caller sees: as they do on the host.
///
/// # Errors
/// `DTYPE_MISMATCH` for types that are another one on the GPU, or are not there.
fn shared_storage(dtype: DType, caps: &Capabilities) -> Result<Storage> {
    let refused = |why: String| Err(Error::dtype("", why));
    let name = dtype.long_name();
    match Storage::of(dtype, caps) {
        Some(storage) if !matches!(dtype, DType::I64 | DType::U64 | DType::F16) => Ok(storage),
        Some(Storage::F16) => Ok(Storage::F16),
        Some(_) if dtype == DType::F16 => refused(format!(
            "{name} is not in GPU buffers: the device is without shader-f16"
        )),
        Some(_) => refused(format!(
            "{name} is not in GPU buffers: shaders have 32-bit integers, so keep it on the cpu"
        )),
        None => refused(format!(
            "{name} is not in GPU buffers: shaders do not have it"
        )),
    }
}

/// A record of `{ type, dims, data }` or `{ type, dims, gpuBuffer }`.
///
/// # Errors
/// `INVALID_INPUT` for another form or a buffer that is too small, `DTYPE_MISMATCH` for a type
/// that cannot be on the GPU.
pub fn feeds_from_js(
    record: &JsValue,
    caps: &Capabilities,
) -> Result<Vec<(String, Feed<WebDevice>)>> {
    let wrong = |name: &str, why: String| Error::new(ErrorKind::InvalidInput, name, why);
    let record = record.dyn_ref::<Object>();
    let record = record.ok_or_else(|| wrong("feeds", "expected an object".into()))?;
    let feed = |entry: JsValue| {
        let entry = Array::from(&entry);
        let (name, value) = (entry.get(0).as_string().unwrap_or_default(), entry.get(1));
        let buffer = field(&value, "gpuBuffer");
        if buffer.is_undefined() {
            let tensor = tensor_from_js(&value, &name)?;
            return Ok((name, Feed::Host(tensor)));
        }
        let long_name = text(&value, "type");
        let dtype = DType::from_name(&long_name);
        let dtype =
            dtype.ok_or_else(|| wrong(&name, format!("{long_name:?} is no element type")))?;
        let sizes = sizes_from_js(&Array::from(&field(&value, "dims")));
        let sizes =
            sizes.ok_or_else(|| wrong(&name, "dims has something that is no size".into()))?;
        let storage = shared_storage(dtype, caps).map_err(|error| error.within(&name))?;
        let buffer: JsGpuBuffer = buffer.unchecked_into();
        let (has, needs) = (
            buffer.size() as u64,
            storage.used_bytes(sizes.iter().product()),
        );
        if has < needs {
            return Err(wrong(
                &name,
                format!("its buffer has {has} bytes, its elements take {needs}"),
            ));
        }
        Ok((
            name,
            Feed::Gpu {
                buffer,
                dtype,
                sizes,
            },
        ))
    };
    Object::entries(record).iter().map(feed).collect()
}

/// # Errors
/// `DTYPE_MISMATCH` for an output that cannot be on the GPU.
pub fn check_fetch(name: &str, dtype: Option<DType>, caps: &Capabilities) -> Result<()> {
    let Some(dtype) = dtype else { return Ok(()) };
    shared_storage(dtype, caps).map_or_else(|error| Err(error.within(name)), |_| Ok(()))
}

/// `{ type, dims, gpuTensor }`.
pub fn tensor_on_gpu(
    gpu: &Rc<Gpu<WebDevice>>,
    buffer: GpuBuffer<WebDevice>,
    dtype: DType,
    sizes: &[usize],
) -> JsValue {
    let size_bytes = dtype.size_bytes(sizes.iter().product());
    let size_bytes = size_bytes.expect("it was computed");
    let tensor = GpuTensor::new(gpu, buffer, size_bytes);
    gpu_tensor_to_js(tensor, dtype, sizes)
}

fn gpu_tensor_to_js(tensor: GpuTensor, dtype: DType, sizes: &[usize]) -> JsValue {
    let object = Object::new();
    set(&object, "type", &dtype.long_name().into());
    set(&object, "dims", &sizes_to_js(sizes));
    set(&object, "gpuTensor", &tensor.into());
    object.into()
}

/// `{ type, dims, data }`, or `{ type, dims, gpuTensor }` for one that is wanted on the GPU.
///
/// # Errors
/// `OUT_OF_MEMORY`; `DTYPE_MISMATCH` for a type that cannot be on the GPU.
pub fn fetched_to_js(
    gpu: &Rc<Gpu<WebDevice>>,
    fetched: Fetched<WebDevice>,
    wants_gpu: bool,
) -> Result<JsValue> {
    match fetched {
        Fetched::Host(tensor) if !wants_gpu => Ok(tensor_to_js(&tensor)),
        Fetched::Host(tensor) => {
            // What a part on the cpu computed, or what is constant.
            shared_storage(tensor.dtype(), gpu.device.capabilities())?;
            let uploaded = GpuTensor::upload(gpu, &tensor)?;
            Ok(gpu_tensor_to_js(uploaded, tensor.dtype(), tensor.sizes()))
        }
        Fetched::Gpu {
            buffer,
            dtype,
            sizes,
        } => Ok(tensor_on_gpu(gpu, buffer, dtype, &sizes)),
    }
}
