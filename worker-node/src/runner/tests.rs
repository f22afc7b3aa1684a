//! Real models on every provider of this machine; what it lacks is said.

use std::io::Write;
use std::path::{Path, PathBuf};

use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::text::parse;
use sentinel_inference::model::npz::read_npz;
use sentinel_inference::model::onnx::{WriteOptions, write};
use sentinel_inference::session::{Joining, Mode, Named};
use sentinel_inference::tensor::{DType, Tensor};

use super::{OpenModel, Runner, library};
use crate::service::ProviderChoice;

const DIGITS: &str = "tests/fixtures/digits/digits";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn open(path: PathBuf, provider: ProviderChoice) -> OpenModel {
    OpenModel {
        path,
        provider,
        adapter: None,
    }
}

/// Straight to the terminal: what passes is otherwise kept silent.
fn say_skipped(what: &str) {
    let what = what.split(';').next().unwrap_or(what);
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED: {what}").expect("standard error is open");
}

/// A runner for each provider that this machine has.
fn runners(path: &Path) -> Vec<Runner> {
    let mut runners = Vec::new();
    for (name, provider) in ProviderChoice::ALL {
        match Runner::open(&open(path.to_owned(), provider)) {
            Ok(runner) => runners.push(runner),
            Err(error) if is_missing(&error.to_string()) => {
                say_skipped(&format!("runs on {name}: {error}"));
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    runners
}

fn is_missing(why: &str) -> bool {
    why.contains("no WebGPU adapter") || why.contains("no library that can be used")
}

fn digits() -> (Tensor, Tensor) {
    let arrays = std::fs::read(fixture(&format!("{DIGITS}.npz"))).expect("a fixture");
    let arrays = read_npz(&arrays).expect("arrays");
    let of = |name: &str| {
        arrays
            .iter()
            .find(|(known, _)| known == name)
            .expect(name)
            .1
            .clone()
    };
    (of("in_0"), of("out_0"))
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.sizes(), want.sizes());
    let (got, want) = (
        got.to_f64s().expect("floats"),
        want.to_f64s().expect("floats"),
    );
    let most = got.iter().zip(&want).map(|(got, want)| (got - want).abs());
    let most = most.fold(0.0, f64::max);
    assert!(most < 1e-3, "off by {most}");
}

#[test]
fn every_provider_gives_the_reference_outputs() {
    let (input, want) = digits();
    for mut runner in runners(&fixture(&format!("{DIGITS}.onnx"))) {
        let name = runner.inputs()[0].name.clone();
        let outputs = runner.run(vec![(name, input.clone())], &[]);
        let outputs = outputs.unwrap_or_else(|error| panic!("{}: {error}", runner.provider()));
        assert_close(&outputs[0].1, &want);
        assert_eq!(outputs[0].0, runner.outputs()[0].name);
    }
}

#[test]
fn every_provider_gives_joined_inputs_what_each_gets_alone() {
    let (input, want) = digits();
    let row_of = |tensor: &Tensor, at: usize| {
        let row = tensor.elements::<f32>().expect("floats");
        let n = row.len() / tensor.sizes()[0];
        let sizes = [&[1], &tensor.sizes()[1..]].concat();
        Tensor::from_vec(&sizes, row[at * n..][..n].to_vec()).expect("a row")
    };
    for mut runner in runners(&fixture(&format!("{DIGITS}.onnx"))) {
        let joining = Joining::of(runner.rows().expect("the engine reads the model"));
        assert_eq!(*joining.mode(), Mode::Join, "{}", runner.provider());
        let name = runner.inputs()[0].name.clone();
        let parts: Vec<Named> = (0..3)
            .map(|at| vec![(name.clone(), row_of(&input, at))])
            .collect();
        let outputs = runner.run(joining.join(&parts).expect("they fit"), &[]);
        let split = joining
            .split(outputs.expect("it runs"), &[1, 1, 1])
            .expect("rows");
        for (at, part) in split.iter().enumerate() {
            assert_close(&part[0].1, &row_of(&want, at));
        }
    }
}

#[test]
fn every_provider_refuses_what_is_not_the_models_in_the_same_words() {
    let (input, _) = digits();
    for mut runner in runners(&fixture(&format!("{DIGITS}.onnx"))) {
        let (input_name, output_name) = (
            runner.inputs()[0].name.clone(),
            runner.outputs()[0].name.clone(),
        );
        let mut refused = |name: &str, tensor: Tensor, fetch: &str| {
            let error = runner
                .run(vec![(name.to_owned(), tensor)], &[fetch.to_owned()])
                .unwrap_err();
            (error.kind, error.to_string())
        };
        let doubles = Tensor::from_vec(&[1], vec![0.0_f64]).expect("a vector");
        for (given, kind, why) in [
            (
                refused("z", input.clone(), &output_name),
                ErrorKind::InvalidInput,
                "z: the model has no such input",
            ),
            (
                refused(&input_name, input.clone(), "z"),
                ErrorKind::InvalidInput,
                "z: the model has no such output",
            ),
            (
                refused(&input_name, doubles, &output_name),
                ErrorKind::DtypeMismatch,
                "expected float32, got float64",
            ),
            (
                refused(&input_name, Tensor::vector(&[0.0_f32]), &output_name),
                ErrorKind::ShapeMismatch,
                "expected",
            ),
        ] {
            assert_eq!(given.0, kind, "{}", given.1);
            assert!(given.1.contains(why), "{}", given.1);
        }
    }
}

#[test]
fn a_file_that_is_no_model_is_refused_without_its_path() {
    let path = std::env::temp_dir().join(format!("sentinel-no-model-{}.onnx", std::process::id()));
    std::fs::write(&path, b"not a model").expect("a file");
    for (name, provider) in ProviderChoice::ALL {
        let error = Runner::open(&open(path.clone(), provider))
            .err()
            .expect(name);
        if is_missing(&error.to_string()) {
            continue;
        }
        assert_eq!(error.kind, ErrorKind::ModelParse, "{name}: {error}");
        assert!(
            !error.to_string().contains("sentinel-no-model"),
            "{name}: {error}"
        );
    }
    std::fs::remove_file(&path).expect("it is there");
}

#[test]
fn auto_takes_onnxruntime_exactly_where_there_is_a_library() {
    let model = open(fixture(&format!("{DIGITS}.onnx")), ProviderChoice::Auto);
    let runner = Runner::open(&model).expect("the CPU takes it");
    assert_eq!(
        runner.provider() == "onnxruntime",
        library().is_ok(),
        "{}",
        runner.reason()
    );
    let is_told = runner.reason().contains("not onnxruntime: ");
    assert_eq!(is_told, library().is_err(), "{}", runner.reason());
}

#[test]
fn onnxruntime_takes_and_gives_every_type_that_clients_have() {
    if let Err(error) = library() {
        return say_skipped(&format!("types on onnxruntime: {error}"));
    }
    let half = |x: f32| half::f16::from_f32(x);
    let brain = |x: f32| half::bf16::from_f32(x);
    let words = ["", "Grüße", "b"].map(str::to_owned).to_vec();
    for tensor in [
        Tensor::from_bytes(DType::Bool, &[3], vec![1, 0, 1]).expect("three"),
        Tensor::vector(&[0_u8, 255, 1]),
        Tensor::vector(&[0_u16, 65535, 1]),
        Tensor::vector(&[0_u32, u32::MAX, 1]),
        Tensor::vector(&[0_u64, u64::MAX, 1]),
        Tensor::vector(&[-128_i8, 127, 0]),
        Tensor::vector(&[i16::MIN, i16::MAX, 0]),
        Tensor::vector(&[i32::MIN, i32::MAX, 0]),
        Tensor::vector(&[i64::MIN, i64::MAX, 0]),
        Tensor::vector(&[half(0.5), half(-2.0), half(f32::INFINITY)]),
        Tensor::vector(&[brain(0.5), brain(-2.0), brain(f32::INFINITY)]),
        Tensor::vector(&[0.5_f32, -2.0, f32::INFINITY]),
        Tensor::vector(&[0.5_f64, -2.0, f64::INFINITY]),
        Tensor::from_strings(&[3], words).expect("three"),
    ] {
        let dtype = tensor.dtype();
        let text = format!("input x: {dtype}[n]\n y = Identity(x)\n output y");
        let model = write(&parse(&text).expect("a graph"), &WriteOptions::default());
        let name = format!("sentinel-{dtype}-{}.onnx", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, model.expect("ONNX").model).expect("a file");
        let runner = Runner::open(&open(path.clone(), ProviderChoice::Onnxruntime));
        std::fs::remove_file(&path).expect("it is there");
        let mut runner = runner.unwrap_or_else(|error| panic!("{dtype}: {error}"));
        let none = match tensor.dtype() {
            DType::Str => Tensor::from_strings(&[0], Vec::new()),
            _ => Tensor::from_bytes(dtype, &[0], Vec::new()),
        };
        for tensor in [tensor, none.expect("no elements")] {
            let outputs = runner.run(vec![("x".to_owned(), tensor.clone())], &[]);
            assert_eq!(outputs, Ok(vec![("y".to_owned(), tensor)]), "{dtype}");
        }
    }
}
