//! One message of a connection, as a worker and as a client read it. A request that is read is the same when it is written
//! and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sentinel_fuzz::LIMITS;
use sentinel_inference::wire::{Frame, FromClient, FromWorker, InferRequest, Limits};

fuzz_target!(|message: &[u8]| {
    for message in [Bytes::copy_from_slice(message), with_checksum(message)] {
        let Ok(frame) = Frame::read(message, &LIMITS) else {
            continue;
        };
        if let Ok(FromClient::Infer(request)) = FromClient::read(&frame, &LIMITS) {
            let _ = (request.wait(), request.priority());
            write_again(request, frame.payload.clone());
        }
        if let Ok(FromWorker::Output(response)) = FromWorker::read(&frame, &LIMITS) {
            let _ = response.tensors(frame.payload, &LIMITS);
        }
    }
});

/// The checksum that no fuzzer guesses.
fn with_checksum(message: &[u8]) -> Bytes {
    let mut message = message.to_vec();
    if let Some(highest) = message.get_mut(3) {
        *highest |= 0x80;
    }
    message.extend(crc32fast::hash(&message).to_le_bytes());
    message.into()
}

fn write_again(mut request: InferRequest, payload: Bytes) {
    let Ok(inputs) = request.tensors(payload, &LIMITS) else {
        return;
    };
    let payload = request.set_inputs(&inputs).expect("they came in");
    let message = Frame::write(&FromClient::Infer(request), &payload);
    let limits = Limits::default();
    let frame = Frame::read(message, &limits).expect("it was just written");
    let Ok(FromClient::Infer(again)) = FromClient::read(&frame, &limits) else {
        panic!("an inference was written");
    };
    let read = again.tensors(frame.payload, &limits);
    assert_eq!(read.expect("they were just written"), inputs);
}
