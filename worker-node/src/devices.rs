//! What models can run on here.

use wgpu::compat::{AdapterChoice, open};

/// One line for each backend.
pub fn list() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let gpu = match pollster::block_on(open(&AdapterChoice::from_env())) {
        Ok(gpu) if gpu.is_software() => format!("{} (software)", gpu.description()),
        Ok(gpu) => gpu.description(),
        Err(failure) => format!("not here: {failure}"),
    };
    format!("cpu    {threads} threads\nwonnx  {gpu}\n")
}
