//! A device of this machine, through wgpu.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::{Bound, Command, Device, Shader, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Capabilities;

const AT: &str = "webgpu";

/// Which adapter to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterChoice {
    /// Words that the adapter's name has, in any case.
    pub name: Option<String>,
    pub low_power: bool,
    /// Only a software adapter.
    pub force_fallback: bool,
}

impl AdapterChoice {
    /// What `WGPU_ADAPTER_NAME` says, as in wgpu.
    pub fn from_env() -> AdapterChoice {
        AdapterChoice {
            name: std::env::var("WGPU_ADAPTER_NAME").ok(),
            ..AdapterChoice::default()
        }
    }
}

/// What went wrong and was not asked for.
#[derive(Default)]
struct Failures {
    first: Mutex<Option<Error>>,
    lost: Mutex<Option<String>>,
}

pub struct NativeDevice {
    device: gpu::Device,
    queue: gpu::Queue,
    info: gpu::AdapterInfo,
    caps: Capabilities,
    failures: Arc<Failures>,
    layouts: RefCell<HashMap<(bool, Vec<bool>), gpu::BindGroupLayout>>,
    timings: RefCell<Vec<Timing>>,
}

/// Timestamps of a submission on their way back.
struct Timing {
    resolved: gpu::Buffer,
    n_dispatches: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NativeDevice {
    /// # Errors
    /// `MODEL_UNSUPPORTED` when there is no such adapter.
    pub async fn open(choice: &AdapterChoice) -> Result<NativeDevice> {
        let none = |why: String| Error::unsupported(AT, format!("no WebGPU adapter: {why}"));
        let instance = instance();
        let adapter = match &choice.name {
            Some(name) => {
                let adapters = instance.enumerate_adapters(gpu::Backends::all()).await;
                let wanted = name.to_lowercase();
                let named = |adapter: &gpu::Adapter| {
                    let name = adapter.get_info().name.to_lowercase();
                    wanted.split_whitespace().all(|word| name.contains(word))
                };
                let names = adapters.iter().map(|adapter| adapter.get_info().name);
                let known: Vec<String> = names.collect();
                let found = adapters.into_iter().find(named);
                found.ok_or_else(|| {
                    none(format!(
                        "no name has {name}: there are {}",
                        known.join(", ")
                    ))
                })?
            }
            None => instance
                .request_adapter(&gpu::RequestAdapterOptions {
                    power_preference: if choice.low_power {
                        gpu::PowerPreference::LowPower
                    } else {
                        gpu::PowerPreference::HighPerformance
                    },
                    force_fallback_adapter: choice.force_fallback,
                    ..Default::default()
                })
                .await
                .map_err(|error| none(error.to_string()))?,
        };
        let features = adapter.features() & wanted_features();
        let (device, queue) = adapter
            .request_device(&gpu::DeviceDescriptor {
                required_features: features,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|error| none(error.to_string()))?;
        let info = adapter.get_info();
        let failures = Arc::new(Failures::default());
        listen(&device, &failures);
        Ok(NativeDevice {
            caps: capabilities(&adapter, features),
            device,
            queue,
            info,
            failures,
            layouts: RefCell::default(),
            timings: RefCell::default(),
        })
    }

    /// Every adapter of this machine: its name and driver, and what its device could do.
    pub async fn adapters() -> Vec<(String, Capabilities)> {
        let adapters = instance().enumerate_adapters(gpu::Backends::all()).await;
        let described = adapters.iter().map(|adapter| {
            let capabilities = capabilities(adapter, adapter.features() & wanted_features());
            (description(&adapter.get_info()), capabilities)
        });
        described.collect()
    }

    /// Takes the kernels for a GPU also where the CPU plays one, as tests want them.
    pub fn choose_as_hardware(&mut self) {
        self.caps.software = false;
    }

    /// Gives the device up: what runs on it fails with `DEVICE_LOST`.
    pub fn destroy(&self) {
        lock(&self.failures.lost).get_or_insert_with(|| "the device was destroyed".into());
        self.device.destroy();
    }

    fn lost(&self) -> Option<String> {
        lock(&self.failures.lost).clone()
    }

    fn layout(&self, shader: &Shader) -> gpu::BindGroupLayout {
        let key = (shader.has_params, shader.writes.clone());
        if let Some(layout) = self.layouts.borrow().get(&key) {
            return layout.clone();
        }
        let entry = |binding: usize, ty| gpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: gpu::ShaderStages::COMPUTE,
            ty: gpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let params = shader
            .has_params
            .then(|| entry(0, gpu::BufferBindingType::Uniform));
        let storage = shader.writes.iter().enumerate().map(|(idx, &writes)| {
            entry(
                idx + 1,
                gpu::BufferBindingType::Storage { read_only: !writes },
            )
        });
        let entries: Vec<_> = params.into_iter().chain(storage).collect();
        let descriptor = gpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        };
        let layout = self.device.create_bind_group_layout(&descriptor);
        self.layouts.borrow_mut().insert(key, layout.clone());
        layout
    }

    fn pipeline(&self, shader: &Shader) -> (gpu::ComputePipeline, gpu::BindGroupLayout) {
        let layout = self.layout(shader);
        let module = self
            .device
            .create_shader_module(gpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: gpu::ShaderSource::Wgsl(shader.code.as_ref().into()),
            });
        let pipeline_layout = self
            .device
            .create_pipeline_layout(&gpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&gpu::ComputePipelineDescriptor {
                label: Some(shader.name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: gpu::PipelineCompilationOptions {
                    // Buffers of a device begin as zero, and no kernel reads workgroup memory that it
                    // has not written.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
        (pipeline, layout)
    }

    fn wait(&self) -> Result<()> {
        let polled = self.device.poll(gpu::PollType::wait_indefinitely());
        polled.map_err(|error| self.failed(error.to_string()))?;
        Ok(())
    }

    /// The error for a failed call: a lost device explains everything.
    fn failed(&self, why: String) -> Error {
        match self.lost() {
            Some(why) => Error::new(ErrorKind::DeviceLost, AT, why),
            None => Error::internal(AT, why),
        }
    }

    fn mapped(&self, buffer: &gpu::Buffer, size_bytes: u64) -> Result<Vec<u8>> {
        let slice = buffer.slice(..size_bytes);
        let mapped = Arc::new(Mutex::new(None));
        let seen = mapped.clone();
        slice.map_async(gpu::MapMode::Read, move |result| {
            *lock(&seen) = Some(result)
        });
        self.wait()?;
        match lock(&mapped).take() {
            Some(Ok(())) => {}
            other => return Err(self.failed(format!("mapping a buffer: {other:?}"))),
        }
        let range = slice.get_mapped_range();
        let range = range.map_err(|error| self.failed(error.to_string()))?;
        let bytes = range.to_vec();
        drop(range);
        buffer.unmap();
        Ok(bytes)
    }
}

fn instance() -> gpu::Instance {
    gpu::Instance::new(gpu::InstanceDescriptor {
        backends: gpu::Backends::from_env().unwrap_or_default(),
        ..gpu::InstanceDescriptor::new_without_display_handle()
    })
}

fn wanted_features() -> gpu::Features {
    gpu::Features::SHADER_F16 | gpu::Features::SUBGROUP | gpu::Features::TIMESTAMP_QUERY
}

fn capabilities(adapter: &gpu::Adapter, features: gpu::Features) -> Capabilities {
    let limits = adapter.limits();
    Capabilities {
        software: adapter.get_info().device_type == gpu::DeviceType::Cpu,
        shader_f16: features.contains(gpu::Features::SHADER_F16),
        subgroups: features.contains(gpu::Features::SUBGROUP),
        timestamps: features.contains(gpu::Features::TIMESTAMP_QUERY),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        max_workgroup_size: limits.max_compute_invocations_per_workgroup,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
    }
}

fn description(info: &gpu::AdapterInfo) -> String {
    let parts = [&info.name, &info.driver, &info.driver_info];
    let parts = parts.iter().map(|part| part.as_str());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

fn listen(device: &gpu::Device, failures: &Arc<Failures>) {
    let weak = Arc::downgrade(failures);
    device.set_device_lost_callback(move |_, message| {
        if let Some(failures) = weak.upgrade() {
            lock(&failures.lost).get_or_insert(format!("the device was lost: {message}"));
        }
    });
    let failures = failures.clone();
    device.on_uncaptured_error(Arc::new(move |error| {
        let kind = match &error {
            gpu::Error::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            _ => ErrorKind::Internal,
        };
        lock(&failures.first).get_or_insert(Error::new(kind, AT, error.to_string()));
    }));
}

impl Device for NativeDevice {
    type Buffer = gpu::Buffer;
    type Pipeline = (gpu::ComputePipeline, gpu::BindGroupLayout);
    type Bindings = gpu::BindGroup;

    fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    fn description(&self) -> String {
        description(&self.info)
    }

    fn create_buffer(&self, size_bytes: u64, usage: Usage) -> gpu::Buffer {
        let usage = match usage {
            Usage::Storage => {
                gpu::BufferUsages::STORAGE
                    | gpu::BufferUsages::COPY_SRC
                    | gpu::BufferUsages::COPY_DST
            }
            Usage::Uniform => gpu::BufferUsages::UNIFORM | gpu::BufferUsages::COPY_DST,
            Usage::Staging => gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST,
        };
        self.device.create_buffer(&gpu::BufferDescriptor {
            label: None,
            size: size_bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    fn destroy_buffer(&self, buffer: &gpu::Buffer) {
        buffer.destroy();
    }

    fn write_buffer(&self, buffer: &gpu::Buffer, bytes: &[u8]) {
        self.queue.write_buffer(buffer, 0, bytes);
    }

    async fn create_pipelines(&self, shaders: Vec<Shader>) -> Result<Vec<Self::Pipeline>> {
        let compile = |shader: &Shader| {
            let scope = self.device.push_error_scope(gpu::ErrorFilter::Validation);
            let pipeline = self.pipeline(shader);
            match ready(scope.pop()) {
                None => Ok(pipeline),
                Some(error) => Err(Error::internal(shader.name, error.to_string())),
            }
        };
        shaders.iter().map(compile).collect()
    }

    fn bind(&self, pipeline: &Self::Pipeline, bound: &[Bound<gpu::Buffer>]) -> gpu::BindGroup {
        let entries: Vec<_> = bound
            .iter()
            .map(|bound| gpu::BindGroupEntry {
                binding: bound.binding,
                resource: gpu::BindingResource::Buffer(gpu::BufferBinding {
                    buffer: bound.buffer,
                    offset: bound.offset,
                    size: bound.size.and_then(std::num::NonZeroU64::new),
                }),
            })
            .collect();
        self.device.create_bind_group(&gpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.1,
            entries: &entries,
        })
    }

    fn submit(&self, commands: &[Command<NativeDevice>], timed: bool) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let is_dispatch = |command: &&Command<_>| matches!(command, Command::Dispatch { .. });
        let n_dispatches = commands.iter().filter(is_dispatch).count();
        let timed = timed && self.caps.timestamps && n_dispatches > 0;
        let queries = timed.then(|| {
            self.device.create_query_set(&gpu::QuerySetDescriptor {
                label: None,
                ty: gpu::QueryType::Timestamp,
                count: 2 * n_dispatches as u32,
            })
        });
        let mut pass: Option<gpu::ComputePass<'static>> = None;
        let mut query = 0;
        for command in commands {
            match command {
                Command::Dispatch {
                    pipeline,
                    bindings,
                    grid,
                } => {
                    if let Some(queries) = &queries {
                        drop(pass.take());
                        let writes = gpu::ComputePassTimestampWrites {
                            query_set: queries,
                            beginning_of_pass_write_index: Some(query),
                            end_of_pass_write_index: Some(query + 1),
                        };
                        query += 2;
                        let descriptor = gpu::ComputePassDescriptor {
                            label: None,
                            timestamp_writes: Some(writes),
                        };
                        pass = Some(encoder.begin_compute_pass(&descriptor).forget_lifetime());
                    }
                    let pass = pass.get_or_insert_with(|| {
                        encoder
                            .begin_compute_pass(&Default::default())
                            .forget_lifetime()
                    });
                    pass.set_pipeline(&pipeline.0);
                    pass.set_bind_group(0, *bindings, &[]);
                    pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
                }
                Command::Copy {
                    from,
                    to,
                    to_offset,
                    size_bytes,
                } => {
                    drop(pass.take());
                    encoder.copy_buffer_to_buffer(from, 0, to, *to_offset, *size_bytes);
                }
            }
        }
        drop(pass);
        if let Some(queries) = queries {
            let n_queries = 2 * n_dispatches as u32;
            let size = u64::from(n_queries) * 8;
            let buffer = |usage| {
                self.device.create_buffer(&gpu::BufferDescriptor {
                    label: None,
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let raw = buffer(gpu::BufferUsages::QUERY_RESOLVE | gpu::BufferUsages::COPY_SRC);
            let resolved = buffer(gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST);
            encoder.resolve_query_set(&queries, 0..n_queries, &raw, 0);
            encoder.copy_buffer_to_buffer(&raw, 0, &resolved, 0, size);
            self.timings.borrow_mut().push(Timing {
                resolved,
                n_dispatches,
            });
        }
        self.queue.submit([encoder.finish()]);
    }

    async fn timings(&self) -> Result<Vec<u64>> {
        let period_ns = f64::from(self.queue.get_timestamp_period());
        let mut all = Vec::new();
        for timing in self.timings.take() {
            let bytes = self.mapped(&timing.resolved, timing.n_dispatches as u64 * 16)?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
            let spans = ticks
                .chunks_exact(2)
                .map(|pair| pair[1].saturating_sub(pair[0]));
            all.extend(spans.map(|ticks| (ticks as f64 * period_ns) as u64));
        }
        Ok(all)
    }

    async fn read_buffer(&self, buffer: &gpu::Buffer, size_bytes: u64) -> Result<Vec<u8>> {
        self.mapped(buffer, size_bytes)
    }

    fn open_scopes(&self) {
        lock(&self.failures.first).take();
    }

    async fn close_scopes(&self) -> Result<()> {
        self.failure().map_or(Ok(()), Err)
    }

    fn failure(&self) -> Option<Error> {
        let lost = self
            .lost()
            .map(|why| Error::new(ErrorKind::DeviceLost, AT, why));
        lost.or_else(|| lock(&self.failures.first).take())
    }
}

/// The result of a future of wgpu's that is always ready on native targets.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("native error scopes close at once"),
    }
}
