//! From a frame on a GPU to the tensor that a model wants, without a way over the CPU.

use super::spec::LUMA;
use super::{ColorOrder, Cut, Layout, Sampling};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Capabilities, Dispatch, Kernel, Launch, Map, Operand, Port, Storage, grid};

/// Invocations of a workgroup that do not work together.
const WORKGROUP: usize = 64;

/// A frame in a buffer: rows of `pitch` words of red, green, blue and opacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub width: usize,
    pub height: usize,
    pub pitch: usize,
}

/// The launches that make output 0, as a tensor lies in a buffer, of input 0, the frame, and input
/// 1, which holds the table that comes with them. Their texts do not depend on any size.
///
/// # Errors
/// `DTYPE_MISMATCH` where the device does not have the element type, `OUT_OF_MEMORY` where its
/// bindings end before the frame.
pub fn frame_to_tensor(
    sampling: &Sampling,
    source: Source,
    caps: &Capabilities,
) -> Result<(Dispatch, Vec<u32>)> {
    let Some(storage) = storage(sampling, caps) else {
        let why = format!("the device's shaders do not have {}", sampling.dtype);
        return Err(Error::dtype("frame", why));
    };
    let (columns, rows) = (&sampling.columns, &sampling.rows);
    let source_rows = rows.source();
    let n_channels = sampling.channels.len();
    let n_narrowed = source_rows.len() * columns.taps.len() * n_channels;
    let n_elems = n_channels * columns.size * rows.size;
    let largest = Storage::U32
        .size_bytes(source.pitch * source.height)
        .max(Storage::F32.size_bytes(n_narrowed.max(n_elems)));
    if largest > caps.max_binding_bytes {
        let max = caps.max_binding_bytes;
        let why = format!("shaders see {max} bytes of a buffer, the frame takes {largest}");
        return Err(Error::new(ErrorKind::OutOfMemory, "frame", why));
    }

    let mut dispatch = Dispatch::default();
    let port = |operand, storage| Port { operand, storage };
    let pixels = port(Operand::Input(0), Storage::U8);
    let table_port = port(Operand::Input(1), Storage::U32);
    let y = port(Operand::Output(0), storage);
    let narrowed = dispatch.add_scratch(Storage::F32, n_narrowed);
    dispatch.launches = vec![
        across(sampling, source, (pixels, table_port, narrowed), caps),
        down(sampling, (narrowed, table_port, y), caps),
    ];
    Ok((dispatch, table(sampling)))
}

fn storage(sampling: &Sampling, caps: &Capabilities) -> Option<Storage> {
    let storage = Storage::of(sampling.dtype, caps)?;
    // Where there are no halves, f16 is kept as f32 inside of a model, but not in its inputs.
    let bytes = sampling.dtype.size_bytes(4)?;
    (storage.used_bytes(4) == bytes as u64).then_some(storage)
}

/// Rows of three words: for each channel the bits of `factor`, `shift` and `fill`; for each column
/// and then for each row of the tensor where its taps start, how many they are and where the bits
/// of their weights are, which come last.
fn table(sampling: &Sampling) -> Vec<u32> {
    let all = || sampling.columns.taps.iter().chain(&sampling.rows.taps);
    let fits = |n: usize| u32::try_from(n).expect("pictures have fewer than 2^32 pixels");
    let bits = |number: f64| (number as f32).to_bits();
    let channels = sampling.channels.iter();
    let mut words: Vec<u32> = channels
        .flat_map(|channel| [channel.factor, channel.shift, channel.fill].map(bits))
        .collect();
    let mut weight_idx = words.len() + 3 * all().count();
    for taps in all() {
        words.extend([taps.start, taps.weights.len(), weight_idx].map(fits));
        weight_idx += taps.weights.len();
    }
    words.extend(all().flat_map(|taps| taps.weights.iter().map(|weight| weight.to_bits())));
    words
}

fn across(
    sampling: &Sampling,
    source: Source,
    (pixels, table, narrowed): (Port, Port, Port),
    caps: &Capabilities,
) -> Launch {
    let (n_columns, rows) = (sampling.columns.taps.len(), sampling.rows.source());
    let numbers = [
        ("n_columns", n_columns),
        ("n_rows", rows.len()),
        ("first_row", rows.start),
        ("pitch", source.pitch),
    ];
    let kernel = Kernel::new("frame_across", include_str!("frame_across.wgsl"));
    let kernel = with_params(kernel, &numbers);
    let kernel = match &sampling.cut {
        None => kernel
            .snippet("fn pixel(column: u32, row: u32) -> vec4<f32> { return texel(column, row); }"),
        Some(cut) => cut_out(kernel, cut, source),
    };
    let [red, green, blue] = LUMA;
    let colors = match sampling.order {
        ColorOrder::Rgb => "c.r, c.g, c.b".into(),
        ColorOrder::Bgr => "c.b, c.g, c.r".into(),
        ColorOrder::Gray => format!("{red} * c.r + {green} * c.g + {blue} * c.b"),
    };
    let n_channels = sampling.channels.len();
    kernel
        .snippet(&format!(
            "const CHANNELS = {n_channels}u;
fn channels(c: vec3<f32>) -> array<f32, CHANNELS> {{ return array<f32, CHANNELS>({colors}); }}"
        ))
        .read_vec4("pixels", pixels)
        .read("table", table)
        .write("narrowed", narrowed)
        .launch(grid((n_columns * rows.len()).div_ceil(WORKGROUP), caps))
}

fn with_params(kernel: Kernel, numbers: &[(&str, usize)]) -> Kernel {
    let all = numbers.iter();
    all.fold(kernel, |kernel, (name, value)| kernel.param(name, *value))
}

fn cut_out(kernel: Kernel, cut: &Cut, source: Source) -> Kernel {
    let floats = [
        ("origin_x", cut.origin[0]),
        ("origin_y", cut.origin[1]),
        ("across_x", cut.across[0]),
        ("across_y", cut.across[1]),
        ("down_x", cut.down[0]),
        ("down_y", cut.down[1]),
    ];
    let kernel = floats.iter().fold(kernel, |kernel, (name, value)| {
        kernel.param_f32(name, *value as f32)
    });
    let last = [
        ("last_column", source.width - 1),
        ("last_row", source.height - 1),
    ];
    with_params(kernel, &last).snippet(include_str!("frame_cut.wgsl"))
}

fn down(
    sampling: &Sampling,
    (narrowed, table, y): (Port, Port, Port),
    caps: &Capabilities,
) -> Launch {
    let (columns, rows) = (&sampling.columns, &sampling.rows);
    let n_channels = sampling.channels.len();
    let place = match sampling.layout {
        Layout::Nchw => {
            "let pixel = i % params.n_pixels;
  return Place(i / params.n_pixels, pixel / params.width, pixel % params.width);"
        }
        Layout::Nhwc => {
            "let pixel = i / CHANNELS;
  return Place(i % CHANNELS, pixel / params.width, pixel % params.width);"
        }
    };
    let rounded = if y.storage.is_float() {
        "value"
    } else {
        "u32(clamp(floor(value + 0.5), 0.0, 255.0))"
    };
    let numbers = [
        ("width", columns.size),
        ("n_pixels", columns.size * rows.size),
        ("left", columns.start),
        ("top", rows.start),
        ("n_columns", columns.taps.len()),
        ("n_rows", rows.taps.len()),
        ("first_row", rows.source().start),
        ("first_tap", 3 * (n_channels + columns.taps.len())),
    ];
    let kernel = Map::kernel("frame_down", include_str!("frame_down.wgsl"));
    let kernel = with_params(kernel, &numbers)
        .snippet(&format!(
            "const CHANNELS = {n_channels}u;
fn place(i: u32) -> Place {{ {place} }}
fn rounded(value: f32) -> y_value {{ return {rounded}; }}"
        ))
        .read("narrowed", narrowed)
        .read("table", table);
    let n_elems = n_channels * columns.size * rows.size;
    Map::launch(kernel, y, n_elems, caps)
}
