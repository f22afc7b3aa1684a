//! Models that come in pieces, and what must not become of them.

use std::fs;
use std::path::PathBuf;

use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::Upload;
use sha2::{Digest, Sha256};

use super::folder::{Folder, request, scale};
use crate::service::repository::hex;
use crate::service::{Service, ServiceOptions};

fn upload(name: &str, version: &str, bytes: &[u8]) -> Upload {
    Upload {
        id: "1".into(),
        model_name: name.into(),
        model_version: version.into(),
        sha256: hex(&Sha256::digest(bytes)),
        size_bytes: bytes.len() as u64,
    }
}

async fn send(service: &Service, upload: &Upload, bytes: &[u8]) -> Result<(), Error> {
    let offset = service.begin_upload(upload).await?;
    let rest = &bytes[offset as usize..];
    if !rest.is_empty() {
        service.append_upload(upload, offset, rest).await?;
    }
    service.finish_upload(upload).await.map(drop)
}

fn kind(result: Result<(), Error>) -> ErrorKind {
    result.expect_err("it should be refused").kind
}

/// What lies in the folder of uploads.
fn left(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.0.join(".uploads")).expect("it is there");
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_is_loaded() {
    let folder = Folder::new();
    let bytes = scale(3.0);
    let upload = upload("scale", "2", &bytes);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    {
        let service = folder.open().await;
        assert_eq!(service.begin_upload(&upload).await.unwrap(), 0);
        let offset = service.append_upload(&upload, 0, first).await.unwrap();
        assert_eq!(offset, first.len() as u64);
    }
    let service = folder.open().await;
    assert!(service.models().is_empty());
    let offset = service.begin_upload(&upload).await.unwrap();
    assert_eq!(offset, first.len() as u64);
    let twice = service.append_upload(&upload, 0, first).await;
    assert_eq!(kind(twice.map(drop)), ErrorKind::InvalidInput);
    let early = service.finish_upload(&upload).await;
    assert_eq!(kind(early.map(drop)), ErrorKind::InvalidInput);
    service.append_upload(&upload, offset, rest).await.unwrap();
    let model = service.finish_upload(&upload).await.unwrap();
    assert_eq!((&*model.state, &*model.version), ("READY", "2"));
    assert_eq!(model.sha256, upload.sha256);
    let answer = service.infer(request("scale", [1.0, 2.0])).await.unwrap();
    let expected = Tensor::from_vec(&[1, 2], vec![3.0_f32, 6.0]).unwrap();
    assert_eq!(answer.outputs, [("y".to_owned(), expected)]);
    assert!(left(&folder).is_empty());
}

#[tokio::test]
async fn another_size_under_the_same_hash_cuts_nothing_off() {
    let folder = Folder::new();
    let service = folder.open().await;
    let bytes = scale(3.0);
    let upload = upload("scale", "1", &bytes);
    service.begin_upload(&upload).await.unwrap();
    let offset = service.append_upload(&upload, 0, &bytes[..10]).await;
    assert_eq!(offset.unwrap(), 10);
    let shorter = Upload {
        size_bytes: 1,
        ..upload.clone()
    };
    assert_eq!(service.begin_upload(&shorter).await.unwrap(), 0);
    assert_eq!(service.begin_upload(&upload).await.unwrap(), 10);
    send(&service, &upload, &bytes).await.unwrap();
}

#[tokio::test]
async fn what_is_there_already_is_not_sent_again() {
    let folder = Folder::new();
    folder.put("scale", 1, 3.0);
    let service = folder.open().await;
    let bytes = scale(3.0);
    let upload = upload("scale", "1", &bytes);
    let offset = service.begin_upload(&upload).await.unwrap();
    assert_eq!(offset, upload.size_bytes);
    let model = service.finish_upload(&upload).await.unwrap();
    assert_eq!(model.state, "READY");
}

#[tokio::test]
async fn a_version_does_not_become_another_model() {
    let folder = Folder::new();
    folder.put("scale", 1, 3.0);
    let service = folder.open().await;
    let bytes = scale(4.0);
    let sent = send(&service, &upload("scale", "1", &bytes), &bytes).await;
    assert_eq!(kind(sent), ErrorKind::InvalidInput);
    assert_eq!(
        fs::read(folder.0.join("scale/1/model.onnx")).unwrap(),
        scale(3.0)
    );
    send(&service, &upload("scale", "2", &bytes), &bytes)
        .await
        .unwrap();
    assert_eq!(service.model("scale", None).unwrap().version, "2");
}

#[tokio::test]
async fn of_two_uploads_of_a_version_one_wins() {
    let folder = Folder::new();
    let service = folder.open().await;
    let (three, four) = (scale(3.0), scale(4.0));
    let uploads = [upload("scale", "1", &three), upload("scale", "1", &four)];
    for (upload, bytes) in uploads.iter().zip([&three, &four]) {
        service.begin_upload(upload).await.unwrap();
        service.append_upload(upload, 0, bytes).await.unwrap();
    }
    let [first, second] = &uploads;
    let (first, second) = tokio::join!(service.finish_upload(first), service.finish_upload(second));
    let won: Vec<&String> = [&first, &second]
        .into_iter()
        .filter_map(|finished| Some(&finished.as_ref().ok()?.sha256))
        .collect();
    assert_eq!(won, [&service.model("scale", None).unwrap().sha256]);
}

#[tokio::test]
async fn two_senders_of_one_file_make_one_model() {
    let folder = Folder::new();
    let service = folder.open().await;
    let bytes = scale(3.0);
    let upload = upload("scale", "1", &bytes);
    let sent = tokio::join!(
        send(&service, &upload, &bytes),
        send(&service, &upload, &bytes)
    );
    assert!(sent.0.is_ok() || sent.1.is_ok(), "{sent:?}");
    assert_eq!(service.model("scale", None).unwrap().sha256, upload.sha256);
}

#[tokio::test]
async fn bytes_of_another_hash_are_thrown_away() {
    let folder = Folder::new();
    let service = folder.open().await;
    let bytes = scale(3.0);
    let upload = upload("scale", "1", &scale(4.0));
    assert_eq!(
        kind(send(&service, &upload, &bytes).await),
        ErrorKind::InvalidInput
    );
    assert!(left(&folder).is_empty());
    assert!(!folder.0.join("scale").exists());
    send(&service, &upload, &scale(4.0)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_model_does_not_reach_the_repository() {
    let folder = Folder::new();
    let service = folder.open().await;
    let bytes = b"no model at all".to_vec();
    let sent = send(&service, &upload("scale", "1", &bytes), &bytes).await;
    assert_eq!(kind(sent), ErrorKind::ModelParse);
    assert!(left(&folder).is_empty());
    assert!(!folder.0.join("scale").exists());
}

#[tokio::test]
async fn more_bytes_than_allowed_are_refused() {
    let folder = Folder::new();
    let service = folder.open().await;
    let bytes = scale(3.0);
    let announced = Upload {
        size_bytes: (1 << 20) + 1,
        ..upload("scale", "1", &bytes)
    };
    let begun = service.begin_upload(&announced).await;
    assert_eq!(kind(begun.map(drop)), ErrorKind::TooLarge);
    let announced = Upload {
        size_bytes: 10,
        ..announced
    };
    assert_eq!(
        kind(send(&service, &announced, &bytes).await),
        ErrorKind::TooLarge
    );
}

#[tokio::test]
async fn names_versions_and_hashes_that_are_none_are_refused() {
    let folder = Folder::new();
    let service = folder.open().await;
    let good = upload("scale", "1", &scale(3.0));
    let bad = |change: fn(&mut Upload)| {
        let mut upload = good.clone();
        change(&mut upload);
        upload
    };
    for upload in [
        bad(|upload| upload.model_name = "../x".into()),
        bad(|upload| upload.model_name = "a/b".into()),
        bad(|upload| upload.model_name = ".uploads".into()),
        bad(|upload| upload.model_name = String::new()),
        bad(|upload| upload.model_name = "x".repeat(129)),
        bad(|upload| upload.model_version = "0".into()),
        bad(|upload| upload.model_version = "01".into()),
        bad(|upload| upload.model_version = "../1".into()),
        bad(|upload| upload.sha256 = "../../x".into()),
        bad(|upload| upload.sha256 = "0".repeat(63)),
        bad(|upload| upload.size_bytes = 0),
    ] {
        let begun = service.begin_upload(&upload).await;
        assert_eq!(kind(begun.map(drop)), ErrorKind::InvalidInput, "{upload:?}");
    }
}

#[tokio::test]
async fn uploads_are_refused_unless_they_are_allowed() {
    let folder = Folder::new();
    let options = ServiceOptions {
        allow_upload: false,
        ..folder.options()
    };
    let service = Service::open(options).await.unwrap();
    let bytes = scale(3.0);
    let sent = send(&service, &upload("scale", "1", &bytes), &bytes).await;
    assert_eq!(kind(sent), ErrorKind::Unauthorized);
    assert!(!folder.0.join(".uploads").exists());
}

#[tokio::test]
async fn what_a_killed_worker_left_is_no_model() {
    let folder = Folder::new();
    let bytes = scale(3.0);
    let upload = upload("scale", "1", &bytes);
    // The worker was killed just before the folder became the version.
    let (sha256, size_bytes) = (&upload.sha256, upload.size_bytes);
    let whole = format!(".uploads/{sha256}-{size_bytes}.whole");
    let whole = folder.0.join(whole);
    fs::create_dir_all(&whole).unwrap();
    fs::write(whole.join("model.onnx"), &bytes[..10]).unwrap();
    let service = folder.open().await;
    assert!(service.models().is_empty());
    send(&service, &upload, &bytes).await.unwrap();
    assert_eq!(service.model("scale", None).unwrap().sha256, upload.sha256);
}

#[tokio::test]
async fn the_oldest_part_makes_room_for_another() {
    let folder = Folder::new();
    let service = folder.open().await;
    for n in 0..40_u8 {
        let upload = upload("scale", "1", &[n, 0]);
        service.begin_upload(&upload).await.unwrap();
        service.append_upload(&upload, 0, &[n]).await.unwrap();
    }
    assert_eq!(left(&folder).len(), 16);
    let last = upload("scale", "1", &[39, 0]);
    assert_eq!(service.begin_upload(&last).await.unwrap(), 1);
}
