//! One HTTP connection with one request at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{
    Failure, HEADER_LENGTH, InferRequest, InferResponse, ModelOf, write_body,
};
use serde::Deserialize;

use super::connection::{ANSWERS, Reply, Served};
use super::endpoint::{Endpoint, MAX_ANSWER_BYTES};

type Answer = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// A request that is sent again and again.
pub struct HttpWork {
    request: Request<Full<Bytes>>,
}

impl HttpWork {
    /// # Errors
    /// `INVALID_INPUT` for a name that no URL has.
    pub fn new(endpoint: &Endpoint, request: &InferRequest, payload: &[Bytes]) -> Result<HttpWork> {
        let mut request = request.clone();
        let path = format!(
            "{}/infer",
            model_path(&request.model_name, &request.model_version)
        );
        request.model_name.clear();
        request.model_version.clear();
        request
            .parameters
            .insert("binary_data_output".into(), true.into());
        let (length, body) = write_body(&request, payload);
        let mut built = endpoint.request("POST", &path);
        built = match length {
            Some(length) => built
                .header(HEADER_LENGTH, length)
                .header(CONTENT_TYPE, "application/octet-stream"),
            None => built.header(CONTENT_TYPE, "application/json"),
        };
        let request = built.body(Full::new(body));
        let request = request
            .map_err(|error| Error::new(ErrorKind::InvalidInput, path, error.to_string()))?;
        Ok(HttpWork { request })
    }
}

pub struct HttpConnection {
    endpoint: Arc<Endpoint>,
    sender: SendRequest<Full<Bytes>>,
    answer: Option<Answer>,
}

impl HttpConnection {
    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn open(endpoint: Arc<Endpoint>) -> Result<HttpConnection> {
        let sender = endpoint.http().await?;
        Ok(HttpConnection {
            endpoint,
            sender,
            answer: None,
        })
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn send(&mut self, work: &HttpWork) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let ready = self.sender.ready().await;
        ready.map_err(|error| endpoint.unavailable(error))?;
        let sent = self.sender.send_request(work.request.clone());
        self.answer = Some(Box::pin(async move {
            let response = sent.await.map_err(|error| endpoint.unavailable(error))?;
            let status = response.status();
            let length = response.headers().get(HEADER_LENGTH);
            let length = length
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            let body = body
                .map_err(|error| endpoint.unavailable(error))?
                .to_bytes();
            Ok(Reply {
                slot: 0,
                served: served(status, length.as_deref(), body),
            })
        }));
        Ok(())
    }

    /// The answer of what was sent; to drop the future loses nothing.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn receive(&mut self) -> Result<Reply> {
        let Some(answer) = &mut self.answer else {
            return std::future::pending().await;
        };
        let reply = answer.await;
        self.answer = None;
        reply
    }
}

fn served(status: StatusCode, length: Option<&str>, body: Bytes) -> Result<Served, String> {
    if !status.is_success() {
        return Err(failure(status, &body).0);
    }
    let answer = InferResponse::from_body(length, body, &ANSWERS);
    let (response, payload) = answer.map_err(|error| error.kind.code().to_owned())?;
    Served::read(&response, payload)
}

/// The code and the words of an answer that is none.
pub fn failure(status: StatusCode, body: &[u8]) -> (String, String) {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => (failure.code, failure.error),
        Err(_) => (format!("HTTP_{}", status.as_u16()), status.to_string()),
    }
}

/// What the worker says of a model.
///
/// # Errors
/// `NOT_FOUND` and others of the worker's; `WORKER_UNAVAILABLE` for an answer that is none.
pub async fn metadata(endpoint: &Endpoint, model: &str, version: &str) -> Result<ModelOf> {
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
        #[serde(default)]
        versions: Vec<String>,
        #[serde(default)]
        parameters: sentinel_inference::wire::Parameters,
        inputs: Vec<sentinel_inference::wire::PortOf>,
        outputs: Vec<sentinel_inference::wire::PortOf>,
    }
    let body = endpoint.get(&model_path(model, version)).await?;
    let metadata: Metadata =
        serde_json::from_slice(&body).map_err(|error| endpoint.unavailable(error))?;
    let provider = metadata.parameters.get("provider");
    Ok(ModelOf {
        name: metadata.name,
        version: metadata.versions.last().cloned().unwrap_or_default(),
        sha256: String::new(),
        state: "READY".into(),
        reason: String::new(),
        provider: provider
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned(),
        inputs: metadata.inputs,
        outputs: metadata.outputs,
    })
}

fn model_path(model: &str, version: &str) -> String {
    let model = escaped(model);
    match version {
        "" => format!("/v2/models/{model}"),
        version => format!("/v2/models/{model}/versions/{}", escaped(version)),
    }
}

/// For one segment of a path (RFC 3986, 2.3).
fn escaped(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into())
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_of_a_path() {
        assert_eq!(model_path("a b/é", ""), "/v2/models/a%20b%2F%C3%A9");
        assert_eq!(model_path("m", "2"), "/v2/models/m/versions/2");
    }

    #[test]
    fn a_failure_without_a_code_has_its_status() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let body = br#"{"error": "full", "code": "QUEUE_FULL"}"#;
        assert_eq!(failure(status, body).0, "QUEUE_FULL");
        assert_eq!(failure(status, b"<html>").0, "HTTP_503");
    }
}
