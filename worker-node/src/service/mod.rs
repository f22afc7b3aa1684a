//! Models by name and version, and inference with them: what HTTP, WebSocket and NATS are doors to.

mod catalog;
mod entry;
mod lane;
mod loading;
mod model;
mod queue;
mod repository;
mod state;
#[cfg(test)]
mod tests;
mod told;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::schedule::{Latencies, Snapshot};
use sentinel_inference::tensor::Tensor;
use sentinel_inference::wire::{ModelOf, Upload};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::runner;
use catalog::{Catalog, Found, blocking};
use loading::Wish;
use model::{Model, Submitted, Unchecked};
use repository::Repository;
use upload::{Announced, Uploads};

pub use told::told;

/// Models that are loaded at the same time when the worker starts.
const N_LOADING: usize = 4;
/// How often a model may be replaced under a request that is about to reach it.
const MAX_TRIES: u32 = 8;

/// What the service is made with.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// `name/1/model.onnx`.
    pub model_repository: PathBuf,
    pub provider: ProviderChoice,
    /// Words that the name of a GPU adapter must have.
    pub adapter: Option<String>,
    pub batch_size: usize,
    pub max_delay: Duration,
    pub max_queue_size: usize,
    pub allow_upload: bool,
    pub max_upload_bytes: u64,
}

/// Where models run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderChoice {
    /// ONNX Runtime where the machine has it, then a hardware GPU, then the CPU.
    Auto,
    Webgpu,
    Wonnx,
    Cpu,
    Onnxruntime,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Infer {
    pub model: String,
    /// The latest one, unless said otherwise.
    pub version: Option<String>,
    /// Of the model's file: another one is not asked.
    pub sha256: Option<String>,
    pub inputs: Vec<(String, Tensor)>,
    /// All of them, where it is empty.
    pub outputs: Vec<String>,
    /// Not begun after this.
    pub deadline: Option<Instant>,
    /// The larger, the sooner.
    pub priority: i32,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub model: String,
    pub version: String,
    pub outputs: Vec<(String, Tensor)>,
    pub provider: &'static str,
    /// From arrival until the batch began.
    pub queued: Duration,
    /// How long the batch ran.
    pub computed: Duration,
    /// How many requests ran together.
    pub batch_size: usize,
}

/// What one model has done.
#[derive(Clone, Debug)]
pub struct ModelStatistics {
    pub name: String,
    pub version: String,
    pub provider: &'static str,
    pub snapshot: Snapshot,
    pub latencies: Latencies,
    /// Requests without an answer, waiting or running.
    pub in_flight: usize,
}

/// The models of a repository.
pub struct Service {
    catalog: Arc<Catalog>,
    /// Where they are allowed.
    uploads: Option<Arc<Uploads>>,
    /// Those in flight.
    requests: TaskTracker,
}

impl Service {
    /// Reads the repository and loads every model's latest version; a model that cannot be loaded is
    /// `UNAVAILABLE` with its reason.
    ///
    /// # Errors
    /// `IO` for a repository that cannot be read; `MODEL_UNSUPPORTED` for a provider that this machine does not have.
    pub async fn open(options: ServiceOptions) -> Result<Arc<Service>> {
        let (folder, provider) = (options.model_repository.clone(), options.provider);
        let adapter = options.adapter.clone();
        let opened = blocking(move || {
            runner::check(provider, adapter.as_deref())?;
            let repository = Repository::open(&folder)?;
            let names = repository.names()?;
            Ok((repository, names))
        });
        let (repository, names) = opened.await?;
        let catalog = Catalog::new(repository, options);
        let uploads = catalog.options.allow_upload;
        let uploads = uploads.then(|| Uploads::open(catalog.clone()));
        let uploads = uploads.transpose()?.map(Arc::new);
        let load = async |name: String| {
            // Why a model cannot be loaded is in the list of models.
            let _ = catalog.load(&name, Wish::Latest).await;
        };
        let names = futures_util::stream::iter(names);
        names.for_each_concurrent(N_LOADING, load).await;
        Ok(Arc::new(Service {
            catalog,
            uploads,
            requests: TaskTracker::new(),
        }))
    }

    /// Every model and version of the repository.
    pub fn models(&self) -> Vec<ModelOf> {
        self.catalog.models()
    }

    /// A version that is ready; the latest, unless one is named.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WORKER_UNAVAILABLE` while it is loading or unloading.
    pub fn model(&self, name: &str, version: Option<&str>) -> Result<ModelOf> {
        match self.catalog.find(name, version)? {
            Found::Ready(model) => Ok(model.told("READY")),
            Found::Idle(version) => {
                let at = format!("model {name} version {version}");
                let why = "it is loaded when an inference asks for it";
                Err(Error::new(ErrorKind::WorkerUnavailable, at, why))
            }
        }
    }

    /// Changes whenever [`Service::models`] does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.catalog.changes()
    }

    /// Runs one request, together with others where that is allowed. To drop the future is to cancel the request.
    ///
    /// # Errors
    /// `NOT_FOUND`; `WORKER_UNAVAILABLE` where the model is not ready; `QUEUE_FULL`, `TIMEOUT`, `INTERNAL` for a panic, and
    /// what the model makes of the inputs.
    pub async fn infer(&self, request: Infer) -> Result<Answer> {
        let _in_flight = self.requests.token();
        let (name, version) = (request.model, request.version);
        let mut asked = Unchecked {
            inputs: request.inputs,
            outputs: request.outputs,
            deadline: request.deadline,
            priority: request.priority,
        };
        for _ in 0..MAX_TRIES {
            let model = self
                .ready(&name, version.as_deref(), asked.deadline)
                .await?;
            if request
                .sha256
                .as_ref()
                .is_some_and(|sha256| *sha256 != model.file.sha256)
            {
                let why = "it is another file here than the one that is asked for";
                let at = format!("model {name}");
                return Err(Error::new(ErrorKind::WorkerUnavailable, at, why));
            }
            let pending = match model.submit(asked)? {
                Submitted::Pending(pending) => pending,
                Submitted::Closed(given) => {
                    asked = given;
                    continue;
                }
            };
            let done = pending.answer().await.map_err(|error| told(&error))?;
            return Ok(Answer {
                model: name,
                version: model.version.to_string(),
                outputs: done.outputs,
                provider: model.provider,
                queued: done.queued,
                computed: done.computed,
                batch_size: done.batch_size,
            });
        }
        let why = "it is replaced again and again";
        Err(Error::new(
            ErrorKind::WorkerUnavailable,
            format!("model {name}"),
            why,
        ))
    }

    /// Loads a model's latest version, or loads it again when its file has changed; requests to the former one finish there.
    ///
    /// # Errors
    /// `NOT_FOUND`, and what the reader and the session find.
    pub async fn load(&self, name: &str) -> Result<()> {
        let loaded = self.catalog.load(name, Wish::Latest).await;
        loaded.map(drop).map_err(|error| told(&error))
    }

    /// Takes no more requests for it, and gives it back when those in flight have their answers.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn unload(&self, name: &str) -> Result<()> {
        self.catalog.unload(name).await
    }

    /// Of every model that is loaded.
    pub fn statistics(&self) -> Vec<ModelStatistics> {
        let loaded = self.catalog.loaded().into_iter();
        loaded.map(|model| model.statistics()).collect()
    }

    /// Begins or goes on with an upload: how many bytes are there already. Where all are, it is to be finished.
    ///
    /// # Errors
    /// `UNAUTHORIZED` without `--allow-upload`; `TOO_LARGE`; `INVALID_INPUT` for a name, version or hash that is none.
    pub async fn begin_upload(&self, upload: &Upload) -> Result<u64> {
        let (uploads, upload) = self.uploading(upload)?;
        let begun = blocking(move || uploads.begin(&upload)).await;
        begun.map_err(|error| told(&error))
    }

    /// Appends to an upload, at the offset that the worker has told: how many bytes are there now.
    ///
    /// # Errors
    /// As [`Service::begin_upload`]; `INVALID_INPUT` at another offset.
    pub async fn append_upload(&self, upload: &Upload, offset: u64, bytes: &[u8]) -> Result<u64> {
        let (uploads, upload) = self.uploading(upload)?;
        let bytes = bytes.to_vec();
        let appended = blocking(move || uploads.append(&upload, offset, &bytes)).await;
        appended.map_err(|error| told(&error))
    }

    /// Verifies a whole upload, puts it into the repository at once and loads it.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is not the bytes of its hash, which are then thrown away; what loading finds.
    pub async fn finish_upload(&self, upload: &Upload) -> Result<ModelOf> {
        let (uploads, upload) = self.uploading(upload)?;
        let (name, version) = (upload.name.clone(), upload.version);
        let finished = blocking(move || uploads.finish(&upload)).await;
        finished.map_err(|error| told(&error))?;
        let loaded = self.catalog.load(&name, Wish::Version(version)).await;
        let model = loaded.map_err(|error| told(&error))?;
        Ok(model.told("READY"))
    }

    /// Takes no more requests; done when those in flight have their answers.
    pub async fn drain(&self) {
        self.catalog.drain();
        self.requests.close();
        self.requests.wait().await;
    }

    fn uploading(&self, upload: &Upload) -> Result<(Arc<Uploads>, Announced)> {
        let Some(uploads) = &self.uploads else {
            let why = "this worker takes no models; --allow-upload would let it";
            return Err(Error::new(ErrorKind::Unauthorized, "upload", why));
        };
        let announced = Announced::new(upload, self.catalog.options.max_upload_bytes)?;
        Ok((uploads.clone(), announced))
    }

    /// The model that a request is for; a version that is not loaded yet is.
    async fn ready(
        &self,
        name: &str,
        version: Option<&str>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Model>> {
        let version = match self.catalog.find(name, version)? {
            Found::Ready(model) => return Ok(model),
            Found::Idle(version) => version,
        };
        let load = self.catalog.load(name, Wish::OnDemand(version));
        let loaded = match deadline {
            None => load.await,
            Some(deadline) => {
                let in_time = tokio::time::timeout_at(deadline.into(), load).await;
                in_time.unwrap_or_else(|_| {
                    let at = format!("model {name} version {version}");
                    let why = "the request's time is over, and it is still being loaded";
                    Err(Error::new(ErrorKind::Timeout, at, why))
                })
            }
        };
        loaded.map_err(|error| told(&error))
    }
}
