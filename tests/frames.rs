//! Frames become the same tensors on a GPU as pictures do on the CPU.

use std::io::Write;
use std::rc::Rc;

use half::f16;
use naga::valid::{Capabilities as NagaCapabilities, ValidationFlags, Validator};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sentinel_inference::ErrorKind;
use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Command, Device, Gpu, Program, Usage};
use sentinel_inference::kernel::{Capabilities, Storage};
use sentinel_inference::picture::{
    ColorOrder, Fit, Layout, Picture, Region, Sampling, Source, Spec, frame_to_tensor,
    image_to_tensor,
};
use sentinel_inference::tensor::{DType, Tensor};

/// Words that a row of a frame has behind its pixels, as rows of copied textures have.
const PADDING: usize = 3;

/// Both sides compute in floats, but not in the same order.
const ROUNDING: f64 = 0.01;

fn spec(layout: Layout, order: ColorOrder, height: usize, width: usize) -> Spec {
    let channels = if order == ColorOrder::Gray { 1 } else { 3 };
    Spec {
        dims: match layout {
            Layout::Nchw => vec![1, channels, height, width],
            Layout::Nhwc => vec![1, height, width, channels],
        },
        layout,
        dtype: DType::F32,
        scale: None,
        mean: vec![],
        std: vec![],
        fit: Fit::Stretch,
        fill: vec![],
        color_order: Some(order),
        region: None,
    }
}

/// Gradients with hard edges and some transparency, different in every pixel.
fn picture(width: usize, height: usize) -> Picture {
    let pixel = |idx: usize| {
        let (x, y) = (idx % width, idx / width);
        let edge = if (x / 3 + y / 2) % 2 == 0 { 255 } else { 0 };
        let across = (x * 255 / width.max(2)) as u8;
        let opacity = if idx % 7 == 3 { 128 } else { 255 };
        [across, edge, (idx * 37 % 256) as u8, opacity]
    };
    let rgba = (0..width * height).flat_map(pixel).collect();
    Picture::from_rgba(width, height, rgba).expect("the sizes are small")
}

/// A device; without one, says what is not tested.
fn open() -> Option<Rc<Gpu<NativeDevice>>> {
    match pollster::block_on(NativeDevice::open(&AdapterChoice::from_env())) {
        Ok(device) => Some(Gpu::new(device)),
        Err(error) => {
            // Straight to the terminal: what passes is otherwise kept silent.
            let mut terminal = std::io::stderr();
            writeln!(terminal, "SKIPPED: frames on a GPU: {error}").expect("it is open");
            None
        }
    }
}

fn source(picture: &Picture) -> Source {
    Source {
        width: picture.width(),
        height: picture.height(),
        pitch: picture.width() + PADDING,
    }
}

fn on_gpu(gpu: &Rc<Gpu<NativeDevice>>, picture: &Picture, spec: &Spec) -> Tensor {
    let device = &gpu.device;
    let sampling = Sampling::new(spec, picture.width(), picture.height()).expect("a right case");
    let made = frame_to_tensor(&sampling, source(picture), device.capabilities());
    let (dispatch, table) = made.expect("the device has the type");
    let upload = |bytes: &[u8]| {
        let buffer = gpu.buffer(bytes.len() as u64, Usage::Storage);
        let buffer = buffer.expect("the sizes are small");
        device.write_buffer(&buffer.buffer, bytes);
        buffer
    };
    let rows = picture.rgba().chunks_exact(picture.width() * 4);
    let padded: Vec<u8> = rows
        .flat_map(|row| row.iter().copied().chain([99; PADDING * 4]))
        .collect();
    let (pixels, table) = (upload(&padded), upload(bytemuck::cast_slice(&table)));
    let storage = Storage::of(spec.dtype, device.capabilities()).expect("it was asked above");
    let size_bytes = storage.used_bytes(spec.dims.iter().product());
    let y = gpu.buffer(size_bytes, Usage::Storage).expect("it is small");
    let staging = gpu.buffer(size_bytes, Usage::Staging).expect("it is small");
    pollster::block_on(async {
        let program = Program::load(gpu, dispatch).await.expect("it is valid");
        program.run(&[&pixels.buffer, &table.buffer], &[&y.buffer]);
        let copy = Command::Copy {
            from: &y.buffer,
            to: &staging.buffer,
            to_offset: 0,
            size_bytes,
        };
        device.submit(&[copy], false);
        let read = device.read_buffer(&staging.buffer, size_bytes).await;
        let mut bytes = read.expect("the device is there");
        bytes.truncate(spec.dtype.size_bytes(spec.dims.iter().product()).unwrap());
        Tensor::from_bytes(spec.dtype, &spec.dims, bytes).expect("it is all of it")
    })
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype() {
        DType::U8 => tensor.bytes().iter().map(|&byte| byte.into()).collect(),
        DType::F16 => {
            let halves = tensor.elements::<f16>().expect("the type was compared");
            halves.iter().map(|half| half.to_f64()).collect()
        }
        _ => {
            let floats = tensor.elements::<f32>().expect("the type was compared");
            floats.iter().map(|&float| float.into()).collect()
        }
    }
}

/// The largest difference, as one of pixels in 0..=255.
fn difference(gpu: &Rc<Gpu<NativeDevice>>, picture: &Picture, spec: &Spec) -> f64 {
    let sampling = Sampling::new(spec, picture.width(), picture.height()).expect("a right case");
    let factors = sampling.channels.iter().map(|channel| channel.factor.abs());
    let factor = factors.fold(f64::INFINITY, f64::min);
    let expected = floats(&image_to_tensor(picture, spec).expect("a right case"));
    let got = floats(&on_gpu(gpu, picture, spec));
    assert_eq!(got.len(), expected.len());
    let pairs = got.iter().zip(&expected);
    pairs
        .map(|(got, expected)| (got - expected).abs() / factor)
        .fold(0.0, f64::max)
}

const SIZES: [(usize, usize); 6] = [(1, 1), (5, 3), (3, 8), (13, 13), (64, 31), (97, 40)];

const ORDERS: [ColorOrder; 3] = [ColorOrder::Rgb, ColorOrder::Bgr, ColorOrder::Gray];

#[test]
fn every_fit_order_and_layout_agrees_with_the_cpu() {
    let Some(gpu) = open() else { return };
    let mut wrong = Vec::new();
    for (width, height) in SIZES {
        let picture = picture(width, height);
        for fit in [Fit::Stretch, Fit::Letterbox, Fit::Crop] {
            for order in ORDERS {
                for layout in [Layout::Nchw, Layout::Nhwc] {
                    for (rows, columns) in [(1, 1), (7, 5), (16, 30)] {
                        let spec = Spec {
                            fit,
                            fill: vec![114.0],
                            ..spec(layout, order, rows, columns)
                        };
                        let off = difference(&gpu, &picture, &spec);
                        if off > ROUNDING {
                            wrong.push(format!("{off} for {width} x {height}: {spec:?}"));
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(8)]
    );
}

#[test]
fn bytes_and_halves_agree_with_the_cpu() {
    let Some(gpu) = open() else { return };
    let picture = picture(33, 20);
    for layout in [Layout::Nchw, Layout::Nhwc] {
        // 3 * 5 * 7 bytes end in the middle of a word.
        let bytes = Spec {
            dtype: DType::U8,
            fit: Fit::Letterbox,
            fill: vec![10.0, 20.0, 30.0],
            ..spec(layout, ColorOrder::Bgr, 5, 7)
        };
        assert!(difference(&gpu, &picture, &bytes) <= 1.0);
        if gpu.device.capabilities().shader_f16 {
            let halves = Spec {
                dtype: DType::F16,
                scale: Some(1.0),
                ..bytes
            };
            // Halves of 128 and more are an eighth apart.
            assert!(difference(&gpu, &picture, &halves) <= 0.126);
        }
    }
}

#[test]
fn normalised_values_agree_with_the_cpu() {
    let Some(gpu) = open() else { return };
    let spec = Spec {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        fit: Fit::Letterbox,
        fill: vec![0.0, 127.0, 255.0],
        ..spec(Layout::Nchw, ColorOrder::Rgb, 12, 12)
    };
    assert!(difference(&gpu, &picture(40, 30), &spec) <= ROUNDING);
}

type Pair<T> = (T, T);

#[test]
fn a_region_anywhere_and_turned_agrees_with_the_cpu() {
    let Some(gpu) = open() else { return };
    let cases = (
        (1..40_usize, 1..40_usize),
        (-20.0..40.0, -20.0..40.0),
        (0.6..50.0, 0.6..50.0),
        -3.2..3.2,
        any::<bool>(),
    );
    let check =
        |(size, at, extent, angle, is_exact): (Pair<usize>, Pair<f64>, Pair<f64>, f64, bool)| {
            // Halves and whole sizes are exact in floats.
            let half = |number: f64| {
                if is_exact {
                    (number * 2.0).round() / 2.0
                } else {
                    number
                }
            };
            let size_of = |number: f64| if is_exact { number.round() } else { number };
            let region = Region {
                x: half(at.0),
                y: half(at.1),
                width: size_of(extent.0),
                height: size_of(extent.1),
                angle: if is_exact { 0.0 } else { angle },
            };
            let spec = Spec {
                region: Some(region),
                ..spec(Layout::Nchw, ColorOrder::Rgb, 9, 11)
            };
            let off = difference(&gpu, &picture(size.0, size.1), &spec);
            // What is cut out is rounded to whole numbers: where it is close, once up and once down.
            let limit = if is_exact { ROUNDING } else { 1.0 + ROUNDING };
            prop_assert!(off <= limit, "{off}");
            Ok(())
        };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    if let Err(error) = runner.run(&cases, check) {
        panic!("{error}");
    }
}

#[test]
fn all_shaders_are_valid_wgsl_and_know_no_size() {
    let caps = Capabilities {
        shader_f16: true,
        ..Capabilities::default()
    };
    for dtype in [DType::F32, DType::F16, DType::U8] {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            for order in ORDERS {
                for region in [None, Some(Region::upright(1.0, 1.0, 2.0, 2.0))] {
                    let texts = [(4, 5), (300, 40)].map(|(width, height)| {
                        let spec = Spec {
                            dtype,
                            region,
                            ..spec(layout, order, height, width)
                        };
                        let picture = picture(height, width);
                        let sampling = Sampling::new(&spec, height, width).unwrap();
                        let made = frame_to_tensor(&sampling, source(&picture), &caps);
                        let launches = made.unwrap().0.launches.into_iter();
                        launches.map(|launch| launch.code).collect::<Vec<_>>()
                    });
                    assert_eq!(texts[0], texts[1]);
                    texts[0].iter().for_each(|code| validate(code));
                }
            }
        }
    }
}

fn validate(code: &str) {
    let module = naga::front::wgsl::parse_str(code);
    let module = module.unwrap_or_else(|error| panic!("{}\n{code}", error.emit_to_string(code)));
    let capabilities = NagaCapabilities::SHADER_FLOAT16;
    let validated = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    validated.unwrap_or_else(|error| panic!("{}\n{code}", error.emit_to_string(code)));
}

#[test]
fn what_the_device_cannot_do_is_refused() {
    let refused = |spec: &Spec, picture: &Picture, caps: &Capabilities| {
        let sampling = Sampling::new(spec, picture.width(), picture.height()).unwrap();
        let made = frame_to_tensor(&sampling, source(picture), caps);
        made.unwrap_err().kind
    };
    let halves = Spec {
        dtype: DType::F16,
        ..spec(Layout::Nchw, ColorOrder::Rgb, 4, 4)
    };
    let caps = Capabilities::default();
    assert_eq!(
        refused(&halves, &picture(2, 2), &caps),
        ErrorKind::DtypeMismatch
    );
    let small = Capabilities {
        max_binding_bytes: 4096,
        ..caps
    };
    let floats = spec(Layout::Nchw, ColorOrder::Rgb, 4, 4);
    assert_eq!(
        refused(&floats, &picture(64, 64), &small),
        ErrorKind::OutOfMemory
    );
}
