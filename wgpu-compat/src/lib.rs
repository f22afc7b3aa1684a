//! The part of wgpu 0.16's interface that wonnx 0.5.1 uses, over today's wgpu.
//!
//! wonnx is published against wgpu 0.16 and calls it as if nothing could fail. Here:
//! - a failure never panics: it is kept beside the device, and [`compat::Gpu::checked`] returns it;
//! - there is one device for all sessions and for constant folding, with the limits that the
//!   adapter really has;
//! - shader text that today's WGSL refuses is rewritten;
//! - buffers are destroyed when they are dropped, not when a garbage collector finds them.
//!
//! What wonnx sees has wgpu's names and stands in this file; what the `wonnx` backend sees is
//! [`compat`].

pub mod compat;
mod shader;
mod turn;
pub mod util;

use std::ops::RangeFull;
use std::sync::Arc;

use compat::{FailureKind, Gpu};
pub use wgpu_current::{
    Backends, BindGroup, BindGroupDescriptor, BindGroupEntry, BindGroupLayout, BindingResource,
    BufferAddress, BufferAsyncError, BufferDescriptor, BufferUsages, CommandBuffer,
    CommandEncoderDescriptor, ComputePass, ComputePipeline, PipelineLayout, ShaderModule,
    ShaderModuleDescriptor, ShaderSource,
};

/// How to open an instance. The backends are chosen by [`compat::AdapterChoice`] instead.
pub struct InstanceDescriptor {
    pub backends: Backends,
    pub dx12_shader_compiler: Dx12Compiler,
}

pub enum Dx12Compiler {
    Fxc,
}

pub struct Instance;

impl Instance {
    pub fn new(_: InstanceDescriptor) -> Instance {
        Instance
    }
}

/// The adapter of the shared device.
pub struct Adapter(Arc<Gpu>);

/// Empty: the shared device has the limits of its adapter.
#[derive(Default)]
pub struct DeviceDescriptor;

impl Adapter {
    /// A handle on the shared device.
    ///
    /// # Errors
    /// None; the type is wgpu's.
    pub async fn request_device(
        &self,
        _: &DeviceDescriptor,
        _trace: Option<()>,
    ) -> Result<(Device, Queue), compat::GpuFailure> {
        Ok((Device(self.0.clone()), Queue(self.0.clone())))
    }
}

pub enum Maintain {
    Wait,
}

pub struct ComputePassDescriptor<'a> {
    pub label: Option<&'a str>,
}

pub struct ComputePipelineDescriptor<'a> {
    pub label: Option<&'a str>,
    pub layout: Option<&'a PipelineLayout>,
    pub module: &'a ShaderModule,
    pub entry_point: &'a str,
}

pub struct Device(Arc<Gpu>);

impl Device {
    /// A buffer; one that the device cannot hold is kept as a failure and stands in as 16 bytes.
    pub fn create_buffer(&self, desc: &BufferDescriptor) -> Buffer {
        let limits = self.0.device.limits();
        let mut limit = limits.max_buffer_size;
        if desc.usage.contains(BufferUsages::STORAGE) {
            limit = limit.min(limits.max_storage_buffer_binding_size);
        }
        let mut size = desc.size;
        if size > limit {
            let label = desc.label.unwrap_or_default();
            self.0.fail(
                FailureKind::OutOfMemory,
                format!("buffer {label} needs {size} bytes, the adapter allows {limit}"),
            );
            size = 16;
        }
        // wonnx reads some storage buffers back without having said so, and fills the others
        // through the queue here.
        let usage = match desc.usage.contains(BufferUsages::STORAGE) {
            true => desc.usage | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            false => desc.usage,
        };
        Buffer(self.0.device.create_buffer(&BufferDescriptor {
            label: desc.label,
            size,
            usage,
            mapped_at_creation: desc.mapped_at_creation,
        }))
    }

    pub fn create_shader_module(&self, mut desc: ShaderModuleDescriptor) -> ShaderModule {
        if let ShaderSource::Wgsl(text) = desc.source {
            desc.source = ShaderSource::Wgsl(shader::modernise(text));
        }
        self.0.device.create_shader_module(desc)
    }

    pub fn create_compute_pipeline(&self, desc: &ComputePipelineDescriptor) -> ComputePipeline {
        self.0
            .device
            .create_compute_pipeline(&wgpu_current::ComputePipelineDescriptor {
                label: desc.label,
                layout: desc.layout,
                module: desc.module,
                entry_point: Some(desc.entry_point),
                compilation_options: Default::default(),
                cache: None,
            })
    }

    pub fn create_bind_group(&self, desc: &BindGroupDescriptor) -> BindGroup {
        self.0.device.create_bind_group(desc)
    }

    pub fn create_command_encoder(&self, desc: &CommandEncoderDescriptor) -> CommandEncoder {
        CommandEncoder(self.0.device.create_command_encoder(desc))
    }

    /// Waits for the GPU, where waiting is possible.
    pub fn poll(&self, _: Maintain) {
        if let Err(error) = self
            .0
            .device
            .poll(wgpu_current::PollType::wait_indefinitely())
        {
            self.0.fail(FailureKind::Internal, error.to_string());
        }
    }
}

pub struct Queue(Arc<Gpu>);

impl Queue {
    /// Writes `data`, filled up with zeros to a multiple of four bytes; what does not fit is kept
    /// as a failure.
    pub fn write_buffer(&self, buffer: &Buffer, offset: BufferAddress, data: &[u8]) {
        let size = data.len().next_multiple_of(4);
        let end = offset.saturating_add(size as u64);
        if end > buffer.0.size() {
            let why = format!("{end} bytes do not fit into {}", buffer.0.size());
            return self.0.fail(FailureKind::Validation, why);
        }
        if size == data.len() {
            self.0.queue.write_buffer(&buffer.0, offset, data);
        } else {
            let mut padded = data.to_vec();
            padded.resize(size, 0);
            self.0.queue.write_buffer(&buffer.0, offset, &padded);
        }
    }

    pub fn submit(&self, commands: impl IntoIterator<Item = CommandBuffer>) {
        self.0.queue.submit(commands);
    }
}

/// A buffer whose memory goes when it is dropped; work already submitted still finishes.
#[derive(Debug)]
pub struct Buffer(wgpu_current::Buffer);

impl Buffer {
    pub fn as_entire_binding(&self) -> BindingResource<'_> {
        self.0.as_entire_binding()
    }

    pub fn slice(&self, _: RangeFull) -> BufferSlice<'_> {
        BufferSlice(&self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// The whole of a buffer.
pub struct BufferSlice<'a>(&'a wgpu_current::Buffer);

pub struct CommandEncoder(wgpu_current::CommandEncoder);

impl CommandEncoder {
    pub fn begin_compute_pass(&mut self, desc: &ComputePassDescriptor) -> ComputePass<'_> {
        self.0
            .begin_compute_pass(&wgpu_current::ComputePassDescriptor {
                label: desc.label,
                timestamp_writes: None,
            })
    }

    pub fn finish(self) -> CommandBuffer {
        self.0.finish()
    }
}
