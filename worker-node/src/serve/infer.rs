//! An inference over HTTP.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{
    HEADER_LENGTH, InferRequest, InferResponse, Limits, Parameters, WantedOutput,
};

use super::App;
use super::errors::Answer;
use super::routes::Named;
use crate::service::{self, Infer};

const LENGTH: HeaderName = HeaderName::from_static(HEADER_LENGTH);

/// Larger ones are read and written outside of the threads that serve all connections.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_ELEMS: usize = 1 << 16;

/// What others serve and we do not; a client that asks for it must hear so.
const ABSENT_PARAMETERS: &[&str] = &[
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "classification",
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
];

pub async fn infer(State(app): State<App>, named: Named, request: Request) -> Answer {
    let counters = &app.context.counters;
    counters.requests_http.fetch_add(1, Ordering::Relaxed);
    app.check_draining()?;
    let arrived = Instant::now();
    let limits = app.context.limits;
    let (head, body) = request.into_parts();
    let header_length = header_length(&head.headers)?;
    let limit_bytes = limits.max_message_bytes;
    let body = app.bodies.read(&head.headers, body, limit_bytes).await?;
    // Until the answer is written: the tensors are these bytes.
    let _memory = body.permit;
    let is_large = body.bytes.len() > LARGE_BYTES;
    let read = move || {
        read(
            named,
            header_length.as_deref(),
            body.bytes,
            arrived,
            &limits,
        )
    };
    let (request, infer) = perhaps_elsewhere(is_large, read).await?;
    let answer = app.context.service.infer(infer).await?;
    let outputs = answer.outputs.iter();
    let n_elems: usize = outputs.map(|(_, output)| output.len()).sum();
    let write = move || write(&request, answer);
    Ok(perhaps_elsewhere(n_elems > LARGE_ELEMS, write).await?)
}

fn header_length(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(length) = headers.get(LENGTH) else {
        return Ok(None);
    };
    let length = length
        .to_str()
        .map_err(|_| Error::new(ErrorKind::InvalidInput, HEADER_LENGTH, "it is no length"))?;
    Ok(Some(length.to_owned()))
}

async fn perhaps_elsewhere<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if !is_large {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal("body", "reading or writing it panicked"))?
}

fn read(
    named: Named,
    header_length: Option<&str>,
    body: Bytes,
    arrived: Instant,
    limits: &Limits,
) -> Result<(InferRequest, Infer)> {
    let (mut request, payload) = InferRequest::from_body(header_length, body, limits)?;
    refuse_absent("parameters", &request.parameters)?;
    for input in &request.inputs {
        refuse_absent(&input.name, &input.parameters)?;
    }
    for WantedOutput { name, parameters } in &request.outputs {
        refuse_absent(name, parameters)?;
    }
    let infer = Infer {
        model: named.model,
        version: named.version,
        sha256: request.sha256()?,
        inputs: request.tensors(payload, limits)?,
        outputs: request
            .outputs
            .iter()
            .map(|output| output.name.clone())
            .collect(),
        deadline: request.wait()?.map(|wait| arrived + wait),
        priority: request.priority()?,
    };
    request.inputs.clear();
    Ok((request, infer))
}

fn refuse_absent(at: &str, parameters: &Parameters) -> Result<()> {
    let mut absent = ABSENT_PARAMETERS.iter();
    let Some(name) = absent.find(|name| parameters.contains_key(**name)) else {
        return Ok(());
    };
    let why = format!("this worker has no {name}");
    Err(Error::new(ErrorKind::InvalidInput, at, why))
}

fn write(request: &InferRequest, answer: service::Answer) -> Result<Response> {
    let mut response = InferResponse {
        id: request.id.clone(),
        model_name: answer.model,
        model_version: answer.version,
        ..InferResponse::default()
    };
    let parameters = &mut response.parameters;
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    parameters.insert("provider".into(), answer.provider.into());
    parameters.insert("queue_ms".into(), ms(answer.queued).into());
    parameters.insert("compute_ms".into(), ms(answer.computed).into());
    parameters.insert("batch_size".into(), answer.batch_size.into());
    let payload = response.set_outputs(&answer.outputs, |name| request.wants_binary(name))?;
    let json = serde_json::to_vec(&response).expect("headers have text for keys");
    let (json_bytes, is_json) = (json.len(), payload.is_empty());
    let n_bytes = json_bytes + payload.iter().map(Bytes::len).sum::<usize>();
    let body = if is_json {
        Body::from(json)
    } else {
        // Outputs go out from where they are.
        let parts = [Bytes::from(json)].into_iter().chain(payload);
        Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>)))
    };
    let mut http = Response::new(body);
    let headers = http.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(n_bytes));
    let content_type = if is_json {
        "application/json"
    } else {
        headers.insert(LENGTH, HeaderValue::from(json_bytes));
        "application/octet-stream"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(http)
}
