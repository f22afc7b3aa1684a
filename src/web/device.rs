//! A device of the host's WebGPU: that of a browser, of Deno, or of a package for Node.

use std::cell::RefCell;
use std::collections::HashMap;

use js_sys::futures::JsFuture;
use js_sys::{JsNullable, Uint8Array, WebAssembly};
use wasm_bindgen::prelude::*;
use web_sys::{
    GpuBindGroup, GpuBindGroupDescriptor, GpuBindGroupEntry, GpuBindGroupLayout,
    GpuBindGroupLayoutDescriptor, GpuBindGroupLayoutEntry, GpuBuffer, GpuBufferBinding,
    GpuBufferBindingLayout, GpuBufferBindingType, GpuBufferDescriptor, GpuCommandEncoder,
    GpuComputePassDescriptor, GpuComputePassEncoder, GpuComputePassTimestampWrites,
    GpuComputePipeline, GpuComputePipelineDescriptor, GpuDevice, GpuPipelineLayout,
    GpuPipelineLayoutDescriptor, GpuProgrammableStage, GpuQuerySet, GpuQuerySetDescriptor,
    GpuQueryType, GpuQueue, GpuShaderModule, GpuShaderModuleDescriptor,
    gpu_buffer_usage as usage_bits, gpu_map_mode, gpu_shader_stage,
};

use super::failures::{Failures, text};
use crate::backend::webgpu::{Bound, Command, Device, Shader, Usage};
use crate::error::{Error, Result};
use crate::kernel::Capabilities;

/// What one call of `writeBuffer` takes: the host copies it once more on its way.
const WRITE_BYTES: usize = 16 << 20;

/// WebGPU's limit for a query set, two for each dispatch.
const MAX_QUERIES: u32 = 4096;

/// What the host says of the adapter that a device is from.
pub struct AdapterFacts {
    pub software: bool,
    pub description: String,
}

/// Whether binding 0 is a uniform, and which storage buffers are written.
type LayoutKey = (bool, Vec<bool>);

pub struct WebDevice {
    pub(super) device: GpuDevice,
    pub(super) queue: GpuQueue,
    caps: Capabilities,
    description: String,
    failures: Failures,
    layouts: RefCell<HashMap<LayoutKey, (GpuBindGroupLayout, GpuPipelineLayout)>>,
    timings: RefCell<Vec<Timing>>,
    /// Where bytes go on their way, when memory is shared: Dawn in Node fails on views of it.
    way: Option<Uint8Array>,
}

/// Timestamps of a submission on their way back.
struct Timing {
    sets: Vec<GpuQuerySet>,
    raw: GpuBuffer,
    resolved: GpuBuffer,
    size_bytes: u64,
}

impl WebDevice {
    pub fn new(device: GpuDevice, facts: AdapterFacts) -> WebDevice {
        let (limits, features) = (device.limits(), device.features());
        let caps = Capabilities {
            software: facts.software,
            shader_f16: features.has("shader-f16"),
            subgroups: features.has("subgroups"),
            timestamps: features.has("timestamp-query"),
            max_binding_bytes: limits.max_storage_buffer_binding_size() as u64,
            max_buffer_bytes: limits.max_buffer_size() as u64,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage(),
            max_workgroups: limits.max_compute_workgroups_per_dimension(),
            max_workgroup_size: limits.max_compute_invocations_per_workgroup(),
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size(),
        };
        let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
        let class = text(
            &super::convert::field(&memory.buffer(), "constructor"),
            "name",
        );
        let is_shared = class == "SharedArrayBuffer";
        WebDevice {
            queue: device.queue(),
            caps,
            description: facts.description,
            failures: Failures::listen(&device),
            layouts: RefCell::default(),
            timings: RefCell::default(),
            way: is_shared.then(|| Uint8Array::new_with_length(WRITE_BYTES as u32)),
            device,
        }
    }

    fn new_buffer(&self, size_bytes: u64, usage: u32) -> GpuBuffer {
        let descriptor = GpuBufferDescriptor::new_with_f64(size_bytes as f64, usage);
        let made = self.device.create_buffer(&descriptor);
        made.expect("a buffer is refused by an error scope, not by an exception")
    }

    fn layout(&self, shader: &Shader) -> (GpuBindGroupLayout, GpuPipelineLayout) {
        let key = (shader.has_params, shader.writes.clone());
        if let Some(known) = self.layouts.borrow().get(&key) {
            return known.clone();
        }
        let entry = |binding: usize, kind| {
            let entry = GpuBindGroupLayoutEntry::new(binding as u32, gpu_shader_stage::COMPUTE);
            let buffer = GpuBufferBindingLayout::new();
            buffer.set_type(kind);
            entry.set_buffer(&buffer);
            entry
        };
        let params = shader
            .has_params
            .then(|| entry(0, GpuBufferBindingType::Uniform));
        let storage = shader.writes.iter().enumerate().map(|(idx, &writes)| {
            let kind = if writes {
                GpuBufferBindingType::Storage
            } else {
                GpuBufferBindingType::ReadOnlyStorage
            };
            entry(idx + 1, kind)
        });
        let entries: Vec<_> = params.into_iter().chain(storage).collect();
        let descriptor = GpuBindGroupLayoutDescriptor::new(&entries);
        let group = self.device.create_bind_group_layout(&descriptor);
        let group = group.expect("a layout is refused by an error scope, not by an exception");
        let groups = [JsNullable::wrap(group.clone())];
        let descriptor = GpuPipelineLayoutDescriptor::new(&groups);
        let made = (group, self.device.create_pipeline_layout(&descriptor));
        self.layouts.borrow_mut().insert(key, made.clone());
        made
    }

    /// Hands a shader to the compiler.
    fn compile(&self, shader: &Shader) -> Compiling {
        let descriptor = GpuShaderModuleDescriptor::new(&shader.code);
        descriptor.set_label(shader.name);
        let module = self.device.create_shader_module(&descriptor);
        let (group, layout) = self.layout(shader);
        let stage = GpuProgrammableStage::new(&module);
        stage.set_entry_point("main");
        let descriptor = GpuComputePipelineDescriptor::new(&layout, &stage);
        descriptor.set_label(shader.name);
        let promise = self.device.create_compute_pipeline_async(&descriptor);
        Compiling {
            name: shader.name,
            module,
            group,
            pipeline: JsFuture::from(promise),
        }
    }

    async fn compiled(
        &self,
        compiling: Compiling,
    ) -> Result<(GpuComputePipeline, GpuBindGroupLayout)> {
        let thrown = match compiling.pipeline.await {
            Ok(pipeline) => return Ok((pipeline, compiling.group)),
            Err(thrown) => thrown,
        };
        let mut error = self.failures.refused(thrown, "compiling").await;
        if error.kind == crate::ErrorKind::Internal {
            let info = JsFuture::from(compiling.module.get_compilation_info()).await;
            let messages = info
                .map(|info| info.messages().to_vec())
                .unwrap_or_default();
            for message in messages {
                let (line, column) = (message.line_num(), message.line_pos());
                error.why = format!("{}; {line}:{column}: {}", error.why, message.message()).into();
            }
        }
        Err(error.within(compiling.name))
    }

    async fn mapped(&self, buffer: &GpuBuffer, size_bytes: u64) -> Result<Vec<u8>> {
        let size = size_bytes as f64;
        let mapping = buffer.map_async_with_f64_and_f64(gpu_map_mode::READ, 0.0, size);
        if let Err(thrown) = JsFuture::from(mapping).await {
            return Err(self.failures.refused(thrown, "mapping a buffer").await);
        }
        let bytes = match buffer.get_mapped_range_with_f64_and_f64(0.0, size) {
            Ok(range) => Uint8Array::new(&range).to_vec(),
            Err(thrown) => return Err(self.failures.refused(thrown, "reading a buffer").await),
        };
        buffer.unmap();
        Ok(bytes)
    }
}

/// A shader that the compiler has.
struct Compiling {
    name: &'static str,
    module: GpuShaderModule,
    group: GpuBindGroupLayout,
    pipeline: JsFuture<GpuComputePipeline>,
}

impl Device for WebDevice {
    type Buffer = GpuBuffer;
    type Pipeline = (GpuComputePipeline, GpuBindGroupLayout);
    type Bindings = GpuBindGroup;

    fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn create_buffer(&self, size_bytes: u64, usage: Usage) -> GpuBuffer {
        let usage = match usage {
            Usage::Storage => usage_bits::STORAGE | usage_bits::COPY_SRC | usage_bits::COPY_DST,
            Usage::Uniform => usage_bits::UNIFORM | usage_bits::COPY_DST,
            Usage::Staging => usage_bits::MAP_READ | usage_bits::COPY_DST,
        };
        self.new_buffer(size_bytes, usage)
    }

    fn destroy_buffer(&self, buffer: &GpuBuffer) {
        buffer.destroy();
    }

    fn write_buffer(&self, buffer: &GpuBuffer, bytes: &[u8]) {
        let mut offset = 0.0;
        for chunk in bytes.chunks(WRITE_BYTES) {
            let written = match &self.way {
                None => self
                    .queue
                    .write_buffer_with_f64_and_u8_slice(buffer, offset, chunk),
                Some(way) => {
                    let size = chunk.len() as u32;
                    way.subarray(0, size).copy_from(chunk);
                    self.queue
                        .write_buffer_with_f64_and_u8_array_and_f64_and_f64(
                            buffer,
                            offset,
                            way,
                            0.0,
                            size.into(),
                        )
                }
            };
            if let Err(thrown) = written {
                self.failures.keep(&thrown);
            }
            offset += chunk.len() as f64;
        }
    }

    fn create_pipelines(
        &self,
        shaders: Vec<Shader>,
    ) -> impl Future<Output = Result<Vec<Self::Pipeline>>> {
        let compiling: Vec<Compiling> = shaders.iter().map(|shader| self.compile(shader)).collect();
        async move {
            let mut pipelines = Vec::with_capacity(compiling.len());
            for compiling in compiling {
                pipelines.push(self.compiled(compiling).await?);
            }
            Ok(pipelines)
        }
    }

    fn bind(&self, pipeline: &Self::Pipeline, bound: &[Bound<GpuBuffer>]) -> GpuBindGroup {
        let entry = |bound: &Bound<GpuBuffer>| {
            let part = GpuBufferBinding::new(bound.buffer);
            part.set_offset_f64(bound.offset as f64);
            if let Some(size) = bound.size {
                part.set_size_f64(size as f64);
            }
            GpuBindGroupEntry::new_with_gpu_buffer_binding(bound.binding, &part)
        };
        let entries: Vec<_> = bound.iter().map(entry).collect();
        let descriptor = GpuBindGroupDescriptor::new(&entries, &pipeline.1);
        self.device.create_bind_group(&descriptor)
    }

    fn submit(&self, commands: &[Command<WebDevice>], timed: bool) {
        let encoder = self.device.create_command_encoder();
        let is_dispatch = |command: &&Command<_>| matches!(command, Command::Dispatch { .. });
        let n_dispatches = commands.iter().filter(is_dispatch).count() as u32;
        let timed = timed && self.caps.timestamps && n_dispatches > 0;
        let timing = timed.then(|| self.timing(2 * n_dispatches)).flatten();
        let mut pass: Option<GpuComputePassEncoder> = None;
        let mut query = 0;
        for command in commands {
            match command {
                Command::Dispatch {
                    pipeline,
                    bindings,
                    grid,
                } => {
                    if let Some(timing) = &timing {
                        end(&mut pass);
                        pass = Some(timing.pass(&encoder, query));
                        query += 2;
                    }
                    let pass = pass.get_or_insert_with(|| encoder.begin_compute_pass());
                    pass.set_pipeline(&pipeline.0);
                    pass.set_bind_group(0, Some(bindings));
                    pass.dispatch_workgroups_with_workgroup_count_y_and_workgroup_count_z(
                        grid[0], grid[1], grid[2],
                    );
                }
                Command::Copy {
                    from,
                    to,
                    to_offset,
                    size_bytes,
                } => {
                    end(&mut pass);
                    let copied = encoder.copy_buffer_to_buffer_with_f64_and_f64_and_f64(
                        from,
                        0.0,
                        to,
                        *to_offset as f64,
                        *size_bytes as f64,
                    );
                    // A caller's buffer may be anything.
                    if let Err(thrown) = copied {
                        self.failures.keep(&thrown);
                    }
                }
            }
        }
        end(&mut pass);
        if let Some(timing) = timing {
            timing.resolve(&encoder);
            self.timings.borrow_mut().push(timing);
        }
        self.queue.submit(&[encoder.finish()]);
    }

    async fn timings(&self) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        for timing in self.timings.take() {
            let bytes = self.mapped(&timing.resolved, timing.size_bytes).await;
            timing.destroy();
            let times_ns: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes?);
            let spans = times_ns.chunks_exact(2);
            all.extend(spans.map(|pair| pair[1].saturating_sub(pair[0])));
        }
        Ok(all)
    }

    async fn read_buffer(&self, buffer: &GpuBuffer, size_bytes: u64) -> Result<Vec<u8>> {
        self.mapped(buffer, size_bytes).await
    }

    fn open_scopes(&self) {
        self.failures.open();
    }

    async fn close_scopes(&self) -> Result<()> {
        self.failures.close().await
    }

    fn failure(&self) -> Option<Error> {
        self.failures.failure()
    }
}

fn end(pass: &mut Option<GpuComputePassEncoder>) {
    if let Some(pass) = pass.take() {
        pass.end();
    }
}

impl WebDevice {
    fn timing(&self, n_queries: u32) -> Option<Timing> {
        let set = |first: u32| {
            let count = (n_queries - first).min(MAX_QUERIES);
            let descriptor = GpuQuerySetDescriptor::new(count, GpuQueryType::Timestamp);
            self.device.create_query_set(&descriptor).ok()
        };
        let firsts = (0..n_queries).step_by(MAX_QUERIES as usize);
        let size_bytes = u64::from(n_queries) * 8;
        Some(Timing {
            sets: firsts.map(set).collect::<Option<_>>()?,
            raw: self.new_buffer(size_bytes, usage_bits::QUERY_RESOLVE | usage_bits::COPY_SRC),
            resolved: self.new_buffer(size_bytes, usage_bits::MAP_READ | usage_bits::COPY_DST),
            size_bytes,
        })
    }
}

impl Timing {
    /// A pass that writes this query when it begins, and the next one when it ends.
    fn pass(&self, encoder: &GpuCommandEncoder, query: u32) -> GpuComputePassEncoder {
        let set = &self.sets[(query / MAX_QUERIES) as usize];
        let writes = GpuComputePassTimestampWrites::new(set);
        writes.set_beginning_of_pass_write_index(query % MAX_QUERIES);
        writes.set_end_of_pass_write_index(query % MAX_QUERIES + 1);
        let descriptor = GpuComputePassDescriptor::new();
        descriptor.set_timestamp_writes(&writes);
        encoder.begin_compute_pass_with_descriptor(&descriptor)
    }

    fn resolve(&self, encoder: &GpuCommandEncoder) {
        let mut offset = 0;
        for set in &self.sets {
            let count = set.count();
            encoder.resolve_query_set_with_u32(set, 0, count, &self.raw, offset);
            offset += count * 8;
        }
        let size = self.size_bytes as f64;
        // Both buffers are this submission's own, and large enough.
        let _ = encoder.copy_buffer_to_buffer_with_f64_and_f64_and_f64(
            &self.raw,
            0.0,
            &self.resolved,
            0.0,
            size,
        );
    }

    fn destroy(&self) {
        self.raw.destroy();
        self.resolved.destroy();
        self.sets.iter().for_each(GpuQuerySet::destroy);
    }
}
