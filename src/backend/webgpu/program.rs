//! A few launches that belong to no model, over buffers of the caller's.

use std::rc::Rc;

use super::device::{Bound, Command, Device, Shader, Usage};
use super::exec::uniforms;
use super::memory::{Gpu, GpuBuffer};
use crate::error::Result;
use crate::kernel::{Dispatch, Launch, Operand};

/// A dispatch on a device: shaders compiled, parameters uploaded, scratch buffers at hand.
pub struct Program<D: Device> {
    gpu: Rc<Gpu<D>>,
    launches: Vec<Launch>,
    pipelines: Vec<D::Pipeline>,
    params: GpuBuffer<D>,
    params_offsets: Vec<u64>,
    scratch: Vec<GpuBuffer<D>>,
}

impl<D: Device> Program<D> {
    /// # Errors
    /// `OUT_OF_MEMORY`, `DEVICE_LOST`, `INTERNAL` for a shader that the device refuses.
    pub async fn load(gpu: &Rc<Gpu<D>>, dispatch: Dispatch) -> Result<Program<D>> {
        let launches = dispatch.launches;
        let shaders: Vec<Shader> = launches.iter().map(Shader::of).collect();
        let compiling = gpu.pipelines(&shaders);
        let (bytes, params_offsets) = uniforms(launches.iter());
        let params = gpu.buffer(bytes.len() as u64, Usage::Uniform)?;
        gpu.device.write_buffer(&params.buffer, &bytes);
        let scratch = dispatch.scratch.iter();
        let scratch = scratch.map(|&bytes| gpu.buffer(bytes, Usage::Storage));
        Ok(Program {
            gpu: gpu.clone(),
            scratch: scratch.collect::<Result<_>>()?,
            pipelines: compiling.await?,
            launches,
            params,
            params_offsets,
        })
    }

    /// Hands the launches over; runs that follow one another may share all buffers.
    pub fn run(&self, inputs: &[&D::Buffer], outputs: &[&D::Buffer]) {
        let bindings = self.launches.iter().enumerate().map(|(idx, launch)| {
            let params = (!launch.params.is_empty()).then(|| Bound {
                binding: 0,
                buffer: &self.params.buffer,
                offset: self.params_offsets[idx],
                size: Some(launch.params.len() as u64 * 4),
            });
            let storage = launch.bindings.iter().enumerate();
            let storage = storage.map(|(idx, binding)| Bound {
                binding: idx as u32 + 1,
                buffer: match binding.operand {
                    Operand::Input(idx) => inputs[idx],
                    Operand::Output(idx) => outputs[idx],
                    Operand::Scratch(idx) => &self.scratch[idx].buffer,
                },
                offset: 0,
                size: None,
            });
            let bound: Vec<_> = params.into_iter().chain(storage).collect();
            self.gpu.device.bind(&self.pipelines[idx], &bound)
        });
        let bindings: Vec<D::Bindings> = bindings.collect();
        let launches = self.launches.iter().zip(&self.pipelines).zip(&bindings);
        let commands = launches.map(|((launch, pipeline), bindings)| Command::Dispatch {
            pipeline,
            bindings,
            grid: launch.grid,
        });
        let commands: Vec<Command<D>> = commands.collect();
        self.gpu.device.submit(&commands, false);
    }
}
