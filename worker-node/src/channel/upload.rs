//! The uploads of one connection, one step after the other, beside its requests.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{FromWorker, Upload, UploadChunk};
use tokio::sync::mpsc;

use super::outbox::Outbox;
use super::request::failure;
use crate::context::Context;

/// Announced on one connection and not at their end.
const MAX_UPLOADS: usize = 8;
/// Chunks that wait for the disk; the client's next messages wait behind them.
const N_WAITING: usize = 2;

enum Step {
    Begin(Upload),
    Append(UploadChunk, Bytes),
}

/// Begins its task with the first upload: most connections have none.
pub struct Uploads {
    context: Arc<Context>,
    outbox: Outbox,
    steps: Option<mpsc::Sender<Step>>,
}

impl Uploads {
    pub fn new(context: Arc<Context>, outbox: Outbox) -> Uploads {
        Uploads {
            context,
            outbox,
            steps: None,
        }
    }

    pub async fn begin(&mut self, upload: Upload) {
        self.put(Step::Begin(upload)).await;
    }

    pub async fn append(&mut self, chunk: UploadChunk, bytes: Bytes) {
        self.put(Step::Append(chunk, bytes)).await;
    }

    async fn put(&mut self, step: Step) {
        let steps = self.steps.get_or_insert_with(|| {
            let (sender, steps) = mpsc::channel(N_WAITING);
            tokio::spawn(run(self.context.clone(), self.outbox.clone(), steps));
            sender
        });
        // The task ends after its connection.
        let _ = steps.send(step).await;
    }
}

async fn run(context: Arc<Context>, outbox: Outbox, mut steps: mpsc::Receiver<Step>) {
    let mut uploads = HashMap::new();
    while let Some(step) = steps.recv().await {
        let id = match &step {
            Step::Begin(upload) => upload.id.clone(),
            Step::Append(chunk, _) => chunk.id.clone(),
        };
        match advance(&context, &mut uploads, step).await {
            Ok(message) => outbox.say(&message).await,
            Err(error) => {
                // It is announced again, and then told where it stopped.
                uploads.remove(&id);
                outbox.write(failure(&id, &error)).await;
            }
        }
    }
}

async fn advance(
    context: &Context,
    uploads: &mut HashMap<String, Upload>,
    step: Step,
) -> Result<FromWorker> {
    let service = &context.service;
    let (upload, offset) = match step {
        Step::Begin(upload) => {
            if !context.allow_upload {
                let why = "this worker takes none: it was started without --allow-upload";
                return Err(Error::new(ErrorKind::Unauthorized, "upload", why));
            }
            if uploads.len() >= MAX_UPLOADS && !uploads.contains_key(&upload.id) {
                let why = format!("{MAX_UPLOADS} are not at their end on this connection");
                return Err(Error::new(ErrorKind::QueueFull, "upload", why));
            }
            let offset = service.begin_upload(&upload).await?;
            (upload, offset)
        }
        Step::Append(chunk, bytes) => {
            let Some(upload) = uploads.get(&chunk.id) else {
                let why = "no upload of this id was announced";
                return Err(Error::new(ErrorKind::InvalidInput, "upload_chunk", why));
            };
            let offset = service.append_upload(upload, chunk.offset, &bytes).await?;
            (upload.clone(), offset)
        }
    };
    let id = upload.id.clone();
    if offset < upload.size_bytes {
        uploads.insert(id.clone(), upload);
        return Ok(FromWorker::UploadState { id, offset });
    }
    let model = service.finish_upload(&upload).await?;
    uploads.remove(&id);
    Ok(FromWorker::Uploaded { id, model })
}
