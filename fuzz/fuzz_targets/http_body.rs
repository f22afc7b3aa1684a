//! A body of HTTP: two bytes with the length of its JSON, or 65535 where none is told, and the body. Tensors that are read
//! are the same when they are answered and read again, as text where JSON has their numbers.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sentinel_fuzz::LIMITS;
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{InferRequest, InferResponse, Limits, write_body};

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first_chunk() else {
        return;
    };
    let length = Some(u16::from_le_bytes(*length)).filter(|&length| length != u16::MAX);
    let length = length.map(|length| length.to_string());
    let body = Bytes::copy_from_slice(body);
    let Ok((request, payload)) = InferRequest::from_body(length.as_deref(), body, &LIMITS) else {
        return;
    };
    let _ = (request.wait(), request.priority());
    if let Ok(tensors) = request.tensors(payload, &LIMITS) {
        answer(&tensors, |_| true);
        answer(&tensors, |name| request.wants_binary(name));
    }
});

fn answer(outputs: &[(String, Tensor)], is_binary: impl Fn(&str) -> bool) {
    let mut response = InferResponse::default();
    let Ok(payload) = response.set_outputs(outputs, is_binary) else {
        return;
    };
    let (length, body) = write_body(&response, &payload);
    let length = length.map(|length| length.to_string());
    let limits = Limits::default();
    let (read, payload) =
        InferResponse::from_body(length.as_deref(), body, &limits).expect("it was just written");
    let read = read
        .tensors(payload, &limits)
        .expect("they were just written");
    assert_eq!(read, outputs);
}
