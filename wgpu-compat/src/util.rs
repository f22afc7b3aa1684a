//! wgpu's `util`: finding the adapter, filled buffers, reading back.

use std::ops::Deref;

use wgpu_current::{BufferDescriptor, CommandEncoderDescriptor, MapMode};

use crate::compat::{self, AdapterChoice, FailureKind};
use crate::{Adapter, Backends, Buffer, BufferAsyncError, BufferSlice, BufferUsages, Device};
use crate::{Instance, Queue};

/// The environment is read by [`AdapterChoice::from_env`].
pub fn backend_bits_from_env() -> Option<Backends> {
    None
}

/// The adapter of the shared device, opened now if nobody has opened it yet.
pub async fn initialize_adapter_from_env_or_default(
    _: &Instance,
    _: Backends,
    _surface: Option<()>,
) -> Option<Adapter> {
    compat::current_or_open(&AdapterChoice::from_env())
        .await
        .ok()
        .map(Adapter)
}

pub struct BufferInitDescriptor<'a> {
    pub label: Option<&'a str>,
    pub contents: &'a [u8],
    pub usage: BufferUsages,
}

pub trait DeviceExt {
    fn create_buffer_init(&self, desc: &BufferInitDescriptor) -> Buffer;
}

impl DeviceExt for Device {
    /// Fills through the queue: mapping at creation throws where memory is short.
    fn create_buffer_init(&self, desc: &BufferInitDescriptor) -> Buffer {
        let buffer = self.create_buffer(&BufferDescriptor {
            label: desc.label,
            size: desc.contents.len().next_multiple_of(4) as u64,
            usage: desc.usage,
            mapped_at_creation: false,
        });
        Queue(self.0.clone()).write_buffer(&buffer, 0, desc.contents);
        buffer
    }
}

/// A copy of a buffer's bytes, aligned for every element type.
pub struct DownloadBuffer {
    words: Vec<u64>,
    size_bytes: usize,
}

impl DownloadBuffer {
    /// Copies the slice to the host and calls `done` once, whatever happens.
    pub fn read_buffer(
        device: &Device,
        queue: &Queue,
        slice: &BufferSlice,
        done: impl FnOnce(Result<DownloadBuffer, BufferAsyncError>) + Send + 'static,
    ) {
        let gpu = device.0.clone();
        let size = slice.0.size();
        let staging = gpu.device.create_buffer(&BufferDescriptor {
            label: Some("download"),
            size,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = gpu
            .device
            .create_command_encoder(&CommandEncoderDescriptor { label: None });
        encoder.copy_buffer_to_buffer(slice.0, 0, &staging, 0, size);
        queue.submit([encoder.finish()]);
        let mapped = staging.clone();
        staging.map_async(MapMode::Read, .., move |result| {
            let bytes = result
                .map_err(|error| error.to_string())
                .and_then(|()| download(&mapped).map_err(|error| error.to_string()));
            mapped.destroy();
            done(bytes.map_err(|why| {
                gpu.fail(FailureKind::Internal, format!("reading back: {why}"));
                BufferAsyncError
            }));
        });
    }
}

fn download(buffer: &wgpu_current::Buffer) -> Result<DownloadBuffer, wgpu_current::MapRangeError> {
    let view = buffer.get_mapped_range(..)?;
    let size_bytes = view.len();
    let mut words = vec![0u64; size_bytes.div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..size_bytes].copy_from_slice(&view);
    Ok(DownloadBuffer { words, size_bytes })
}

impl Deref for DownloadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.size_bytes]
    }
}
