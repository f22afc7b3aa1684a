//! From a video frame, or what else a page shows, to a tensor on a device.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Number, Object, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{
    GpuCopyExternalImageDestInfo, GpuCopyExternalImageSourceInfo, GpuTexelCopyBufferInfo,
    GpuTexelCopyBufferLayout, GpuTexelCopyTextureInfo, GpuTexture, GpuTextureDescriptor,
    GpuTextureFormat, gpu_texture_usage as usage_bits,
};

use super::convert::{error_to_js, field};
use super::device::WebDevice;
use super::failures::text;
use super::gpu::{EngineGpu, tensor_on_gpu};
use super::image_spec::spec_from_js;
use super::set;
use crate::backend::webgpu::{Device, Gpu, GpuBuffer, Program, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Storage;
use crate::picture::{Sampling, Source, Spec, frame_to_tensor};

/// Sizes of frames that an importer is ready for at once: a camera that is turned goes back and
/// forth between two.
const MAX_SIZES: usize = 2;

/// Rows of a texture begin at multiples of so many bytes in a buffer.
const ROW_ALIGNMENT: usize = 256;

/// Frames become tensors as one description says, without a way over the CPU.
#[wasm_bindgen]
pub struct FrameImporter {
    gpu: Rc<Gpu<WebDevice>>,
    spec: Spec,
    /// The latest last.
    ready: RefCell<Vec<Rc<Ready>>>,
}

#[wasm_bindgen]
impl FrameImporter {
    pub fn open(gpu: &EngineGpu, spec: &JsValue) -> Result<FrameImporter, JsValue> {
        Ok(FrameImporter {
            gpu: gpu.gpu().clone(),
            spec: spec_from_js(spec).map_err(error_to_js)?,
            ready: RefCell::default(),
        })
    }

    /// `source` is what `copyExternalImageToTexture` takes, or `{ rgba }`; `width` and `height`
    /// are its size. Gives `{ type, dims, gpuTensor }`. Only the first frame of a size has to wait
    /// for the device; it has to stay open meanwhile.
    #[wasm_bindgen(js_name = import)]
    pub async fn import_frame(
        &self,
        source: JsValue,
        width: usize,
        height: usize,
    ) -> Result<JsValue, JsValue> {
        let tensor = self.tensor(&source, width, height).await;
        tensor.map_err(error_to_js)
    }
}

impl FrameImporter {
    async fn tensor(&self, source: &JsValue, width: usize, height: usize) -> Result<JsValue> {
        let ready = match self.known(width, height) {
            Some(ready) => ready,
            None => self.prepare(width, height).await?,
        };
        let device = &self.gpu.device;
        ready.upload(device, source)?;
        let (dtype, dims) = (ready.sampling.dtype, &ready.sampling.dims);
        let y = self.gpu.buffer(ready.output_bytes, Usage::Storage)?;
        let inputs = [&ready.pixels.buffer, &ready.table.buffer];
        ready.program.run(&inputs, &[&y.buffer]);
        match device.failure() {
            Some(error) => Err(error.within("frame")),
            None => Ok(tensor_on_gpu(&self.gpu, y, dtype, dims)),
        }
    }

    fn known(&self, width: usize, height: usize) -> Option<Rc<Ready>> {
        let mut all = self.ready.borrow_mut();
        let found = all.iter().position(|ready| ready.is_for(width, height))?;
        let ready = all.remove(found);
        all.push(ready.clone());
        Some(ready)
    }

    async fn prepare(&self, width: usize, height: usize) -> Result<Rc<Ready>> {
        let device = &self.gpu.device;
        device.open_scopes();
        let made = Ready::new(&self.gpu, &self.spec, width, height).await;
        let closed = device.close_scopes().await;
        let ready = made.and_then(|ready| closed.map(|()| Rc::new(ready)))?;
        let mut all = self.ready.borrow_mut();
        // Two frames may have waited for the same.
        all.retain(|ready| !ready.is_for(width, height));
        if all.len() == MAX_SIZES {
            all.remove(0);
        }
        all.push(ready.clone());
        Ok(ready)
    }
}

/// What frames of one size share. Each is done with it before the next, as the device works in the
/// order in which it is asked.
struct Ready {
    sampling: Sampling,
    source: Source,
    texture: Texture,
    pixels: GpuBuffer<WebDevice>,
    table: GpuBuffer<WebDevice>,
    program: Program<WebDevice>,
    output_bytes: u64,
}

impl Ready {
    async fn new(
        gpu: &Rc<Gpu<WebDevice>>,
        spec: &Spec,
        width: usize,
        height: usize,
    ) -> Result<Ready> {
        let sampling = Sampling::new(spec, width, height)?;
        let device = &gpu.device;
        let max = device.device.limits().max_texture_dimension_2d() as usize;
        if width.max(height) > max {
            let why = format!("{width} x {height} pixels, the device's textures end at {max}");
            return Err(Error::new(ErrorKind::TooLarge, "frame", why));
        }
        let source = Source {
            width,
            height,
            pitch: (width * 4).next_multiple_of(ROW_ALIGNMENT) / 4,
        };
        let caps = device.capabilities();
        let (dispatch, table_words) = frame_to_tensor(&sampling, source, caps)?;
        let storage = Storage::of(sampling.dtype, caps).expect("there are shaders for it");
        let table = gpu.buffer(table_words.len() as u64 * 4, Usage::Storage)?;
        device.write_buffer(&table.buffer, bytemuck::cast_slice(&table_words));
        Ok(Ready {
            texture: Texture::new(device, width, height),
            pixels: gpu.buffer((source.pitch * height * 4) as u64, Usage::Storage)?,
            table,
            output_bytes: storage.size_bytes(sampling.dims.iter().product()),
            program: Program::load(gpu, dispatch).await?,
            sampling,
            source,
        })
    }

    fn is_for(&self, width: usize, height: usize) -> bool {
        (self.source.width, self.source.height) == (width, height)
    }

    /// Brings a frame to `pixels`.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a source that is closed, of another size, or not for this page to read.
    fn upload(&self, device: &WebDevice, source: &JsValue) -> Result<()> {
        let Source {
            width,
            height,
            pitch,
        } = self.source;
        let size = [Number::from(width as f64), Number::from(height as f64)];
        let refused = |thrown: JsValue| {
            Error::new(ErrorKind::InvalidInput, "frame", text(&thrown, "message"))
        };
        if let Ok(rgba) = field(source, "rgba").dyn_into::<Uint8Array>() {
            if rgba.length() as usize != width * height * 4 {
                let given = rgba.length();
                let why = format!("{given} bytes cannot be {width} x {height} pixels");
                return Err(Error::new(ErrorKind::InvalidInput, "frame", why));
            }
            let to = GpuTexelCopyTextureInfo::new(&self.texture.0);
            let layout = GpuTexelCopyBufferLayout::new();
            layout.set_bytes_per_row(width as u32 * 4);
            let queue = &device.queue;
            queue
                .write_texture_with_u8_array_and_u32_sequence(&to, &rgba, &layout, &size)
                .map_err(refused)?;
        } else {
            let from: GpuCopyExternalImageSourceInfo = Object::new().unchecked_into();
            set(&from, "source", source);
            let to = GpuCopyExternalImageDestInfo::new(&self.texture.0);
            let queue = &device.queue;
            queue
                .copy_external_image_to_texture_with_u32_sequence(&from, &to, &size)
                .map_err(refused)?;
        }
        let encoder = device.device.create_command_encoder();
        let from = GpuTexelCopyTextureInfo::new(&self.texture.0);
        let to = GpuTexelCopyBufferInfo::new(&self.pixels.buffer);
        to.set_bytes_per_row(pitch as u32 * 4);
        encoder
            .copy_texture_to_buffer_with_u32_sequence(&from, &to, &size)
            .map_err(refused)?;
        device.queue.submit(&[encoder.finish()]);
        Ok(())
    }
}

/// A texture that goes back to the device when it is dropped.
struct Texture(GpuTexture);

impl Texture {
    fn new(device: &WebDevice, width: usize, height: usize) -> Texture {
        let size = [Number::from(width as f64), Number::from(height as f64)];
        // The browser draws a frame into it where it cannot copy.
        let usage = usage_bits::COPY_SRC | usage_bits::COPY_DST | usage_bits::RENDER_ATTACHMENT;
        let descriptor = GpuTextureDescriptor::new(GpuTextureFormat::Rgba8unorm, &size, usage);
        let made = device.device.create_texture(&descriptor);
        Texture(made.expect("a texture is refused by an error scope, not by an exception"))
    }
}

impl Drop for Texture {
    fn drop(&mut self) {
        self.0.destroy();
    }
}
