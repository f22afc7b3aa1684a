//! A device whose buffers begin full of what is no number, and not with zeros: whoever reads behind
//! the end of a tensor, or what nobody has written, gets to see it.

use sentinel_inference::backend::webgpu::native::NativeDevice;
use sentinel_inference::backend::webgpu::{Bound, Command, Device, Shader, Usage};
use sentinel_inference::error::{Error, Result};
use sentinel_inference::kernel::Capabilities;

pub struct Poisoned(pub NativeDevice);

impl Device for Poisoned {
    type Buffer = <NativeDevice as Device>::Buffer;
    type Pipeline = <NativeDevice as Device>::Pipeline;
    type Bindings = <NativeDevice as Device>::Bindings;

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn description(&self) -> String {
        self.0.description()
    }

    fn create_buffer(&self, size_bytes: u64, usage: Usage) -> Self::Buffer {
        let buffer = self.0.create_buffer(size_bytes, usage);
        if usage == Usage::Storage {
            let size = usize::try_from(size_bytes).expect("tests are small");
            self.0.write_buffer(&buffer, &vec![0xff; size]);
        }
        buffer
    }

    fn destroy_buffer(&self, buffer: &Self::Buffer) {
        self.0.destroy_buffer(buffer);
    }

    fn write_buffer(&self, buffer: &Self::Buffer, bytes: &[u8]) {
        self.0.write_buffer(buffer, bytes);
    }

    async fn create_pipelines(&self, shaders: Vec<Shader>) -> Result<Vec<Self::Pipeline>> {
        self.0.create_pipelines(shaders).await
    }

    fn bind(&self, pipeline: &Self::Pipeline, bound: &[Bound<Self::Buffer>]) -> Self::Bindings {
        self.0.bind(pipeline, bound)
    }

    fn submit(&self, commands: &[Command<Self>], timed: bool) {
        let own = commands.iter().map(|command| match *command {
            Command::Dispatch {
                pipeline,
                bindings,
                grid,
            } => Command::Dispatch {
                pipeline,
                bindings,
                grid,
            },
            Command::Copy {
                from,
                to,
                to_offset,
                size_bytes,
            } => Command::Copy {
                from,
                to,
                to_offset,
                size_bytes,
            },
        });
        self.0.submit(&own.collect::<Vec<_>>(), timed);
    }

    async fn timings(&self) -> Result<Vec<u64>> {
        self.0.timings().await
    }

    async fn read_buffer(&self, buffer: &Self::Buffer, size_bytes: u64) -> Result<Vec<u8>> {
        self.0.read_buffer(buffer, size_bytes).await
    }

    fn open_scopes(&self) {
        self.0.open_scopes();
    }

    async fn close_scopes(&self) -> Result<()> {
        self.0.close_scopes().await
    }

    fn failure(&self) -> Option<Error> {
        self.0.failure()
    }
}
