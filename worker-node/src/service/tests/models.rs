//! Versions that come and go while requests run.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sentinel_inference::error::ErrorKind;
use sentinel_inference::wire::ModelOf;

use super::folder::{Folder, onnx, request};
use crate::service::{Answer, Infer, Service};

fn first(answer: &Answer) -> f32 {
    let (_, tensor) = &answer.outputs[0];
    tensor.elements::<f32>().expect("y is f32")[0]
}

async fn ask(service: &Service, model: &str) -> f32 {
    let answer = service.infer(request(model, [1.0, 2.0])).await;
    first(&answer.expect("the model is ready"))
}

async fn refusal(service: &Service, request: Infer) -> ErrorKind {
    let refused = service.infer(request).await;
    refused.expect_err("it should be refused").kind
}

fn states(service: &Service) -> Vec<String> {
    let models = service.models().into_iter();
    let state = |model: ModelOf| format!("{} {} {}", model.name, model.version, model.state);
    models.map(state).collect()
}

fn version(model: &str, version: &str) -> Infer {
    Infer {
        version: Some(version.to_owned()),
        ..request(model, [1.0, 2.0])
    }
}

#[tokio::test]
async fn the_latest_version_answers() {
    let folder = Folder::new();
    folder.put("scale", 9, 9.0);
    folder.put("scale", 10, 10.0);
    let service = folder.open().await;
    assert_eq!(ask(&service, "scale").await, 10.0);
    let answer = service.infer(request("scale", [1.0, 2.0])).await.unwrap();
    assert_eq!((&*answer.version, answer.provider), ("10", "cpu"));
    assert_eq!(states(&service), ["scale 9 UNAVAILABLE", "scale 10 READY"]);
    let model = service.model("scale", None).unwrap();
    assert_eq!(model.inputs[0].shape, [-1, 2]);
    assert_eq!(model.sha256.len(), 64);
}
