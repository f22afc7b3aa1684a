//! Models that come and go, one change of a model at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use sentinel_inference::error::{Error, ErrorKind, Result};

use super::catalog::{Catalog, blocking, no_model, no_version};
use super::entry::State;
use super::model::Model;
use super::repository::ModelFile;
use super::told::told;

/// Which version to load.
#[derive(Clone, Copy)]
pub enum Wish {
    Latest,
    Version(u64),
    /// For a request, and not where the model was unloaded before it came to that.
    OnDemand(u64),
}

impl Catalog {
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
        let loaded = self.change(name, |entry| entry.begin_load(version, files));
        let model = match loaded {
            Some(model) => model,
            None => self.open_model(name, version, file).await?,
        };
        let is_latest = version == latest;
        let former = self.change(name, |entry| entry.finish_load(&model, is_latest));
        for model in former {
            model.queue().close();
        }
        Ok(model)
    }

    async fn open_model(
        self: &Arc<Catalog>,
        name: &str,
        version: u64,
        file: ModelFile,
    ) -> Result<Arc<Model>> {
        let opened = async {
            let model = Model::open(name, version, file, &self.options).await?;
            self.check_unchanged(&model).await?;
            self.check_draining()?;
            Ok(Arc::new(model))
        };
        let opened: Result<Arc<Model>> = opened.await;
        let model = opened.map_err(|error| {
            let error = told(&error);
            tracing::warn!(model = name, version, %error, "the model cannot be loaded");
            self.change(name, |entry| entry.fail_load(version, error.clone()));
            error
        })?;
        let (provider, reason) = (model.provider, &model.reason);
        tracing::info!(model = name, version, provider, reason, "loaded");
        self.watch(&model);
        Ok(model)
    }

    async fn unload_now(&self, name: &str) -> Result<()> {
        let changing = self.table().get(name).map(|entry| entry.changing.clone());
        let changing = changing.ok_or_else(|| no_model(name))?;
        let _changing = changing.lock().await;
        let loaded = self.change(name, |entry| entry.begin_unload());
        for model in &loaded {
            model.queue().close();
        }
        for model in &loaded {
            model.queue().ended().await;
        }
        self.change(name, |entry| entry.finish_unload());
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

    async fn check_unchanged(self: &Arc<Catalog>, model: &Model) -> Result<()> {
        let (catalog, name, version) = (self.clone(), model.name.clone(), model.version);
        let stamp = blocking(move || catalog.repository.stamp(&name, version)).await?;
        if stamp == model.file.stamp {
            return Ok(());
        }
        let at = format!("model {} version {version}", model.name);
        let why = "its files were written while it was loaded; load it again";
        Err(Error::new(ErrorKind::WorkerUnavailable, at, why))
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

    /// A model whose engine is lost and cannot be made again is not ready any more.
    fn watch(self: &Arc<Catalog>, model: &Arc<Model>) {
        let catalog = Arc::downgrade(self);
        let (queue, model) = (model.queue().clone(), Arc::downgrade(model));
        tokio::spawn(async move {
            queue.ended().await;
            let (catalog, model) = (Weak::upgrade(&catalog), Weak::upgrade(&model));
            if let (Some(catalog), Some(model)) = (catalog, model)
                && let Some(error) = queue.broken()
            {
                catalog.lose(&model, error);
            }
        });
    }

    fn lose(&self, model: &Arc<Model>, error: Error) {
        tracing::error!(model = model.name, version = model.version, %error, "the model is lost");
        self.change(&model.name, |entry| {
            if let Some(known) = entry.versions.get_mut(&model.version)
                && let Some(current) = known.state.loaded()
                && Arc::ptr_eq(current, model)
            {
                known.state = State::Unavailable(error);
            }
        });
    }
}

/// Work that goes on when nobody waits for it any more.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Error::internal("worker", error.to_string())))
}
