//! The engine's own kernels on a GPU; what has none runs on the CPU.

use pollster::block_on;
use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Device, Feed, Gpu};
use sentinel_inference::error::{Error, Result};
use sentinel_inference::session::{GpuSession, Named, Provider, Session};
use sentinel_inference::tensor::Tensor;

use super::{Engine, Model, OpenModel, Runner, session};

struct OnGpu {
    session: Session,
    on_gpu: GpuSession<NativeDevice>,
}

impl Engine for OnGpu {
    fn run(&mut self, feeds: Named, fetches: &[&str]) -> Result<Vec<Tensor>> {
        let feeds = self.session.check_feeds(feeds)?.into_iter();
        let feeds = feeds.map(|(name, tensor)| (name, Feed::Host(tensor)));
        block_on(self.on_gpu.run_on_host(feeds.collect(), fetches))
    }
}

pub fn open(open: &OpenModel) -> Result<Runner> {
    on_device(open, device(open.adapter.as_deref())?)
}

/// On a GPU that is one.
///
/// # Errors
/// `MODEL_UNSUPPORTED` where the CPU plays the GPU, which is slower than to ask the CPU itself.
pub fn open_on_hardware(open: &OpenModel) -> Result<Runner> {
    let device = device(open.adapter.as_deref())?;
    if device.capabilities().software {
        let why = format!("the WebGPU adapter is software: {}", device.description());
        return Err(Error::unsupported("webgpu", why));
    }
    on_device(open, device)
}

pub fn device(adapter: Option<&str>) -> Result<NativeDevice> {
    let from_env = AdapterChoice::from_env();
    let choice = AdapterChoice {
        name: adapter.map(str::to_owned).or(from_env.name),
        ..AdapterChoice::default()
    };
    block_on(NativeDevice::open(&choice))
}

fn on_device(open: &OpenModel, device: NativeDevice) -> Result<Runner> {
    let session = session(open, Provider::Webgpu)?;
    let model = Model::of(&session);
    let reason = device.description();
    let on_gpu = GpuSession::new(&session, Gpu::new(device))?;
    block_on(on_gpu.compile())?;
    Ok(Runner {
        model,
        provider: Provider::Webgpu.name(),
        reason,
        engine: Box::new(OnGpu { session, on_gpu }),
    })
}
