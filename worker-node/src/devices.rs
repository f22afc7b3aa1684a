//! What models can run on here.

use std::fmt::Write;

use sentinel_inference::backend::webgpu::native::NativeDevice;
use sentinel_inference::kernel::Capabilities;

use crate::runner::library;

/// One line for the CPU, a few for each WebGPU adapter, and what there is of ONNX Runtime.
pub fn list() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut list = format!("cpu     {threads} threads\n");
    let adapters = pollster::block_on(NativeDevice::adapters());
    if adapters.is_empty() {
        list.push_str("webgpu  no adapter\n");
    }
    for (description, caps) in adapters {
        let software = if caps.software { " (software)" } else { "" };
        writeln!(list, "webgpu  {description}{software}").expect("strings take what is written");
        for line in facts(&caps) {
            writeln!(list, "        {line}").expect("strings take what is written");
        }
    }
    for line in onnxruntime() {
        writeln!(list, "{line}").expect("strings take what is written");
    }
    list
}

fn onnxruntime() -> Vec<String> {
    match library() {
        Ok(library) => vec![
            format!("onnxruntime  {}, found {}", library.version, library.found),
            format!("        library   {}", library.path.display()),
            format!("        providers {}", library.providers.join(" ")),
        ],
        Err(error) => {
            let lines = error.why.split("; ").enumerate();
            let lines = lines.map(|(at, line)| match at {
                0 => format!("onnxruntime  {line}"),
                _ => format!("        {line}"),
            });
            lines.collect()
        }
    }
}

fn facts(caps: &Capabilities) -> [String; 3] {
    let features = [
        ("shader-f16", caps.shader_f16),
        ("subgroups", caps.subgroups),
        ("timestamp-query", caps.timestamps),
    ];
    let features = features
        .iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| *name);
    let features: Vec<&str> = features.collect();
    [
        format!("features  {}", features.join(" ")),
        format!(
            "buffers   {} MiB, {} MiB bound, {} at once",
            caps.max_buffer_bytes >> 20,
            caps.max_binding_bytes >> 20,
            caps.max_storage_buffers
        ),
        format!(
            "workgroup {} invocations, {} KiB",
            caps.max_workgroup_size,
            caps.max_workgroup_bytes >> 10
        ),
    ]
}
