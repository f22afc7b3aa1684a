//! What the backend needs of a device.

use std::future::Future;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kernel::{Capabilities, Launch};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Bound by shaders, copied from and to.
    Storage,
    /// The parameters of launches.
    Uniform,
    /// Read by the host.
    Staging,
}

/// A shader to compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    pub name: &'static str,
    pub code: Arc<str>,
    /// Whether binding 0 is a uniform buffer.
    pub has_params: bool,
    /// Of the storage buffers from binding 1 on, whether the shader writes them.
    pub writes: Vec<bool>,
}

impl Shader {
    pub(super) fn of(launch: &Launch) -> Shader {
        Shader {
            name: launch.name,
            code: launch.code.clone(),
            has_params: !launch.params.is_empty(),
            writes: launch
                .bindings
                .iter()
                .map(|binding| binding.writes)
                .collect(),
        }
    }
}

/// A part of a buffer as a shader sees it.
pub struct Bound<'a, B> {
    pub binding: u32,
    pub buffer: &'a B,
    pub offset: u64,
    /// All of the buffer from the offset on, where there is none.
    pub size: Option<u64>,
}

/// What a submission does, one after the other.
pub enum Command<'a, D: Device + ?Sized> {
    Dispatch {
        pipeline: &'a D::Pipeline,
        bindings: &'a D::Bindings,
        grid: [u32; 3],
    },
    Copy {
        from: &'a D::Buffer,
        to: &'a D::Buffer,
        to_offset: u64,
        size_bytes: u64,
    },
}

/// A WebGPU device with its queue. What goes wrong in calls that return no error is told by
/// [`Device::close_scopes`] and [`Device::failure`].
pub trait Device {
    type Buffer: Clone;
    type Pipeline: Clone;
    type Bindings;

    fn capabilities(&self) -> &Capabilities;

    /// Name and driver of the adapter, as far as it tells them.
    fn description(&self) -> String;

    /// A buffer of a multiple of 16 bytes, all zero.
    fn create_buffer(&self, size_bytes: u64, usage: Usage) -> Self::Buffer;

    /// Gives the memory back once the work that is handed over is done.
    fn destroy_buffer(&self, buffer: &Self::Buffer);

    /// Writes from the start of a buffer, before the commands that are submitted later. `bytes`
    /// are a multiple of 4.
    fn write_buffer(&self, buffer: &Self::Buffer, bytes: &[u8]);

    /// Compiles shaders; all are under way when this returns.
    ///
    /// # Errors
    /// `INTERNAL` with the shader's name and the compiler's message; `DEVICE_LOST`.
    fn create_pipelines(
        &self,
        shaders: Vec<Shader>,
    ) -> impl Future<Output = Result<Vec<Self::Pipeline>>>;

    fn bind(&self, pipeline: &Self::Pipeline, bound: &[Bound<Self::Buffer>]) -> Self::Bindings;

    /// Hands commands over, in one submission. With `timed`, the nanoseconds that each dispatch
    /// took can be asked for by [`Device::timings`].
    fn submit(&self, commands: &[Command<Self>], timed: bool);

    /// Nanoseconds of each dispatch of the timed submissions since the last call, in order; empty
    /// where the device has no timestamps.
    fn timings(&self) -> impl Future<Output = Result<Vec<u64>>>;

    /// The first bytes of a staging buffer, when everything submitted before is done.
    ///
    /// # Errors
    /// `DEVICE_LOST`.
    fn read_buffer(
        &self,
        buffer: &Self::Buffer,
        size_bytes: u64,
    ) -> impl Future<Output = Result<Vec<u8>>>;

    /// Opens scopes that catch what goes wrong until [`Device::close_scopes`].
    fn open_scopes(&self);

    /// # Errors
    /// The first failure since the scopes were opened: `OUT_OF_MEMORY`, `DEVICE_LOST`, or
    /// `INTERNAL` for a broken promise of the engine's own.
    fn close_scopes(&self) -> impl Future<Output = Result<()>>;

    /// The first failure outside of scopes since this was last asked, as far as the device has
    /// told; for a lost device always `DEVICE_LOST`.
    fn failure(&self) -> Option<Error>;
}
