//! What is told about the server and its models, and which of them are loaded.

use axum::Json;
use axum::extract::{Request, State};
use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::wire::{ModelOf, PortOf};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::App;
use super::errors::Answer;
use super::routes::Named;
use crate::service::ModelStatistics;

/// Of requests that are about models, not for them.
const MAX_BODY_BYTES: usize = 64 << 10;
/// The protocol's name for the format of our models.
const PLATFORM: &str = "onnx_onnxv1";

pub async fn server() -> Json<Value> {
    Json(json!({
        "name": "sentinel-worker",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": [
            "binary_tensor_data", "model_configuration", "model_repository", "schedule_policy", "statistics",
        ],
    }))
}

pub async fn server_ready(State(app): State<App>) -> Answer<()> {
    app.check_draining()?;
    let models = app.context.service.models();
    if models.iter().any(|model| model.state == "LOADING") {
        let why = "models are being loaded";
        return Err(Error::new(ErrorKind::WorkerUnavailable, "worker", why).into());
    }
    Ok(())
}

fn find(app: &App, named: &Named) -> Answer<ModelOf> {
    let service = &app.context.service;
    Ok(service.model(&named.model, named.version.as_deref())?)
}

pub async fn ready(State(app): State<App>, named: Named) -> Answer<()> {
    find(&app, &named).map(|_| ())
}

pub async fn metadata(State(app): State<App>, named: Named) -> Answer<Json<Value>> {
    let model = find(&app, &named)?;
    let all = app.context.service.models();
    let versions = all.iter().filter(|each| each.name == model.name);
    let versions: Vec<&str> = versions.map(|each| &*each.version).collect();
    Ok(Json(json!({
        "name": model.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": model.inputs,
        "outputs": model.outputs,
        "parameters": { "provider": model.provider, "version": model.version, "sha256": model.sha256 },
    })))
}

/// As little of Triton's as its clients read. Shapes are whole, so there is no axis of a batch beside them.
pub async fn config(State(app): State<App>, named: Named) -> Answer<Json<Value>> {
    let model = find(&app, &named)?;
    let ports = |ports: &[PortOf]| -> Vec<Value> {
        let ports = ports.iter();
        let port = |port: &PortOf| json!({ "name": port.name, "data_type": data_type(&port.datatype), "dims": port.shape });
        ports.map(port).collect()
    };
    Ok(Json(json!({
        "name": model.name,
        "platform": PLATFORM,
        "backend": "sentinel",
        "max_batch_size": 0,
        "input": ports(&model.inputs),
        "output": ports(&model.outputs),
    })))
}

fn data_type(datatype: &str) -> String {
    match datatype {
        "BYTES" => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{other}"),
    }
}

pub async fn all_statistics(State(app): State<App>) -> Json<Value> {
    told(&app.context.service.statistics())
}

pub async fn statistics(State(app): State<App>, named: Named) -> Answer<Json<Value>> {
    let model = find(&app, &named)?;
    let mut statistics = app.context.service.statistics();
    let is_asked_for = |each: &ModelStatistics| {
        each.name == model.name && (named.version.is_none() || each.version == model.version)
    };
    statistics.retain(is_asked_for);
    Ok(told(&statistics))
}

fn told(statistics: &[ModelStatistics]) -> Json<Value> {
    let models: Vec<Value> = statistics.iter().map(model_statistics).collect();
    Json(json!({ "model_stats": models }))
}

fn model_statistics(model: &ModelStatistics) -> Value {
    let snapshot = &model.snapshot;
    let duration = |count: u64, ns: u128| json!({ "count": count, "ns": ns as u64 });
    let inference_ms = snapshot.avg_inference_time_ms * snapshot.total_batches as f64;
    json!({
        "name": model.name,
        "version": model.version,
        "inference_count": snapshot.total_outputs,
        "execution_count": snapshot.total_batches,
        "inference_stats": {
            "success": duration(snapshot.total_outputs, model.latencies.sum().as_nanos()),
            "fail": duration(snapshot.total_errors, 0),
            "queue": duration(0, 0),
            "compute_input": duration(0, 0),
            "compute_infer": duration(snapshot.total_batches, (inference_ms * 1e6) as u128),
            "compute_output": duration(0, 0),
            "cache_hit": duration(0, 0),
            "cache_miss": duration(0, 0),
        },
        "batch_stats": [],
    })
}

#[derive(Default, Deserialize)]
struct Index {
    #[serde(default)]
    ready: bool,
}

pub async fn index(State(app): State<App>, request: Request) -> Answer<Json<Vec<Value>>> {
    let Index { ready } = body(&app, request).await?;
    let mut models = app.context.service.models();
    models.retain(|model| !ready || model.state == "READY");
    let told = |model: &ModelOf| json!({ "name": model.name, "version": model.version, "state": model.state, "reason": model.reason });
    Ok(Json(models.iter().map(told).collect()))
}

#[derive(Default, Deserialize)]
struct Change {
    #[serde(default)]
    parameters: Map<String, Value>,
}

pub async fn load(State(app): State<App>, named: Named, request: Request) -> Answer<()> {
    let change: Change = body(&app, request).await?;
    refuse_others(&change, &[])?;
    Ok(app.context.service.load(&named.model).await?)
}

pub async fn unload(State(app): State<App>, named: Named, request: Request) -> Answer<()> {
    let change: Change = body(&app, request).await?;
    // No model depends on another here, and clients of Triton always say it.
    refuse_others(&change, &["unload_dependents"])?;
    Ok(app.context.service.unload(&named.model).await?)
}

fn refuse_others(change: &Change, known: &[&str]) -> Answer<()> {
    let mut names = change.parameters.keys();
    let Some(name) = names.find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let name: String = name.chars().take(64).collect();
    let why = format!("\"{name}\" is not known here");
    Err(Error::new(ErrorKind::InvalidInput, "parameters", why).into())
}

/// The body as JSON; without one, what the members are without it.
async fn body<T: DeserializeOwned + Default>(app: &App, request: Request) -> Answer<T> {
    let (head, body) = request.into_parts();
    let held = app.bodies.read(&head.headers, body, MAX_BODY_BYTES).await?;
    if held.bytes.is_empty() {
        return Ok(T::default());
    }
    let parsed = serde_json::from_slice(&held.bytes);
    Ok(parsed.map_err(|error| Error::new(ErrorKind::InvalidInput, "body", error.to_string()))?)
}
