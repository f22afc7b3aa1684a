//! What wgpu 0.16 does not have: the shared device, and failures as values.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wgpu_current::{
    AdapterInfo, Backends, DeviceDescriptor, DeviceLostReason, DeviceType, Instance,
    InstanceDescriptor, PowerPreference, RequestAdapterOptions,
};

use crate::turn::Turn;

/// What kind of thing went wrong on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no adapter that fits the choice, or it gives no device.
    NoAdapter,
    /// The GPU refused what it was asked to do.
    Validation,
    OutOfMemory,
    /// The device is gone; the next [`open`] makes another.
    Lost,
    Internal,
}

/// What went wrong on the GPU, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFailure {
    pub kind: FailureKind,
    pub message: String,
}

impl fmt::Display for GpuFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for GpuFailure {}

/// Which adapter to use. In a browser the browser decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterChoice {
    /// Backends as wgpu names them, separated by commas; all where there is none.
    pub backends: Option<String>,
    /// A part of the adapter's name, in any case.
    pub name: Option<String>,
    /// Only a software adapter.
    pub force_fallback: bool,
}

impl AdapterChoice {
    /// What `WGPU_BACKEND` and `WGPU_ADAPTER_NAME` say, as in wgpu.
    pub fn from_env() -> AdapterChoice {
        AdapterChoice {
            backends: std::env::var("WGPU_BACKEND").ok(),
            name: std::env::var("WGPU_ADAPTER_NAME").ok(),
            force_fallback: false,
        }
    }
}

static CURRENT: Mutex<Option<Arc<Gpu>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared device, opened now if there is none, if it was lost or if the choice is another.
///
/// # Errors
/// `NoAdapter` with the reason.
pub async fn open(choice: &AdapterChoice) -> Result<Arc<Gpu>, GpuFailure> {
    if let Some(gpu) = usable(choice) {
        return Ok(gpu);
    }
    let opened = Gpu::new(choice.clone()).await?;
    // Somebody else may have opened one meanwhile.
    if let Some(gpu) = usable(choice) {
        return Ok(gpu);
    }
    *lock(&CURRENT) = Some(opened.clone());
    Ok(opened)
}

fn usable(choice: &AdapterChoice) -> Option<Arc<Gpu>> {
    let current = lock(&CURRENT);
    current
        .clone()
        .filter(|gpu| gpu.choice == *choice && !gpu.is_lost())
}

/// The device in use, even a lost one: wonnx asks in the middle of its work, where only a failure
/// kept beside the device is heard.
pub(crate) async fn current_or_open(choice: &AdapterChoice) -> Result<Arc<Gpu>, GpuFailure> {
    let current = lock(&CURRENT).clone();
    match current {
        Some(gpu) => Ok(gpu),
        None => open(choice).await,
    }
}

/// A device with its queue and what went wrong on it.
pub struct Gpu {
    pub(crate) device: wgpu_current::Device,
    pub(crate) queue: wgpu_current::Queue,
    choice: AdapterChoice,
    info: AdapterInfo,
    state: Arc<State>,
    turn: Turn,
}

#[derive(Default)]
struct State {
    first: Mutex<Option<GpuFailure>>,
    lost: AtomicBool,
}

impl State {
    fn fail(&self, kind: FailureKind, message: String) {
        lock(&self.first).get_or_insert(GpuFailure { kind, message });
    }
}

impl Gpu {
    async fn new(choice: AdapterChoice) -> Result<Arc<Gpu>, GpuFailure> {
        let no_adapter = |message: String| GpuFailure {
            kind: FailureKind::NoAdapter,
            message,
        };
        let backends = match &choice.backends {
            Some(names) => Backends::from_comma_list(names) | Backends::BROWSER_WEBGPU,
            None => Backends::all(),
        };
        let instance = Instance::new(InstanceDescriptor {
            backends,
            ..InstanceDescriptor::new_without_display_handle()
        });
        let adapter = match &choice.name {
            #[cfg(not(target_arch = "wasm32"))]
            Some(name) => instance
                .enumerate_adapters(backends)
                .await
                .into_iter()
                .find(|adapter| is_named(&adapter.get_info().name, name))
                .ok_or_else(|| no_adapter(format!("no adapter's name contains {name}")))?,
            _ => instance
                .request_adapter(&RequestAdapterOptions {
                    power_preference: PowerPreference::HighPerformance,
                    force_fallback_adapter: choice.force_fallback,
                    ..Default::default()
                })
                .await
                .map_err(|error| no_adapter(error.to_string()))?,
        };
        let (device, queue) = adapter
            .request_device(&DeviceDescriptor {
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|error| no_adapter(error.to_string()))?;
        let state = Arc::new(State::default());
        listen(&device, &state);
        Ok(Arc::new(Gpu {
            device,
            queue,
            choice,
            info: adapter.get_info(),
            state,
            turn: Turn::default(),
        }))
    }

    /// The adapter's name and driver, empty where a browser keeps them to itself.
    pub fn description(&self) -> String {
        let info = &self.info;
        let parts = [&info.name, &info.driver, &info.driver_info];
        let parts: Vec<&str> = parts
            .iter()
            .map(|s| s.as_str())
            .filter(|s| !s.is_empty())
            .collect();
        parts.join(", ")
    }

    /// Whether the adapter is known to compute on the CPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == DeviceType::Cpu
    }

    pub fn is_lost(&self) -> bool {
        self.state.lost.load(Ordering::Acquire)
    }

    /// Gives the device up: what runs on it fails, and the next [`open`] makes another.
    pub fn destroy(&self) {
        self.state.lost.store(true, Ordering::Release);
        self.device.destroy();
    }

    pub(crate) fn fail(&self, kind: FailureKind, message: String) {
        self.state.fail(kind, message);
    }

    /// Does `work` alone on the device.
    ///
    /// # Errors
    /// The first failure that the GPU reported meanwhile; what `work` gave is then worthless.
    pub async fn checked<T>(&self, work: impl Future<Output = T>) -> Result<T, GpuFailure> {
        let _taken = self.turn.take().await;
        lock(&self.state.first).take();
        #[cfg(target_arch = "wasm32")]
        let scopes = web::Scopes::open(&self.device);
        let value = work.await;
        #[cfg(target_arch = "wasm32")]
        if let Some(failure) = scopes.close().await {
            self.fail(failure.kind, failure.message);
        }
        let first = lock(&self.state.first).take();
        if self.is_lost() {
            let message = first.map_or_else(|| "the device was lost".to_owned(), |f| f.message);
            return Err(GpuFailure {
                kind: FailureKind::Lost,
                message,
            });
        }
        first.map_or(Ok(value), Err)
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn is_named(name: &str, part: &str) -> bool {
    name.to_lowercase().contains(&part.to_lowercase())
}

/// Keeps what the device reports by itself.
fn listen(device: &wgpu_current::Device, state: &Arc<State>) {
    let weak = Arc::downgrade(state);
    device.set_device_lost_callback(move |reason, message| {
        let Some(state) = weak.upgrade() else { return };
        state.lost.store(true, Ordering::Release);
        if reason != DeviceLostReason::Destroyed {
            state.fail(FailureKind::Lost, format!("the device was lost: {message}"));
        }
    });
    // In a browser the scopes of `Gpu::checked` catch all, and wgpu's own translation of an
    // uncaptured error panics at an internal one.
    #[cfg(not(target_arch = "wasm32"))]
    {
        let state = state.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let kind = match &error {
                wgpu_current::Error::OutOfMemory { .. } => FailureKind::OutOfMemory,
                wgpu_current::Error::Validation { .. } => FailureKind::Validation,
                wgpu_current::Error::Internal { .. } => FailureKind::Internal,
            };
            state.fail(kind, error.to_string());
        }));
    }
}

#[cfg(target_arch = "wasm32")]
mod web {
    //! Error scopes. wgpu's own panic at an internal error, so these are the browser's.

    use js_sys::Promise;
    use wasm_bindgen::prelude::*;
    use wasm_bindgen_futures::JsFuture;

    use super::{FailureKind, GpuFailure};

    #[wasm_bindgen]
    extern "C" {
        #[derive(Clone)]
        type GpuDevice;

        #[wasm_bindgen(method, js_name = pushErrorScope)]
        fn push_error_scope(this: &GpuDevice, filter: &str);

        #[wasm_bindgen(method, js_name = popErrorScope)]
        fn pop_error_scope(this: &GpuDevice) -> Promise;

        type GpuError;

        #[wasm_bindgen(method, getter)]
        fn message(this: &GpuError) -> String;
    }

    /// Opened in this order, so closed in the other.
    const SCOPES: [(&str, FailureKind); 3] = [
        ("internal", FailureKind::Internal),
        ("out-of-memory", FailureKind::OutOfMemory),
        ("validation", FailureKind::Validation),
    ];

    /// Three open scopes on a device; the caller sees to it that nobody else opens any meanwhile.
    pub struct Scopes(GpuDevice);

    impl Scopes {
        pub fn open(device: &wgpu_current::Device) -> Scopes {
            let device = device
                .as_webgpu()
                .expect("on wasm32 every device is the browser's");
            let device: GpuDevice = JsValue::from(device.clone()).unchecked_into();
            for (filter, _) in SCOPES {
                device.push_error_scope(filter);
            }
            Scopes(device)
        }

        /// One of the failures that the scopes caught, if any.
        pub async fn close(self) -> Option<GpuFailure> {
            let popped = SCOPES
                .iter()
                .rev()
                .map(|&(_, kind)| (kind, self.0.pop_error_scope()));
            // All are popped before the first is awaited, so that no later work falls into them.
            let popped: Vec<(FailureKind, Promise)> = popped.collect();
            let mut caught = None;
            for (kind, promise) in popped {
                // The promise is refused when the device is gone, which has its own flag.
                let Ok(error) = JsFuture::from(promise).await else {
                    continue;
                };
                if !error.is_null() {
                    let message = error.unchecked_into::<GpuError>().message();
                    caught = caught.or(Some(GpuFailure { kind, message }));
                }
            }
            caught
        }
    }
}
