//! The folder of models: `name/1/model.onnx`, with external data beside it. What else lies there is ignored.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sentinel_inference::error::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

const FILE: &str = "model.onnx";
const MAX_NAME_BYTES: usize = 128;
/// Of models, of versions of a model, and of files of a version; more are not looked at.
const MAX_ENTRIES: usize = 4096;

pub struct Repository {
    root: PathBuf,
}

/// One version of a model, as it lies in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    pub path: PathBuf,
    pub stamp: Stamp,
    /// Of `path`, in hexadecimal.
    pub sha256: String,
}

/// What changes when a version's files are written: name, length and time of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<(String, u64, Option<SystemTime>)>);

impl Repository {
    /// # Errors
    /// `IO`.
    pub fn open(folder: &Path) -> Result<Repository> {
        let root = folder.canonicalize().map_err(|error| io(folder, error))?;
        if !root.is_dir() {
            return Err(io(folder, io::ErrorKind::NotADirectory.into()));
        }
        Ok(Repository { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that may be models.
    ///
    /// # Errors
    /// `IO`.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = entries(&self.root)?;
        names.retain(|name| is_name(name) && self.root.join(name).is_dir());
        names.sort();
        Ok(names)
    }

    /// The versions of a model that have a file; none for a name that is no model's.
    ///
    /// # Errors
    /// `IO`.
    pub fn versions(&self, name: &str) -> Result<Vec<u64>> {
        let folder = self.root.join(name);
        if !is_name(name) || !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entries = entries(&folder)?.into_iter();
        let numbers = entries.filter_map(|entry| version_of(&entry));
        let mut versions: Vec<u64> = numbers
            .filter(|&version| self.is_inside(&self.path(name, version)))
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The files of these versions; `known` ones that have not changed are not read.
    ///
    /// # Errors
    /// `IO`.
    pub fn files(
        &self,
        name: &str,
        known: &BTreeMap<u64, ModelFile>,
    ) -> Result<BTreeMap<u64, ModelFile>> {
        let versions = self.versions(name)?.into_iter();
        let files = versions.map(|version| {
            let stamp = self.stamp(name, version)?;
            if let Some(file) = known.get(&version).filter(|file| file.stamp == stamp) {
                return Ok((version, file.clone()));
            }
            let path = self.path(name, version);
            let sha256 = sha256(&path)?;
            Ok((
                version,
                ModelFile {
                    path,
                    stamp,
                    sha256,
                },
            ))
        });
        files.collect()
    }

    /// # Errors
    /// `IO`.
    pub fn stamp(&self, name: &str, version: u64) -> Result<Stamp> {
        let folder = self.folder(name, version);
        let mut files = Vec::new();
        for entry in entries(&folder)? {
            let path = folder.join(&entry);
            let facts = path.metadata().map_err(|error| io(&path, error))?;
            files.push((entry, facts.len(), facts.modified().ok()));
        }
        files.sort();
        Ok(Stamp(files))
    }

    /// Where a version lies, or would.
    pub fn folder(&self, name: &str, version: u64) -> PathBuf {
        self.root.join(name).join(version.to_string())
    }

    pub fn path(&self, name: &str, version: u64) -> PathBuf {
        self.folder(name, version).join(FILE)
    }

    /// Where a version is to lie, in a folder of its model that is there.
    ///
    /// # Errors
    /// `IO`; `INVALID_INPUT` where the model's folder is a link; `TOO_LARGE` where there are too many.
    pub fn new_folder(&self, name: &str, version: u64) -> Result<PathBuf> {
        let model = self.root.join(name);
        let n_entries = |folder: &Path| entries(folder).map(|entries| entries.len());
        let is_full = if model.exists() {
            n_entries(&model)? >= MAX_ENTRIES
        } else {
            n_entries(&self.root)? >= MAX_ENTRIES
        };
        let at = || format!("model {name}");
        if is_full {
            let why = format!("the repository has {MAX_ENTRIES} of them, and takes no more");
            return Err(Error::new(ErrorKind::TooLarge, at(), why));
        }
        if let Err(error) = fs::create_dir(&model)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(io(&model, error));
        }
        let facts = model
            .symlink_metadata()
            .map_err(|error| io(&model, error))?;
        if !facts.is_dir() {
            let why = "what has its name in the repository is no folder";
            return Err(Error::new(ErrorKind::InvalidInput, at(), why));
        }
        Ok(self.folder(name, version))
    }

    /// A plain file that no link has outside of the repository.
    fn is_inside(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else {
            return false;
        };
        let is_inside = real.starts_with(&self.root);
        if !is_inside {
            tracing::warn!(path = %path.display(), "a link out of the repository is ignored");
        }
        is_inside && real.is_file()
    }
}

/// Letters, digits, `_`, `.` and `-`, and no dot in front.
pub fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(is_fine)
}

/// A positive number, spelled as numbers are.
pub fn version_of(text: &str) -> Option<u64> {
    let version: u64 = text.parse().ok()?;
    (version > 0 && version.to_string() == text).then_some(version)
}

/// In hexadecimal, of a file of any length.
///
/// # Errors
/// `IO`.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|error| io(path, error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer).map_err(|error| io(path, error))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take what is written");
        text
    })
}

/// An error with its path, for the log.
pub fn io(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, path.display().to_string(), error.to_string())
}

/// The names in a folder that are text.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| io(folder, error))?;
    let names = entries.take(MAX_ENTRIES).filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().into_string().ok().map(Ok),
        Err(error) => Some(Err(io(folder, error))),
    });
    names.collect()
}
