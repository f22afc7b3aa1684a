//! Errors as the protocol tells them.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sentinel_inference::error::{Error, ErrorKind};

use super::access::Denied;
use crate::service;

/// When a worker that is full or going away may do better.
const RETRY_AFTER_S: &str = "1";

/// An error on its way to a client.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: Error,
}

pub type Answer<T = Response> = Result<T, Refusal>;

impl Refusal {
    /// With a status that says more than that of the error's kind.
    pub fn new(status: StatusCode, error: Error) -> Refusal {
        Refusal { status, error }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal {
            status: status(error.kind),
            error,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let status = match denied {
            Denied::Token => StatusCode::UNAUTHORIZED,
            Denied::Origin | Denied::Host => StatusCode::FORBIDDEN,
        };
        Refusal::new(status, denied.error())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = service::told(&self.error);
        let body = serde_json::json!({ "error": error.to_string(), "code": error.kind.code() });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidInput
        | ErrorKind::ShapeMismatch
        | ErrorKind::DtypeMismatch
        | ErrorKind::ModelParse
        | ErrorKind::ModelUnsupported => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::QueueFull | ErrorKind::WorkerUnavailable | ErrorKind::Released => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Cancelled
        | ErrorKind::DeviceLost
        | ErrorKind::ConvertUnsupported
        | ErrorKind::Io
        | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
