//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sentinel_inference::error::{Error, ErrorKind};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::outbox::Closing;
use super::websocket::{say_farewell, serve};
use crate::context::Context;

type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

const SUBPROTOCOL: &str = "sentinel.v1";

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No or a wrong token.
    Token,
    /// A page of another origin than those allowed.
    Origin,
    /// More connections than allowed.
    Connections,
}

impl Refused {
    fn status(self) -> StatusCode {
        match self {
            Refused::Token => StatusCode::UNAUTHORIZED,
            Refused::Origin => StatusCode::FORBIDDEN,
            Refused::Connections => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn closing(self) -> Closing {
        let (code, reason) = match self {
            Refused::Token => (4401, "no or a wrong token"),
            Refused::Origin => (4403, "this origin is not allowed"),
            Refused::Connections => (1013, "too many connections"),
        };
        Closing { code, reason }
    }

    fn error(self) -> Error {
        let kind = match self {
            Refused::Connections => ErrorKind::WorkerUnavailable,
            Refused::Token | Refused::Origin => ErrorKind::Unauthorized,
        };
        Error::new(kind, "connection", self.closing().reason)
    }
}

/// The answer to a request for a WebSocket; the connection lives on in a task of its own, and is counted in
/// `counters.websockets` until it ends.
pub fn upgrade(context: &Arc<Context>, request: Request) -> Response {
    let context = context.clone();
    switch(request, async move |stream| serve(context, stream).await)
}

/// The answer to a client that is not let in. Pages do not see why a WebSocket did not open, so theirs opens and closes.
pub fn turn_away(refused: Refused, request: Request) -> Response {
    if !request.headers().contains_key(ORIGIN) {
        return refusal(refused.status(), &refused.error());
    }
    switch(request, async move |stream| {
        say_farewell(stream, refused.closing()).await;
    })
}

fn switch<F>(mut request: Request, speak: impl FnOnce(Upgraded) -> F + Send + 'static) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = match accept(&request) {
        Ok(accept) => accept,
        Err((status, why)) => {
            let error = Error::new(ErrorKind::InvalidInput, "WebSocket", why);
            let mut response = refusal(status, &error);
            let version = HeaderValue::from_static("13");
            let headers = response.headers_mut();
            headers.insert(SEC_WEBSOCKET_VERSION, version);
            return response;
        }
    };
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    tokio::spawn(async move {
        if let Some(upgrade) = upgrade
            && let Ok(upgraded) = upgrade.await
        {
            speak(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    response
}

/// The proof that the request for a WebSocket was understood.
fn accept(request: &Request) -> Result<HeaderValue, (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET
        || !has_word(headers, &CONNECTION, "upgrade")
        || !has_word(headers, &UPGRADE, "websocket")
        || request.extensions().get::<OnUpgrade>().is_none()
    {
        let why = "expected a GET of HTTP/1.1 that asks for one";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    if !has_word(headers, &SEC_WEBSOCKET_VERSION, "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "expected version 13"));
    }
    if !has_word(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        let why = "expected the subprotocol sentinel.v1";
        return Err((StatusCode::BAD_REQUEST, why));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err((StatusCode::BAD_REQUEST, "expected a Sec-WebSocket-Key"));
    };
    let accept = derive_accept_key(key.as_bytes());
    Ok(HeaderValue::try_from(accept).expect("base64 is text"))
}

/// Whether a header that is a list has this in it.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lists = headers
        .get_all(name)
        .iter()
        .filter_map(|list| list.to_str().ok());
    let mut words = lists.flat_map(|list| list.split(','));
    words.any(|each| each.trim().eq_ignore_ascii_case(word))
}

fn refusal(status: StatusCode, error: &Error) -> Response {
    let body = serde_json::json!({"error": error.to_string(), "code": error.kind.code()});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
