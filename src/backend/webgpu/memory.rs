//! Buffers that are counted and come back, and the pipelines that sessions share.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::device::{Device, Shader, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::trace::{Switch, tell};

/// Pipelines that are kept for the next session. A model needs a few dozen.
const MAX_PIPELINES: usize = 1024;

/// Buffers that a device holds at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuMemory {
    pub buffers: u64,
    pub size_bytes: u64,
}

/// A device with what its sessions share.
pub struct Gpu<D: Device> {
    pub device: D,
    pipelines: RefCell<HashMap<Shader, D::Pipeline>>,
    memory: Cell<GpuMemory>,
}

impl<D: Device> Gpu<D> {
    pub fn new(device: D) -> Rc<Gpu<D>> {
        Rc::new(Gpu {
            device,
            pipelines: RefCell::default(),
            memory: Cell::default(),
        })
    }

    pub fn memory(&self) -> GpuMemory {
        self.memory.get()
    }

    /// # Errors
    /// `OUT_OF_MEMORY` when the device's limits do not allow for such a buffer.
    pub fn buffer(self: &Rc<Gpu<D>>, size_bytes: u64, usage: Usage) -> Result<GpuBuffer<D>> {
        let size_bytes = size_bytes.next_multiple_of(16).max(16);
        let max = self.device.capabilities().max_buffer_bytes;
        if size_bytes > max {
            let why = format!("a buffer of {size_bytes} bytes, the device allows {max}");
            return Err(Error::new(ErrorKind::OutOfMemory, "webgpu", why));
        }
        let mut memory = self.memory.get();
        memory.buffers += 1;
        memory.size_bytes += size_bytes;
        self.memory.set(memory);
        Ok(GpuBuffer {
            buffer: self.device.create_buffer(size_bytes, usage),
            gpu: self.clone(),
            size_bytes,
        })
    }

    /// Starts to compile what is not known yet; the pipelines come in the order of the shaders.
    pub(super) fn pipelines(
        &self,
        shaders: &[Shader],
    ) -> impl Future<Output = Result<Vec<D::Pipeline>>> {
        let known = self.pipelines.borrow();
        let unknown: HashSet<&Shader> = shaders
            .iter()
            .filter(|shader| !known.contains_key(shader))
            .collect();
        let unknown: Vec<Shader> = unknown.into_iter().cloned().collect();
        drop(known);
        for shader in &unknown {
            tell(Switch::Wgsl, || {
                format!("// {}\n{}", shader.name, shader.code)
            });
        }
        let compiling = self.device.create_pipelines(unknown.clone());
        let shaders = shaders.to_vec();
        async move {
            let made = compiling.await?;
            let mut known = self.pipelines.borrow_mut();
            if known.len() + made.len() > MAX_PIPELINES {
                known.retain(|shader, _| shaders.contains(shader));
            }
            known.extend(unknown.into_iter().zip(made));
            Ok(shaders.iter().map(|shader| known[shader].clone()).collect())
        }
    }
}

/// A buffer that goes back to the device when it is dropped.
pub struct GpuBuffer<D: Device> {
    pub buffer: D::Buffer,
    pub size_bytes: u64,
    gpu: Rc<Gpu<D>>,
}

impl<D: Device> Drop for GpuBuffer<D> {
    fn drop(&mut self) {
        self.gpu.device.destroy_buffer(&self.buffer);
        let mut memory = self.gpu.memory.get();
        memory.buffers -= 1;
        memory.size_bytes -= self.size_bytes;
        self.gpu.memory.set(memory);
    }
}
