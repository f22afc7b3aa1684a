//! The facade on a real device; without an adapter the tests say so and pass.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::{Arc, mpsc};

use wgpu::compat::{self, AdapterChoice, FailureKind, Gpu, GpuFailure};
use wgpu::util::{BufferInitDescriptor, DeviceExt, DownloadBuffer};
use wgpu::{
    BindGroupDescriptor, BindGroupEntry, BufferDescriptor, BufferUsages, CommandEncoderDescriptor,
    ComputePassDescriptor, ComputePipelineDescriptor, Device, Maintain, Queue,
    ShaderModuleDescriptor, ShaderSource,
};

fn gpu() -> Option<Arc<Gpu>> {
    match pollster::block_on(compat::open(&AdapterChoice::from_env())) {
        Ok(gpu) => Some(gpu),
        Err(failure) => {
            // Not through a macro, whose text is kept back when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED (1 test): no adapter: {failure}");
            None
        }
    }
}

/// Does `work` with wonnx's view of the shared device.
fn checked<T>(gpu: &Gpu, work: impl FnOnce(&Device, &Queue) -> T) -> Result<T, GpuFailure> {
    pollster::block_on(gpu.checked(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            dx12_shader_compiler: wgpu::Dx12Compiler::Fxc,
        });
        let none = wgpu::Backends::PRIMARY;
        let adapter =
            wgpu::util::initialize_adapter_from_env_or_default(&instance, none, None).await;
        let adapter = adapter.expect("the device is open");
        let opened = adapter.request_device(&Default::default(), None).await;
        let (device, queue) = opened.expect("the device is open");
        work(&device, &queue)
    }))
}

fn filled(device: &Device, contents: &[u8]) -> wgpu::Buffer {
    device.create_buffer_init(&BufferInitDescriptor {
        label: Some("filled"),
        contents,
        usage: BufferUsages::STORAGE,
    })
}

fn read(device: &Device, queue: &Queue, buffer: &wgpu::Buffer) -> Option<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    DownloadBuffer::read_buffer(device, queue, &buffer.slice(..), move |bytes| {
        sender
            .send(bytes.ok().map(|bytes| bytes.to_vec()))
            .expect("the test waits");
    });
    device.poll(Maintain::Wait);
    receiver
        .recv()
        .expect("the callback is called whatever happens")
}

/// One invocation per element of `output_0`.
fn dispatch(device: &Device, queue: &Queue, shader: &str, buffer: &wgpu::Buffer, groups: u32) {
    let module = device.create_shader_module(ShaderModuleDescriptor {
        label: None,
        source: ShaderSource::Wgsl(Cow::Borrowed(shader)),
    });
    let pipeline = device.create_compute_pipeline(&ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: "main",
    });
    let group = device.create_bind_group(&BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[BindGroupEntry {
            binding: 0,
            resource: buffer.as_entire_binding(),
        }],
    });
    let mut encoder = device.create_command_encoder(&CommandEncoderDescriptor { label: None });
    {
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor { label: None });
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(groups, 1, 1);
    }
    queue.submit(Some(encoder.finish()));
}

const HEAD: &str = "alias Scalar = f32;
struct Array { data: array<Scalar> };
@group(0) @binding(0) var<storage, read_write> output_0: Array;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) global_id: vec3<u32>) {
let gidx = global_id.x;\n";

#[test]
fn bytes_come_back_as_they_went() {
    let Some(gpu) = gpu() else { return };
    let bytes = checked(&gpu, |device, queue| {
        read(device, queue, &filled(device, &[1, 2, 3, 4, 5, 6]))
    });
    assert_eq!(bytes.unwrap(), Some(vec![1, 2, 3, 4, 5, 6, 0, 0]));
}

#[test]
fn an_old_minus_infinity_is_computed() {
    let Some(gpu) = gpu() else { return };
    let bytes = checked(&gpu, |device, queue| {
        let buffer = filled(device, &[0; 16]);
        let body = "output_0.data[gidx] = max(log(Scalar()), 2.5); }";
        dispatch(device, queue, &format!("{HEAD}{body}"), &buffer, 3);
        read(device, queue, &buffer)
    });
    assert_eq!(bytes.unwrap().unwrap(), 2.5_f32.to_le_bytes().repeat(4));
}

#[test]
fn a_refused_shader_is_a_failure_and_the_device_goes_on() {
    let Some(gpu) = gpu() else { return };
    let refused = checked(&gpu, |device, queue| {
        let buffer = filled(device, &[0; 16]);
        dispatch(
            device,
            queue,
            &format!("{HEAD} this is no shader }}"),
            &buffer,
            1,
        );
    });
    assert_eq!(refused.unwrap_err().kind, FailureKind::Validation);
    assert_eq!(checked(&gpu, |_, _| 5), Ok(5));
}

#[test]
fn a_buffer_beyond_the_limits_is_out_of_memory() {
    let Some(gpu) = gpu() else { return };
    let failed = checked(&gpu, |device, _| {
        device.create_buffer(&BufferDescriptor {
            label: Some("vast"),
            size: 1 << 50,
            usage: BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
    });
    let failure = failed.unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfMemory);
    assert!(failure.message.contains("buffer vast"), "{failure}");
}

#[test]
fn writing_behind_the_end_is_a_failure() {
    let Some(gpu) = gpu() else { return };
    let failed = checked(&gpu, |device, queue| {
        queue.write_buffer(&filled(device, &[0; 16]), 0, &[0; 20]);
    });
    assert_eq!(failed.unwrap_err().kind, FailureKind::Validation);
}

#[test]
fn the_device_is_shared() {
    let Some(first) = gpu() else { return };
    assert!(Arc::ptr_eq(&first, &gpu().unwrap()));
}
