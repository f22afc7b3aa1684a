//! Tensors of every datatype, as JSON and as bytes.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sentinel_inference::tensor::{DType, Tensor};
use sentinel_inference::wire::{
    Frame, FromClient, FromWorker, InferRequest, InferResponse, Limits, datatype, dtype, write_body,
};

/// Up to three axes, and as many elements of any bits.
fn tensors() -> impl Strategy<Value = Tensor> {
    let dtypes: Vec<_> = DType::all()
        .filter(|&dtype| datatype(dtype).is_some())
        .collect();
    let shape = prop::collection::vec(0_usize..4, 0..4);
    (prop::sample::select(dtypes), shape).prop_flat_map(|(dtype, shape)| {
        let n_elements: usize = shape.iter().product();
        let n_bytes = dtype.size_bytes(n_elements).unwrap();
        let texts = prop::collection::vec(any::<String>(), n_elements);
        let bytes = prop::collection::vec(any::<u8>(), n_bytes);
        (texts, bytes).prop_map(move |(texts, mut bytes)| {
            if dtype == DType::Bool {
                bytes.iter_mut().for_each(|byte| *byte &= 1);
            }
            match dtype {
                DType::Str => Tensor::from_strings(&shape, texts).unwrap(),
                _ => Tensor::from_bytes(dtype, &shape, bytes).unwrap(),
            }
        })
    })
}

fn named(tensors: Vec<Tensor>) -> Vec<(String, Tensor)> {
    let named = tensors
        .into_iter()
        .enumerate()
        .map(|(at, tensor)| (format!("x{at} \"é\n"), tensor));
    named.collect()
}

fn is_finite(tensor: &Tensor) -> bool {
    tensor
        .to_f64s()
        .is_none_or(|elements| elements.iter().all(|x| x.is_finite()))
}

fn check_frames(inputs: &[(String, Tensor)]) {
    let limits = Limits::default();
    let mut request = InferRequest {
        id: "1".into(),
        model_name: "m".into(),
        ..InferRequest::default()
    };
    let payload = request.set_inputs(inputs).unwrap();
    let message = Frame::write(&FromClient::Infer(request), &payload);
    let frame = Frame::read(message, &limits).unwrap();
    let FromClient::Infer(read) = FromClient::read(&frame, &limits).unwrap() else {
        panic!("an inference was written");
    };
    assert_eq!(read.tensors(frame.payload, &limits).unwrap(), inputs);
}

fn check_bodies(outputs: &[(String, Tensor)]) {
    let limits = Limits::default();
    let is_binary = |name: &str| name.starts_with("x1");
    let mut response = InferResponse {
        model_name: "m".into(),
        ..InferResponse::default()
    };
    let payload = match response.set_outputs(outputs, is_binary) {
        Ok(payload) => payload,
        Err(error) => {
            let json = outputs.iter().filter(|(name, _)| !is_binary(name));
            assert!(!json.map(|(_, tensor)| tensor).all(is_finite), "{error}");
            return;
        }
    };
    let (length, body) = write_body(&response, &payload);
    let length = length.map(|length| length.to_string());
    let (read, payload) = InferResponse::from_body(length.as_deref(), body, &limits).unwrap();
    assert_eq!(read.tensors(payload, &limits).unwrap(), outputs);
}

#[test]
fn every_tensor_is_the_same_after_its_way() {
    let mut runner = TestRunner::deterministic();
    let several = prop::collection::vec(tensors(), 0..4);
    runner
        .run(&several, |tensors| {
            let tensors = named(tensors);
            check_frames(&tensors);
            check_bodies(&tensors);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_finite_number_is_the_same_as_text() {
    let mut runner = TestRunner::deterministic();
    let numbers = (any::<f64>(), any::<f32>(), any::<u64>(), any::<i64>());
    runner
        .run(&numbers, |(x, y, z, w)| {
            check_bodies(&named(vec![Tensor::scalar(x)]));
            check_bodies(&named(vec![Tensor::scalar(y)]));
            check_bodies(&named(vec![Tensor::scalar(z)]));
            check_bodies(&named(vec![Tensor::scalar(w)]));
            Ok(())
        })
        .unwrap();
}

#[test]
fn zeros_keep_their_sign() {
    check_bodies(&named(vec![Tensor::vector(&[-0.0_f32, 0.0])]));
    let minus = Tensor::scalar(-0.0_f64);
    let mut response = InferResponse::default();
    response
        .set_outputs(&[("x".into(), minus)], |_| false)
        .unwrap();
    let (_, body) = write_body(&response, &[]);
    let (read, payload) = InferResponse::from_body(None, body, &Limits::default()).unwrap();
    let read = read.tensors(payload, &Limits::default()).unwrap();
    assert!(read[0].1.to_f64s().unwrap()[0].is_sign_negative());
}

#[test]
fn names_of_datatypes_are_those_of_one_type_each() {
    let named = DType::all().filter_map(|known| Some((known, datatype(known)?)));
    let named: Vec<_> = named.collect();
    assert_eq!(named.len(), 14);
    for (known, name) in named {
        assert_eq!(dtype(name), Some(known));
    }
}

#[test]
fn the_bytes_of_a_tensor_are_those_of_the_message() {
    let input = ("x".to_owned(), Tensor::vector(&[1.0_f32; 64]));
    let mut request = InferRequest::default();
    let payload = request.set_inputs(&[input]).unwrap();
    let message = Frame::write(&FromClient::Infer(request), &payload);
    let within = message.as_ptr_range();
    let frame = Frame::read(message.clone(), &Limits::default()).unwrap();
    let FromClient::Infer(read) = FromClient::read(&frame, &Limits::default()).unwrap() else {
        panic!("an inference was written");
    };
    let read = read.tensors(frame.payload, &Limits::default()).unwrap();
    assert!(within.contains(&read[0].1.bytes().as_ptr()));
}

#[test]
fn a_worker_is_not_taken_for_a_client() {
    let limits = Limits::default();
    let message = Frame::write(&FromWorker::Draining {}, &[]);
    let frame = Frame::read(message, &limits).unwrap();
    assert!(FromClient::read(&frame, &limits).is_err());
    assert!(matches!(
        FromWorker::read(&frame, &limits),
        Ok(FromWorker::Draining {})
    ));
    assert_eq!(frame.payload, Bytes::new());
}
