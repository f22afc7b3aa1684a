//! What is known of one model: its versions, and the state of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use sentinel_inference::error::Error;
use sentinel_inference::wire::ModelOf;

use super::model::Model;
use super::repository::ModelFile;

/// Versions of one model that are loaded at once; the one that was asked for least lately goes first.
const MAX_LOADED: usize = 4;

/// One model.
#[derive(Default)]
pub struct Entry {
    pub versions: BTreeMap<u64, Version>,
    /// The one that is meant where none is named.
    latest: Option<u64>,
    /// Versions may be loaded when they are asked for: the model was not unloaded.
    pub is_served: bool,
    /// Counts requests, to know which version was asked for lately.
    n_found: u64,
    /// Held by whoever loads or unloads.
    pub changing: Arc<tokio::sync::Mutex<()>>,
}

pub struct Version {
    pub file: ModelFile,
    pub state: State,
    last_found: u64,
}

pub enum State {
    Idle,
    Loading,
    Ready(Arc<Model>),
    Unloading(Arc<Model>),
    Unavailable(Error),
}

impl Entry {
    /// The one that is ready, or would be.
    pub fn latest(&self) -> Option<u64> {
        let is_there = |version: &u64| self.versions.contains_key(version);
        let ready = self.latest.filter(is_there);
        ready.or_else(|| self.versions.keys().next_back().copied())
    }

    /// It is asked for at this moment.
    pub fn touch(&mut self, version: u64) -> Option<&Version> {
        let known = self.versions.get_mut(&version)?;
        self.n_found += 1;
        known.last_found = self.n_found;
        Some(known)
    }

    /// Takes up what is in the repository now: the model of this version, if it is loaded from these files.
    pub fn begin_load(
        &mut self,
        version: u64,
        files: BTreeMap<u64, ModelFile>,
    ) -> Option<Arc<Model>> {
        self.is_served = true;
        self.versions.retain(|number, _| files.contains_key(number));
        for (number, file) in files {
            match self.versions.get_mut(&number) {
                Some(known) => known.file = file,
                None => drop(self.versions.insert(number, Version::new(file))),
            }
        }
        let known = self.versions.get_mut(&version)?;
        match &known.state {
            State::Ready(model) if model.file == known.file => return Some(model.clone()),
            // The former one takes requests until this one is ready.
            State::Ready(_) => {}
            _ => known.state = State::Loading,
        }
        None
    }

    /// From here on requests go to this model: those that it replaces.
    pub fn finish_load(&mut self, model: &Arc<Model>, is_latest: bool) -> Vec<Arc<Model>> {
        let version = model.version;
        let mut former = vec![self.replace(version, State::Ready(model.clone()))];
        self.touch(version);
        if is_latest
            && let Some(older) = self.latest.replace(version)
            && older != version
        {
            former.push(self.replace(older, State::Idle));
        }
        while let Some(surplus) = self.surplus(version) {
            former.push(self.replace(surplus, State::Idle));
        }
        // A model that was loaded already replaces itself.
        let others = former.into_iter().flatten();
        others.filter(|other| !Arc::ptr_eq(other, model)).collect()
    }

    pub fn fail_load(&mut self, version: u64, error: Error) {
        if let Some(known) = self.versions.get_mut(&version)
            && !matches!(known.state, State::Ready(_))
        {
            known.state = State::Unavailable(error);
        }
    }

    /// No version takes requests any more: those that have some.
    pub fn begin_unload(&mut self) -> Vec<Arc<Model>> {
        self.is_served = false;
        let mut loaded = Vec::new();
        for known in self.versions.values_mut() {
            if let State::Ready(model) = &known.state {
                loaded.push(model.clone());
                known.state = State::Unloading(model.clone());
            }
        }
        loaded
    }

    pub fn finish_unload(&mut self) {
        self.latest = None;
        for known in self.versions.values_mut() {
            known.state = State::Idle;
        }
    }

    /// The model that was there.
    fn replace(&mut self, version: u64, state: State) -> Option<Arc<Model>> {
        let known = self.versions.get_mut(&version)?;
        match std::mem::replace(&mut known.state, state) {
            State::Ready(model) | State::Unloading(model) => Some(model),
            State::Idle | State::Loading | State::Unavailable(_) => None,
        }
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

    pub fn told(&self, name: &str, version: u64) -> ModelOf {
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
    pub fn loaded(&self) -> Option<&Arc<Model>> {
        match self {
            State::Ready(model) | State::Unloading(model) => Some(model),
            State::Idle | State::Loading | State::Unavailable(_) => None,
        }
    }
}
