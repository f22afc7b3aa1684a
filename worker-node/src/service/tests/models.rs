//! Versions that come and go while requests run.

use std::fs;
use std::time::Instant;

use sentinel_inference::error::ErrorKind;
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::ModelOf;

use super::folder::{Folder, request};
use crate::service::{Answer, Infer, ProviderChoice, Service, ServiceOptions};

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
async fn a_request_for_another_file_is_not_run() {
    let folder = Folder::new();
    folder.put("scale", 1, 3.0);
    let service = folder.open().await;
    let sha256 = service.models()[0].sha256.clone();
    let asking = |sha256: String| Infer {
        sha256: Some(sha256),
        ..request("scale", [1.0, 2.0])
    };
    assert!(service.infer(asking(sha256.clone())).await.is_ok());
    let other = "0".repeat(sha256.len());
    let refused = refusal(&service, asking(other)).await;
    assert_eq!(refused, ErrorKind::WorkerUnavailable);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_replaces_the_model_and_no_request_is_lost() {
    let folder = Folder::new();
    folder.put("scale", 1, 1.0);
    let service = folder.open().await;
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let mut last = 0.0;
                while last < 4.0 {
                    let factor = ask(&service, "scale").await;
                    assert!(factor >= last, "{factor} after {last}");
                    last = factor;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for factor in [2.0, 3.0, 4.0] {
        folder.put("scale", 1, factor);
        service.load("scale").await.unwrap();
        assert_eq!(ask(&service, "scale").await, factor);
    }
    for task in asking {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_has_not_changed_is_not_loaded_again() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    ask(&service, "scale").await;
    service.load("scale").await.unwrap();
    assert_eq!(service.statistics()[0].snapshot.total_inputs, 1);
}

#[tokio::test]
async fn a_new_version_replaces_the_former_one_which_is_there_on_demand() {
    let folder = Folder::new();
    folder.put("scale", 1, 1.0);
    let service = folder.open().await;
    let mut changes = service.changes();
    changes.mark_unchanged();
    folder.put("scale", 2, 2.0);
    assert_eq!(ask(&service, "scale").await, 1.0);
    service.load("scale").await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(ask(&service, "scale").await, 2.0);
    assert_eq!(states(&service), ["scale 1 UNAVAILABLE", "scale 2 READY"]);
    let former = service.infer(version("scale", "1")).await.unwrap();
    assert_eq!((first(&former), &*former.version), (1.0, "1"));
    assert_eq!(states(&service), ["scale 1 READY", "scale 2 READY"]);
    assert_eq!(ask(&service, "scale").await, 2.0);
}

#[tokio::test]
async fn few_versions_of_a_model_are_loaded_at_once() {
    let folder = Folder::new();
    for number in 1..=8 {
        folder.put("scale", number, number as f32);
    }
    let service = folder.open().await;
    for number in [1, 2, 3, 4, 5, 1, 7] {
        let answer = service.infer(version("scale", &number.to_string())).await;
        assert_eq!(first(&answer.unwrap()), number as f32);
        assert!(service.statistics().len() <= 4);
    }
    let states = states(&service);
    let ready = states.iter().filter(|state| state.ends_with(" READY"));
    let ready: Vec<&String> = ready.collect();
    assert_eq!(
        ready,
        [
            "scale 1 READY",
            "scale 5 READY",
            "scale 7 READY",
            "scale 8 READY"
        ]
    );
}

#[tokio::test]
async fn an_unloaded_model_answers_when_it_is_loaded_again() {
    let folder = Folder::new();
    folder.put("scale", 1, 1.0);
    folder.put("scale", 2, 2.0);
    let service = folder.open().await;
    service.unload("scale").await.unwrap();
    assert_eq!(
        states(&service),
        ["scale 1 UNAVAILABLE", "scale 2 UNAVAILABLE"]
    );
    for request in [request("scale", [1.0, 2.0]), version("scale", "1")] {
        assert_eq!(
            refusal(&service, request).await,
            ErrorKind::WorkerUnavailable
        );
    }
    assert!(service.statistics().is_empty());
    service.load("scale").await.unwrap();
    assert_eq!(ask(&service, "scale").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_model_that_is_unloaded_have_their_answers() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    let asked: Vec<_> = (0..32)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.infer(request("scale", [1.0, 2.0])).await })
        })
        .collect();
    tokio::task::yield_now().await;
    service.unload("scale").await.unwrap();
    for task in asked {
        match task.await.unwrap() {
            Ok(answer) => assert_eq!(first(&answer), 2.0),
            Err(error) => assert_eq!(error.kind, ErrorKind::WorkerUnavailable),
        }
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_says_why_without_paths() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    folder.put_bytes("broken", 1, b"no model");
    fs::create_dir_all(folder.0.join("weights/1")).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models/");
    let external = fs::read(format!("{fixture}resnet18_w16.ext.onnx")).unwrap();
    folder.put_bytes("weights", 1, &external);
    let service = folder.open().await;
    assert_eq!(
        states(&service),
        [
            "broken 1 UNAVAILABLE",
            "scale 1 READY",
            "weights 1 UNAVAILABLE"
        ]
    );
    for model in service.models() {
        let place = folder.0.to_str().unwrap();
        assert!(!model.reason.contains(place), "{}", model.reason);
        assert!(!model.reason.is_empty() && model.sha256.len() == 64);
    }
    let error = refusal(&service, request("broken", [1.0, 2.0])).await;
    assert_eq!(error, ErrorKind::WorkerUnavailable);
    let weights = format!("{fixture}resnet18_w16.ext.onnx.data");
    fs::copy(
        weights,
        folder.0.join("weights/1/resnet18_w16.ext.onnx.data"),
    )
    .unwrap();
    service.load("weights").await.unwrap();
    assert_eq!(service.model("weights", None).unwrap().state, "READY");
}

#[tokio::test]
async fn a_broken_new_file_leaves_the_former_model_in_its_place() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    folder.put_bytes("scale", 1, b"no model");
    let error = service.load("scale").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ModelParse);
    assert_eq!(ask(&service, "scale").await, 2.0);
    folder.put_bytes("scale", 2, b"no model either");
    service.load("scale").await.unwrap_err();
    assert_eq!(ask(&service, "scale").await, 2.0);
    assert_eq!(states(&service), ["scale 1 READY", "scale 2 UNAVAILABLE"]);
    folder.put("scale", 2, 3.0);
    service.load("scale").await.unwrap();
    assert_eq!(ask(&service, "scale").await, 3.0);
}

#[tokio::test]
async fn what_is_not_laid_out_as_a_model_is_ignored() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    folder.put(".hidden", 1, 2.0);
    folder.put("with space", 1, 2.0);
    folder.put("zero", 0, 2.0);
    fs::write(folder.0.join("README.md"), "models").unwrap();
    fs::create_dir_all(folder.0.join("scale/latest")).unwrap();
    fs::create_dir_all(folder.0.join("scale/3")).unwrap();
    fs::create_dir_all(folder.0.join("empty")).unwrap();
    let service = folder.open().await;
    assert_eq!(states(&service), ["scale 1 READY"]);
    for name in [
        "../scale",
        "scale/1",
        "",
        ".",
        ".hidden",
        "empty",
        "README.md",
    ] {
        let load = service.load(name).await.unwrap_err();
        assert_eq!(load.kind, ErrorKind::NotFound, "{name}");
        let unload = service.unload(name).await.unwrap_err();
        assert_eq!(unload.kind, ErrorKind::NotFound, "{name}");
        let error = refusal(&service, request(name, [1.0, 2.0])).await;
        assert_eq!(error, ErrorKind::NotFound, "{name}");
    }
    for number in ["2", "3", "0", "01", "-1", "latest", "99999999999999999999"] {
        let error = refusal(&service, version("scale", number)).await;
        assert_eq!(error, ErrorKind::NotFound, "{number}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_out_of_the_repository_are_ignored() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (Folder::new(), Folder::new());
    outside.put("secret", 1, 2.0);
    folder.put("scale", 1, 2.0);
    symlink(outside.0.join("secret"), folder.0.join("model")).unwrap();
    fs::create_dir_all(folder.0.join("scale/2")).unwrap();
    let file = outside.0.join("secret/1/model.onnx");
    symlink(file, folder.0.join("scale/2/model.onnx")).unwrap();
    symlink(folder.0.join("scale"), folder.0.join("alias")).unwrap();
    let service = folder.open().await;
    assert_eq!(states(&service), ["alias 1 READY", "scale 1 READY"]);
}

#[tokio::test]
async fn wrong_inputs_are_named() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    let with = |inputs: &[(&str, Tensor)], outputs: &[&str]| {
        let inputs = inputs.iter();
        Infer {
            inputs: inputs
                .map(|(name, x)| ((*name).to_owned(), x.clone()))
                .collect(),
            outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
            ..request("scale", [0.0, 0.0])
        }
    };
    let x = || Tensor::from_vec(&[1, 2], vec![1.0_f32, 2.0]).unwrap();
    let wide = Tensor::from_vec(&[1, 3], vec![0.0_f32; 3]).unwrap();
    let double = Tensor::from_vec(&[1, 2], vec![0.0_f64; 2]).unwrap();
    for (request, kind, named) in [
        (with(&[], &[]), ErrorKind::InvalidInput, "x"),
        (with(&[("q", x())], &[]), ErrorKind::InvalidInput, "q"),
        (
            with(&[("x", x()), ("x", x())], &[]),
            ErrorKind::InvalidInput,
            "x",
        ),
        (with(&[("x", wide)], &[]), ErrorKind::ShapeMismatch, "x"),
        (with(&[("x", double)], &[]), ErrorKind::DtypeMismatch, "x"),
        (with(&[("x", x())], &["q"]), ErrorKind::InvalidInput, "q"),
        (
            with(&[("x", x())], &["y", "y"]),
            ErrorKind::InvalidInput,
            "y",
        ),
    ] {
        let error = service.infer(request).await.unwrap_err();
        assert_eq!((error.kind, &*error.at), (kind, named), "{error}");
    }
    assert_eq!(service.statistics()[0].snapshot.total_inputs, 0);
}

#[tokio::test]
async fn requests_that_come_together_run_together() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    let asked = (0..64).map(|n| service.infer(request("scale", [n as f32, 0.0])));
    let answers = futures_util::future::join_all(asked).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(first(&answer.unwrap()), 2.0 * n as f32);
    }
    let snapshot = service.statistics()[0].snapshot;
    assert_eq!(snapshot.total_outputs, 64);
    assert!(snapshot.total_batches < 64, "nothing ran together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_service_has_answered_and_takes_nothing() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    let asked: Vec<_> = (0..32)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.infer(request("scale", [1.0, 2.0])).await })
        })
        .collect();
    service.drain().await;
    assert_eq!(service.statistics()[0].in_flight, 0);
    for task in asked {
        match task.await.unwrap() {
            Ok(answer) => assert_eq!(first(&answer), 2.0),
            Err(error) => assert_eq!(error.kind, ErrorKind::WorkerUnavailable),
        }
    }
    let error = refusal(&service, request("scale", [1.0, 2.0])).await;
    assert_eq!(error, ErrorKind::WorkerUnavailable);
    let error = service.load("scale").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::WorkerUnavailable);
}

#[tokio::test]
async fn a_request_that_is_late_is_not_run() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let service = folder.open().await;
    let late = Infer {
        deadline: Some(Instant::now()),
        ..request("scale", [1.0, 2.0])
    };
    assert_eq!(refusal(&service, late).await, ErrorKind::Timeout);
    let snapshot = service.statistics()[0].snapshot;
    assert_eq!((snapshot.total_batches, snapshot.total_errors), (0, 1));
}

#[tokio::test]
async fn a_provider_that_the_machine_lacks_is_told_before_any_model_is_loaded() {
    let folder = Folder::new();
    folder.put("scale", 1, 2.0);
    let options = ServiceOptions {
        provider: ProviderChoice::Webgpu,
        adapter: Some("an adapter that nobody makes".into()),
        ..folder.options()
    };
    let error = Service::open(options).await.err().expect("there is none");
    assert_eq!(error.kind, ErrorKind::ModelUnsupported, "{error}");
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    let options = ServiceOptions {
        model_repository: folder.0.join("nowhere"),
        ..folder.options()
    };
    let error = Service::open(options).await.err().expect("there is none");
    assert_eq!(error.kind, ErrorKind::Io);
}
