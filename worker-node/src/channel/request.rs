//! From a message to what the service understands, and from what came of it to the message that answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{
    Failure, Frame, FromClient, FromWorker, Hello, InferRequest, InferResponse, Limits, LimitsOf,
    PROTOCOL, Parameters,
};

use crate::context::Context;
use crate::service::{Answer, Infer, told};

/// Work on fewer bytes is done before another thread would have begun it.
const LARGE_BYTES: usize = 256 << 10;
/// Longer ones would cost more than what they name.
const MAX_ID_BYTES: usize = 256;
/// After `QUEUE_FULL`.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a client says, and the bytes of its tensors.
///
/// # Errors
/// `INVALID_INPUT` for what is no message, `TOO_LARGE` beyond the limits.
pub async fn read(message: Bytes, limits: Limits) -> Result<(FromClient, Bytes)> {
    let frame = cut(message, limits).await?;
    let said = FromClient::read(&frame, &limits)?;
    Ok((said, frame.payload))
}

/// A message in two, after its checksum.
///
/// # Errors
/// As [`Frame::read`].
pub async fn cut(message: Bytes, limits: Limits) -> Result<Frame> {
    aside(message.len(), move || Frame::read(message, &limits)).await
}

/// # Errors
/// `INVALID_INPUT` for an id that is empty or too long.
pub fn check_id(id: &str) -> Result<()> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(());
    }
    let why = format!("{} bytes, expected 1 to {MAX_ID_BYTES}", id.len());
    Err(Error::new(ErrorKind::InvalidInput, "id", why))
}

/// Runs a request; whatever comes of it is the frame that answers.
pub async fn answer(
    context: &Context,
    request: InferRequest,
    payload: Bytes,
    arrived: Instant,
) -> Bytes {
    let id = request.id.clone();
    match run(context, request, payload, arrived).await {
        Ok(frame) => frame,
        Err(error) => failure(&id, &error),
    }
}

async fn run(
    context: &Context,
    request: InferRequest,
    payload: Bytes,
    arrived: Instant,
) -> Result<Bytes> {
    if context.draining.is_cancelled() {
        let why = "it takes no new requests, for it is about to end";
        return Err(Error::new(ErrorKind::WorkerUnavailable, "worker", why));
    }
    let id = request.id.clone();
    let limits = context.limits;
    let json = request.inputs.iter().filter_map(|x| x.data.as_ref());
    let n_bytes = payload.len() + json.map(|data| data.get().len()).sum::<usize>();
    let infer = aside(n_bytes, move || infer(request, payload, arrived, &limits)).await?;
    #[cfg(test)]
    super::tests::worker::pass_gate(&context.worker_id).await;
    let answer = context.service.infer(infer).await?;
    let n_bytes = answer.outputs.iter().map(|(_, x)| x.bytes().len()).sum();
    aside(n_bytes, move || output(id, answer)).await
}

fn infer(
    request: InferRequest,
    payload: Bytes,
    arrived: Instant,
    limits: &Limits,
) -> Result<Infer> {
    let inputs = request.tensors(payload, limits)?;
    // Later than any clock can tell is no deadline.
    let deadline = request.wait()?.and_then(|wait| arrived.checked_add(wait));
    Ok(Infer {
        priority: request.priority()?,
        sha256: request.sha256()?,
        model: request.model_name,
        version: Some(request.model_version).filter(|version| !version.is_empty()),
        inputs,
        outputs: request
            .outputs
            .into_iter()
            .map(|wanted| wanted.name)
            .collect(),
        deadline,
    })
}

fn output(id: String, answer: Answer) -> Result<Bytes> {
    let milliseconds = |elapsed: Duration| elapsed.as_secs_f64() * 1e3;
    let mut parameters = Parameters::new();
    parameters.insert("provider".into(), answer.provider.into());
    parameters.insert("queue_ms".into(), milliseconds(answer.queued).into());
    parameters.insert("compute_ms".into(), milliseconds(answer.computed).into());
    parameters.insert("batch_size".into(), answer.batch_size.into());
    let mut response = InferResponse {
        id,
        model_name: answer.model,
        model_version: answer.version,
        parameters,
        outputs: Vec::new(),
    };
    let payload = response.set_outputs(&answer.outputs, |_| true)?;
    Ok(Frame::write(&FromWorker::Output(response), &payload))
}

/// A message without tensors.
pub fn frame(message: &FromWorker) -> Bytes {
    Frame::write(message, &[])
}

/// The frame that answers a request with an error, or tells with an empty id why a connection ends.
pub fn failure(id: &str, error: &Error) -> Bytes {
    let mut failure = Failure::new(id, &told(error));
    if error.kind == ErrorKind::QueueFull {
        failure.retry_after_ms = Some(RETRY_AFTER.as_millis() as u64);
    }
    frame(&FromWorker::Error(failure))
}

pub fn hello(context: &Context) -> Bytes {
    let limits = &context.limits;
    frame(&FromWorker::Hello(Hello {
        protocol: PROTOCOL,
        server: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        worker_id: context.worker_id.clone(),
        limits: LimitsOf {
            max_message_bytes: limits.max_message_bytes,
            max_header_bytes: limits.max_header_bytes,
            max_tensors: limits.max_tensors,
            max_elements: limits.max_elements,
        },
        credits: context.credits,
        heartbeat_ms: context.heartbeat.as_millis() as u64,
        allows_upload: context.allow_upload,
        models: context.service.models(),
    }))
}

/// Does what takes long for many bytes where it holds up no other connection.
pub async fn aside<T: Send + 'static>(
    n_bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if n_bytes < LARGE_BYTES {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| {
        let why = panic.to_string();
        Err(Error::new(ErrorKind::Internal, "message", why))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(header: serde_json::Value) -> Result<Infer> {
        let request = serde_json::from_value(header).expect("the test's own request");
        infer(request, Bytes::new(), Instant::now(), &Limits::default())
    }

    #[test]
    fn priority_version_and_deadline_are_taken_from_the_header() {
        let infer = request(json!({
            "id": "1", "model_name": "m", "model_version": "3", "deadline_ms": 1500.0, "inputs": [],
            "outputs": [{"name": "y"}], "parameters": {"priority": -2}
        }));
        let infer = infer.unwrap();
        assert_eq!((infer.version.as_deref(), infer.priority), (Some("3"), -2));
        assert_eq!(infer.outputs, ["y"]);
        assert!(infer.deadline.unwrap() > Instant::now());
    }

    #[test]
    fn an_empty_version_is_the_latest() {
        let infer = request(json!({"model_name": "m", "inputs": []})).unwrap();
        assert_eq!((infer.version, infer.deadline), (None, None));
    }
}
