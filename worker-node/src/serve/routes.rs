//! Paths of the protocol, and who may use them.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderMap, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::FutureExt;
use sentinel_inference::error::{Error, ErrorKind};
use serde::Deserialize;
use tracing::debug;

use super::access::Denied;
use super::errors::{Answer, Refusal};
use super::{App, infer, metrics, models, www};
use crate::channel::{Refused, turn_away, upgrade};

const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// What a page may do from another origin.
const PREFLIGHT: [(HeaderName, &str); 4] = [
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Authorization, Content-Type, Inference-Header-Content-Length",
    ),
    (ACCESS_CONTROL_MAX_AGE, "600"),
    (ALLOW_PRIVATE_NETWORK, "true"),
];
/// What a page may read.
const EXPOSED: &str = "Inference-Header-Content-Length, Retry-After";

/// The model of a path, and its version.
#[derive(Clone, Debug, Deserialize)]
pub struct Named {
    pub model: String,
    pub version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Named> {
        let named = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(named) =
            named.map_err(|_| Error::new(ErrorKind::InvalidInput, "path", "it is not UTF-8"))?;
        Ok(named)
    }
}

pub fn router(app: App, www: Option<&Path>) -> Router {
    let mut api = Router::new()
        .route("/v2", get(models::server))
        .route("/v2/", get(models::server))
        .route("/v2/models/stats", get(models::all_statistics))
        .route("/v2/repository/index", post(models::index))
        .route("/v2/repository/models/{model}/load", post(models::load))
        .route("/v2/repository/models/{model}/unload", post(models::unload))
        .route("/metrics", get(metrics::page));
    for model in [
        "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}",
    ] {
        api = api
            .route(model, get(models::metadata))
            .route(&format!("{model}/ready"), get(models::ready))
            .route(&format!("{model}/config"), get(models::config))
            .route(&format!("{model}/stats"), get(models::statistics))
            .route(&format!("{model}/infer"), post(infer::infer));
    }
    let mut site = api
        .route_layer(from_fn_with_state(app.clone(), require_token))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(models::server_ready))
        .method_not_allowed_fallback(wrong_method);
    site = match www {
        Some(folder) => site.fallback_service(www::router(folder)),
        None => site.fallback(no_such_path),
    };
    site.layer(from_fn_with_state(app.clone(), admit_page))
        .route("/v2/ws", any(websocket))
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// What answers while the models are being loaded.
pub fn starting() -> Router {
    Router::new()
        .route("/v2/health/live", get(live))
        .fallback(async || {
            let why = "the models are being loaded";
            Refusal::from(Error::new(ErrorKind::WorkerUnavailable, "worker", why))
        })
}

/// What answers on connections beyond the limit.
pub fn crowded() -> Router {
    let turn_away = async |request| turn_away(Refused::Connections, request);
    Router::new()
        .route("/v2/ws", any(turn_away))
        .fallback(async || {
            let why = "there are as many as the worker takes";
            Refusal::from(Error::new(ErrorKind::WorkerUnavailable, "connections", why))
        })
}

/// Pages hear in their own way why they may not open one.
async fn websocket(State(app): State<App>, request: Request) -> Response {
    match app.access.admit(request.headers()) {
        Ok(()) => upgrade(&app.context, request),
        Err(Denied::Token) => turn_away(Refused::Token, request),
        Err(Denied::Origin | Denied::Host) => turn_away(Refused::Origin, request),
    }
}

async fn live() {}

async fn no_such_path() -> Refusal {
    Error::new(ErrorKind::NotFound, "path", "there is nothing here").into()
}

async fn wrong_method() -> Refusal {
    let error = Error::new(ErrorKind::InvalidInput, "method", "not one of this path's");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
}

async fn require_token(State(app): State<App>, request: Request, next: Next) -> Answer {
    app.access.admit_token(request.headers())?;
    Ok(next.run(request).await)
}

/// The worker's name and the page's origin, with what browsers have to know about it.
async fn admit_page(State(app): State<App>, mut request: Request, next: Next) -> Answer {
    // HTTP/2 has the host in the address.
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    app.access.admit_page(request.headers())?;
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return Ok(next.run(request).await);
    };
    let asks_first = request
        .headers()
        .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first && request.method() == Method::OPTIONS {
        let allowed = PREFLIGHT.map(|(name, value)| (name, HeaderValue::from_static(value)));
        (StatusCode::NO_CONTENT, HeaderMap::from_iter(allowed)).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    headers.append(VARY, HeaderValue::from_static("Origin"));
    Ok(response)
}

/// Logs and counts, and answers where a handler panicked.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        Refusal::from(Error::internal("worker", "a request's handler panicked")).into_response()
    });
    let status = response.status();
    if status.is_client_error() {
        let refused = &app.context.counters.refused;
        refused.fetch_add(1, Ordering::Relaxed);
    }
    let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
    debug!(%method, ?path, status = status.as_u16(), elapsed_ms, "request");
    response
}
