//! Bodies of HTTP: JSON, or JSON and the bytes of tensors, with the length of the JSON in a header.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::too_large;
use super::{InferRequest, InferResponse, Limits, json};
use crate::error::{Error, ErrorKind, Result};

/// The length of the JSON, where the bytes of tensors follow it.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

impl InferRequest {
    /// A request and the bytes of its binary tensors; without a length, all of the body is JSON.
    ///
    /// # Errors
    /// `TOO_LARGE` beyond the limits; `INVALID_INPUT` for what is no request.
    pub fn from_body(
        header_length: Option<&str>,
        body: Bytes,
        limits: &Limits,
    ) -> Result<(InferRequest, Bytes)> {
        read(header_length, body, limits)
    }
}

impl InferResponse {
    /// As [`InferRequest::from_body`], for a client.
    ///
    /// # Errors
    /// As [`InferRequest::from_body`].
    pub fn from_body(
        header_length: Option<&str>,
        body: Bytes,
        limits: &Limits,
    ) -> Result<(InferResponse, Bytes)> {
        read(header_length, body, limits)
    }
}

fn read<T: DeserializeOwned>(
    header_length: Option<&str>,
    mut body: Bytes,
    limits: &Limits,
) -> Result<(T, Bytes)> {
    if body.len() > limits.max_message_bytes {
        return Err(too_large("body", body.len(), limits.max_message_bytes));
    }
    let Some(length) = header_length else {
        return Ok((json::object("body", &body)?, Bytes::new()));
    };
    let wrong = |why: String| Error::new(ErrorKind::InvalidInput, HEADER_LENGTH, why);
    // Digits alone: Rust would also take a sign.
    let length = Some(length)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<usize>().ok())
        .ok_or_else(|| wrong(format!("{} is no length", json::quoted(length))))?;
    if length > body.len() {
        let why = format!("{length} bytes of JSON, and the body has {}", body.len());
        return Err(wrong(why));
    }
    let payload = body.split_off(length);
    Ok((json::object("body", &body)?, payload))
}

/// A body and the length of its JSON, which is only told where bytes follow it.
pub fn write_body<T: Serialize>(header: &T, tensors: &[Bytes]) -> (Option<usize>, Bytes) {
    let mut body = serde_json::to_vec(header).expect("headers have text for keys");
    if tensors.is_empty() {
        return (None, body.into());
    }
    let length = body.len();
    body.reserve_exact(tensors.iter().map(Bytes::len).sum());
    for tensor in tensors {
        body.extend_from_slice(tensor);
    }
    (Some(length), body.into())
}
