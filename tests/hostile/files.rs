//! Whole files: cut off, of another format, of another version, damaged.

use bytes::Bytes;
use sentinel_inference::error::ErrorKind;
use sentinel_inference::graph::text::{parse, print};
use sentinel_inference::model::onnx::{WriteOptions, external_locations, write};

use crate::random::Random;
use crate::wire::{chunk, input, int, node, output};
use crate::{refused, suite, try_read};

/// A model that uses most of the format.
fn small_model() -> Vec<u8> {
    let graph = parse(
        "opset 17
         opset com.microsoft 1
         input x: f32[2, n]
         input c: bool[]
         input s: seq(f32[2])
         const w: f32[2] = [1.0, 2.0]
         const t: str[2] = [\"a\", \"b\"]
         a: f32[2, n] = com.microsoft::Gelu(x) @/gelu
         l = SequenceLength(s)
         y = If(c) {axis = 1, f = [1.0], k = [1, 2], m = [\"p\"], v = i64[1] [3]} then_branch {
           b = Add(a, w)
           output b
         } else_branch {
           const z: f32[1] = [0.5]
           d = Mul(a, z)
           output d
         }
         output y: f32[2, n]
         output l",
    )
    .unwrap();
    write(&graph, &WriteOptions::default()).unwrap().model
}

#[test]
fn every_prefix_of_a_model_is_refused() {
    let model = small_model();
    assert!(try_read(&model).is_ok());
    for length in 0..model.len() {
        let error = refused(&model[..length]);
        assert_eq!(error.kind, ErrorKind::ModelParse, "{length} bytes: {error}");
        let _ = external_locations(&model[..length]);
    }
}

#[test]
fn other_files_are_told_by_name() {
    for (bytes, why) in [
        (&b""[..], "the model is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"GGUF\x03\0", "a GGUF model"),
        (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        (b"\x10\0\0\0\0\0\0\0{\"a\":1}", "a safetensors file"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
        ),
        (b"<!doctype html>", "a web page"),
        (b"{\"a\": 1}", "JSON"),
        (b"hello, world\n", ""),
        (b"\0\0\0\0", ""),
        (b"\x08", ""),
        (b"\x08\x08", "not a whole ONNX model"),
    ] {
        let error = refused(bytes);
        assert_eq!(error.kind, ErrorKind::ModelParse);
        assert!(error.why.contains(why), "{error}");
        assert_eq!(external_locations(bytes).is_err(), bytes != b"\x08\x08");
    }
    for seed in 0..1000 {
        let mut random = Random(seed);
        let noise: Vec<u8> = (0..random.below(200))
            .map(|_| random.next() as u8)
            .collect();
        refused(&noise);
    }
}

#[test]
fn versions_outside_the_format_are_refused() {
    let graph = chunk(
        7,
        [input("x"), node("Neg", &["x"], &["y"]), output("y")].concat(),
    );
    let opset = chunk(8, int(2, 17));
    for (version, kind) in [
        (0, ErrorKind::ModelParse),
        (-1, ErrorKind::ModelParse),
        (2, ErrorKind::ModelUnsupported),
        (15, ErrorKind::ModelUnsupported),
        (i64::MAX, ErrorKind::ModelUnsupported),
    ] {
        let bytes = [int(1, version), graph.clone(), opset.clone()].concat();
        assert_eq!(refused(&bytes).kind, kind, "IR version {version}");
    }
    for opset in [chunk(8, int(2, 0)), chunk(8, int(2, -1)), chunk(8, "")] {
        let bytes = [int(1, 8), graph.clone(), opset].concat();
        assert!(refused(&bytes).why.contains("does not exist"));
    }
    let two = [
        int(1, 8),
        graph.clone(),
        opset.clone(),
        chunk(8, int(2, 18)),
    ]
    .concat();
    assert!(refused(&two).why.contains("two versions"));
    let twice = [int(1, 8), graph.clone(), graph, opset].concat();
    assert!(refused(&twice).why.contains("occurs twice"));
}

/// Reads a damaged model; what is still a model can be printed and written.
fn survives(bytes: &[u8]) -> bool {
    let _ = external_locations(bytes);
    match try_read(bytes) {
        Ok(model) => {
            let text = print(&model.graph);
            let parsed = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(print(&parsed), text);
            let _ = write(&model.graph, &WriteOptions::default());
            true
        }
        Err(error) => {
            assert!(!error.at.is_empty() && !error.why.is_empty(), "{error:?}");
            assert_ne!(error.kind, ErrorKind::Internal, "{error}");
            false
        }
    }
}

/// Set `SENTINEL_SEED` to run one seed again.
#[test]
fn damaged_models_never_panic() {
    let from_environment = std::env::var("SENTINEL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = from_environment.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("the clock is past 1970").as_micros() as u64
    });
    println!("SENTINEL_SEED={seed}");
    let mut random = Random(seed);
    let cases = suite::cases();
    let mut models: Vec<Bytes> = cases
        .iter()
        .step_by(40)
        .map(|case| case.model.clone())
        .collect();
    models.push(small_model().into());
    let (mut n_read, mut n_refused) = (0, 0);
    for model in &models {
        for _ in 0..200 {
            let mut bytes = model.to_vec();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at + 1),
                    2 => {
                        let end = (at + random.below(20)).min(bytes.len());
                        let copied = bytes[at..end].to_vec();
                        bytes.splice(at..at, copied);
                    }
                    _ => bytes[at] ^= 1 << random.below(8),
                }
            }
            let result = std::panic::catch_unwind(|| survives(&bytes));
            match result {
                Ok(true) => n_read += 1,
                Ok(false) => n_refused += 1,
                Err(_) => panic!("SENTINEL_SEED={seed} panics"),
            }
        }
    }
    println!(
        "{} models: {n_read} damaged ones read, {n_refused} refused",
        models.len()
    );
    assert!(n_refused > n_read);
}
