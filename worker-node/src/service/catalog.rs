//! Which versions of which models there are, and what state each is in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::ModelOf;
use tokio::sync::watch;

use super::ServiceOptions;
use super::model::Model;
use super::repository::{ModelFile, Repository, version_of};
use super::told::told;

/// Versions of one model that are loaded at once; the one that was asked for least lately goes first.
const MAX_LOADED: usize = 4;

pub struct Catalog {
    pub options: ServiceOptions,
    pub repository: Repository,
    models: Mutex<BTreeMap<String, Entry>>,
    changes: watch::Sender<u64>,
    is_draining: AtomicBool,
}

/// One model.
#[derive(Default)]
struct Entry {
    versions: BTreeMap<u64, Version>,
    /// The one that is meant where none is named.
    latest: Option<u64>,
    /// Versions may be loaded when they are asked for: the model was not unloaded.
    is_served: bool,
    /// Counts requests, to know which version was asked for lately.
    n_found: u64,
    /// Held by whoever loads or unloads.
    changing: Arc<tokio::sync::Mutex<()>>,
}

struct Version {
    file: ModelFile,
    state: State,
    last_found: u64,
}

enum State {
    Idle,
    Loading,
    Ready(Arc<Model>),
    Unloading(Arc<Model>),
    Unavailable(Error),
}

/// Which version to load.
#[derive(Clone, Copy)]
pub enum Wish {
    Latest,
    Version(u64),
    /// For a request, and not where the model was unloaded before it came to that.
    OnDemand(u64),
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
        let known = entry.versions.get_mut(&number);
        let known = known.ok_or_else(|| no_version(name, version))?;
        entry.n_found += 1;
        known.last_found = entry.n_found;
        let why = match &known.state {
            State::Ready(model) => return Ok(Found::Ready(model.clone())),
            State::Idle if entry.is_served => return Ok(Found::Idle(number)),
            State::Idle => "it is not loaded".to_owned(),
            State::Loading => "it is being loaded".to_owned(),
            State::Unloading(_) => "it is being unloaded".to_owned(),
            State::Unavailable(error) => format!("it cannot be loaded: {error}"),
        };
        let at = format!("model {name} version {number}");
        Err(Error::new(ErrorKind::WorkerUnavailable, at, why))
    }

    /// Loads a version, or the latest there is in the repository; one that is loaded is loaded again if its files have
    /// changed. It goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// `NOT_FOUND`, `WORKER_UNAVAILABLE` while the worker ends, and what the reader and the session find.
    pub async fn load(self: &Arc<Catalog>, name: &str, wish: Wish) -> Result<Arc<Model>> {
        let (catalog, name) = (self.clone(), name.to_owned());
        spawned(async move { catalog.load_now(&name, wish).await }).await
    }

    /// Takes no more requests for any of its versions, and gives them back when those in flight have their answers.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn unload(self: &Arc<Catalog>, name: &str) -> Result<()> {
        let (catalog, name) = (self.clone(), name.to_owned());
        spawned(async move { catalog.unload_now(&name).await }).await
    }

    /// Takes no more requests; done when those in flight have their answers.
    pub async fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        let loaded = self.loaded();
        for model in &loaded {
            model.queue().close();
        }
        for model in &loaded {
            model.queue().ended().await;
        }
    }

    async fn load_now(self: &Arc<Catalog>, name: &str, wish: Wish) -> Result<Arc<Model>> {
        let changing = self.changing(name).await?;
        let _changing = changing.lock().await;
        self.check_draining()?;
        let files = self.files(name).await?;
        let latest = files.keys().next_back().copied();
        let latest = latest.ok_or_else(|| no_model(name))?;
        let version = match wish {
            Wish::Latest => latest,
            Wish::Version(version) => version,
            Wish::OnDemand(version) => {
                self.check_served(name)?;
                version
            }
        };
        let file = files.get(&version).cloned();
        let file = file.ok_or_else(|| no_version(name, Some(&version.to_string())))?;
        if let Some(model) = self.begin_load(name, version, files) {
            self.finish_load(name, version, version == latest, model.clone());
            return Ok(model);
        }
        let opened = self.open_model(name, version, file).await;
        let model = match opened.and_then(|model| self.check_draining().map(|()| model)) {
            Ok(model) => Arc::new(model),
            Err(error) => {
                let error = told(&error);
                tracing::warn!(model = name, version, %error, "the model cannot be loaded");
                self.fail_load(name, version, &error);
                return Err(error);
            }
        };
        let (provider, reason) = (model.provider, &model.reason);
        tracing::info!(model = name, version, provider, reason, "loaded");
        self.finish_load(name, version, version == latest, model.clone());
        self.watch(&model);
        Ok(model)
    }

    async fn open_model(&self, name: &str, version: u64, file: ModelFile) -> Result<Model> {
        let model = Model::open(name, version, file, &self.options).await?;
        if self.repository.stamp(name, version)? != model.file.stamp {
            let why = "its files were written while it was loaded; load it again";
            let at = format!("model {name} version {version}");
            return Err(Error::new(ErrorKind::WorkerUnavailable, at, why));
        }
        Ok(model)
    }

    async fn unload_now(&self, name: &str) -> Result<()> {
        let changing = self.table().get(name).map(|entry| entry.changing.clone());
        let changing = changing.ok_or_else(|| no_model(name))?;
        let _changing = changing.lock().await;
        let mut unloading = Vec::new();
        self.change(name, |entry| {
            entry.is_served = false;
            for version in entry.versions.values_mut() {
                if let State::Ready(model) = &version.state {
                    unloading.push(model.clone());
                    version.state = State::Unloading(model.clone());
                }
            }
        });
        for model in &unloading {
            model.queue().close();
        }
        for model in &unloading {
            model.queue().ended().await;
        }
        self.change(name, |entry| {
            entry.latest = None;
            for version in entry.versions.values_mut() {
                version.state = State::Idle;
            }
        });
        tracing::info!(model = name, "unloaded");
        Ok(())
    }

    /// What to hold while a model is changed.
    async fn changing(self: &Arc<Catalog>, name: &str) -> Result<Arc<tokio::sync::Mutex<()>>> {
        let (catalog, owned) = (self.clone(), name.to_owned());
        let versions = blocking(move || catalog.repository.versions(&owned)).await?;
        let mut models = self.table();
        if versions.is_empty() && !models.contains_key(name) {
            return Err(no_model(name));
        }
        let entry = models.entry(name.to_owned()).or_default();
        Ok(entry.changing.clone())
    }

    /// The versions in the repository, without reading again what is known.
    async fn files(self: &Arc<Catalog>, name: &str) -> Result<BTreeMap<u64, ModelFile>> {
        let known = self.table().get(name).map(|entry| {
            let versions = entry.versions.iter();
            let files = versions.map(|(&version, known)| (version, known.file.clone()));
            files.collect::<BTreeMap<_, _>>()
        });
        let (catalog, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let known = known.unwrap_or_default();
            catalog.repository.files(&name, &known)
        })
        .await
    }

    /// The model, if it is loaded from these files. Versions whose files are gone go too.
    fn begin_load(
        &self,
        name: &str,
        version: u64,
        files: BTreeMap<u64, ModelFile>,
    ) -> Option<Arc<Model>> {
        self.change(name, |entry| {
            entry.is_served = true;
            entry
                .versions
                .retain(|number, _| files.contains_key(number));
            for (number, file) in files {
                let new = || Version::new(file.clone());
                entry.versions.entry(number).or_insert_with(new).file = file.clone();
            }
            let known = entry.versions.get_mut(&version)?;
            match &known.state {
                State::Ready(model) if model.file == known.file => return Some(model.clone()),
                // The former one takes requests until this one is ready.
                State::Ready(_) => {}
                _ => known.state = State::Loading,
            }
            None
        })
    }

    /// From here on requests go to this one; the models that it replaces end with the requests they have.
    fn finish_load(&self, name: &str, version: u64, is_latest: bool, model: Arc<Model>) {
        let mut former = Vec::new();
        self.change(name, |entry| {
            let known = entry.versions.get_mut(&version)?;
            former.push(std::mem::replace(&mut known.state, State::Ready(model)));
            known.last_found = entry.n_found;
            if is_latest
                && let Some(older) = entry.latest.replace(version)
                && older != version
                && let Some(older) = entry.versions.get_mut(&older)
            {
                former.push(std::mem::replace(&mut older.state, State::Idle));
            }
            while let Some(version) = entry.surplus(version) {
                let version = entry.versions.get_mut(&version)?;
                former.push(std::mem::replace(&mut version.state, State::Idle));
            }
            Some(())
        });
        for state in former {
            // A model that was already loaded replaces itself.
            if let Some(model) = state.loaded()
                && !self.is_current(model)
            {
                model.queue().close();
            }
        }
    }

    fn fail_load(&self, name: &str, version: u64, error: &Error) {
        self.change(name, |entry| {
            let known = entry.versions.get_mut(&version)?;
            if !matches!(known.state, State::Ready(_)) {
                known.state = State::Unavailable(error.clone());
            }
            Some(())
        });
    }

    fn is_current(&self, model: &Arc<Model>) -> bool {
        let models = self.table();
        let entry = models.get(&model.name);
        let version = entry.and_then(|entry| entry.versions.get(&model.version));
        let current = version.and_then(|version| version.state.loaded());
        current.is_some_and(|current| Arc::ptr_eq(current, model))
    }

    /// A model whose engine is lost and cannot be made again is not ready any more.
    fn watch(self: &Arc<Catalog>, model: &Arc<Model>) {
        let catalog = Arc::downgrade(self);
        let (queue, model) = (model.queue().clone(), Arc::downgrade(model));
        tokio::spawn(async move {
            queue.ended().await;
            let (Some(catalog), Some(model)) = (Weak::upgrade(&catalog), Weak::upgrade(&model))
            else {
                return;
            };
            if let Some(error) = queue.broken()
                && catalog.is_current(&model)
            {
                catalog.break_model(&model, &error);
            }
        });
    }

    fn break_model(&self, model: &Model, error: &Error) {
        tracing::error!(model = model.name, version = model.version, %error, "the model is lost");
        self.change(&model.name, |entry| {
            let known = entry.versions.get_mut(&model.version)?;
            known.state = State::Unavailable(error.clone());
            Some(())
        });
    }

    fn check_draining(&self) -> Result<()> {
        if self.is_draining.load(Ordering::SeqCst) {
            let why = "it takes no more requests: it ends";
            return Err(Error::new(ErrorKind::WorkerUnavailable, "worker", why));
        }
        Ok(())
    }

    fn check_served(&self, name: &str) -> Result<()> {
        if self.table().get(name).is_some_and(|entry| entry.is_served) {
            return Ok(());
        }
        let at = format!("model {name}");
        Err(Error::new(
            ErrorKind::WorkerUnavailable,
            at,
            "it was unloaded",
        ))
    }

    /// Changes what is known of a model, and tells those who listen.
    fn change<T: Default>(&self, name: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let changed = self.table().get_mut(name).map(change);
        self.changes.send_modify(|n_changes| *n_changes += 1);
        changed.unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The one that is ready, or would be.
    fn latest(&self) -> Option<u64> {
        let is_there = |version: &u64| self.versions.contains_key(version);
        let ready = self.latest.filter(is_there);
        ready.or_else(|| self.versions.keys().next_back().copied())
    }

    /// A version to give back, where too many are loaded.
    fn surplus(&self, loaded_now: u64) -> Option<u64> {
        let is_ready = |version: &Version| matches!(version.state, State::Ready(_));
        let ready = self.versions.iter().filter(|(_, known)| is_ready(known));
        if ready.clone().count() <= MAX_LOADED {
            return None;
        }
        let is_needed = |number: u64| number == loaded_now || Some(number) == self.latest;
        let others = ready.filter(|&(&number, _)| !is_needed(number));
        let oldest = others.min_by_key(|(_, known)| known.last_found);
        oldest.map(|(&number, _)| number)
    }
}

impl Version {
    fn new(file: ModelFile) -> Version {
        Version {
            file,
            state: State::Idle,
            last_found: 0,
        }
    }

    fn told(&self, name: &str, version: u64) -> ModelOf {
        let (state, reason) = match &self.state {
            State::Ready(model) => return model.told("READY"),
            State::Unloading(model) => return model.told("UNLOADING"),
            State::Loading => ("LOADING", String::new()),
            State::Idle => ("UNAVAILABLE", "it is not loaded".to_owned()),
            State::Unavailable(error) => ("UNAVAILABLE", error.to_string()),
        };
        ModelOf {
            name: name.to_owned(),
            version: version.to_string(),
            sha256: self.file.sha256.clone(),
            state: state.to_owned(),
            reason,
            provider: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

impl State {
    fn loaded(&self) -> Option<&Arc<Model>> {
        match self {
            State::Ready(model) | State::Unloading(model) => Some(model),
            State::Idle | State::Loading | State::Unavailable(_) => None,
        }
    }
}

/// Work that goes on when nobody waits for it any more.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Error::internal("worker", error.to_string())))
}

/// Work with files.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::internal("worker", error.to_string())))
}

fn no_model(name: &str) -> Error {
    let name: String = name.chars().take(128).collect();
    Error::new(
        ErrorKind::NotFound,
        format!("model {name:?}"),
        "there is no such model",
    )
}

fn no_version(name: &str, version: Option<&str>) -> Error {
    let version: String = version.unwrap_or("latest").chars().take(32).collect();
    let at = format!("model {name} version {version:?}");
    Error::new(ErrorKind::NotFound, at, "there is no such version")
}
