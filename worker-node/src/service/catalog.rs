//! Which versions of which models there are, and what state each is in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::ModelOf;
use tokio::sync::watch;

use super::ServiceOptions;
use super::entry::{Entry, State};
use super::model::Model;
use super::repository::{Repository, version_of};

pub struct Catalog {
    pub options: ServiceOptions,
    pub repository: Repository,
    models: Mutex<BTreeMap<String, Entry>>,
    changes: watch::Sender<u64>,
    is_draining: AtomicBool,
}

/// A version that was asked for.
pub enum Found {
    Ready(Arc<Model>),
    /// It is to be loaded first.
    Idle(u64),
}

impl Catalog {
    pub fn new(repository: Repository, options: ServiceOptions) -> Arc<Catalog> {
        Arc::new(Catalog {
            options,
            repository,
            models: Mutex::default(),
            changes: watch::Sender::new(0),
            is_draining: AtomicBool::new(false),
        })
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn models(&self) -> Vec<ModelOf> {
        let models = self.table();
        let told = models.iter().flat_map(|(name, entry)| {
            let versions = entry.versions.iter();
            versions.map(|(&version, known)| known.told(name, version))
        });
        told.collect()
    }

    /// Those that are loaded.
    pub fn loaded(&self) -> Vec<Arc<Model>> {
        let models = self.table();
        let versions = models.values().flat_map(|entry| entry.versions.values());
        versions
            .filter_map(|version| version.state.loaded().cloned())
            .collect()
    }

    /// The hash of a version's file, where it was read.
    pub fn sha256(&self, name: &str, version: u64) -> Option<String> {
        let models = self.table();
        let known = models.get(name)?.versions.get(&version)?;
        Some(known.file.sha256.clone())
    }

    /// # Errors
    /// `NOT_FOUND`; `WORKER_UNAVAILABLE` where it is neither ready nor to be loaded when it is asked for.
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Found> {
        self.check_draining()?;
        let mut models = self.table();
        let entry = models.get_mut(name).ok_or_else(|| no_model(name))?;
        let number = match version {
            None => entry.latest(),
            Some(text) => version_of(text),
        };
        let number = number.ok_or_else(|| no_version(name, version))?;
        let is_served = entry.is_served;
        let known = entry.touch(number);
        let known = known.ok_or_else(|| no_version(name, version))?;
        let why = match &known.state {
            State::Ready(model) => return Ok(Found::Ready(model.clone())),
            State::Idle if is_served => return Ok(Found::Idle(number)),
            State::Idle => "it is not loaded".to_owned(),
            State::Loading => "it is being loaded".to_owned(),
            State::Unloading(_) => "it is being unloaded".to_owned(),
            State::Unavailable(error) => format!("it cannot be loaded: {error}"),
        };
        let at = format!("model {name} version {number}");
        Err(Error::new(ErrorKind::WorkerUnavailable, at, why))
    }

    /// Takes no more requests; those that wait do not wait for others.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        for model in self.loaded() {
            model.queue().close();
        }
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub fn check_draining(&self) -> Result<()> {
        if self.is_draining.load(Ordering::SeqCst) {
            let why = "it takes no more requests: it ends";
            return Err(Error::new(ErrorKind::WorkerUnavailable, "worker", why));
        }
        Ok(())
    }

    /// Changes what is known of a model, and tells those who listen.
    pub fn change<T: Default>(&self, name: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let changed = self.table().get_mut(name).map(change);
        self.changes.send_modify(|n_changes| *n_changes += 1);
        changed.unwrap_or_default()
    }

    pub fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work with files.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::internal("worker", error.to_string())))
}

pub fn no_model(name: &str) -> Error {
    let name: String = name.chars().take(128).collect();
    Error::new(
        ErrorKind::NotFound,
        format!("model {name:?}"),
        "there is no such model",
    )
}

pub fn no_version(name: &str, version: Option<&str>) -> Error {
    let version: String = version.unwrap_or("latest").chars().take(32).collect();
    let at = format!("model {name} version {version:?}");
    Error::new(ErrorKind::NotFound, at, "there is no such version")
}
