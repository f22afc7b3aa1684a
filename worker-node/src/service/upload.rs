//! Models that clients send: in pieces, under their hash, and resumed where they stopped.
//!
//! A part grows in `.uploads/HASH-BYTES.part`. Whole and verified, it moves into a folder of its own there, which then becomes
//! `name/version` at once: whenever the worker is killed, the repository has the whole model or nothing of it. Files are
//! locked while they are written, as workers may share a repository.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::model::onnx::{MapExternal, read};
use sentinel_inference::wire::Upload;
use sha2::{Digest, Sha256};

use super::catalog::Catalog;
use super::repository::{hex, io, is_name, sha256, version_of};

const FOLDER: &str = ".uploads";
const PART: &str = "part";
const WHOLE: &str = "whole";
/// Uploads that are under way or were given up; the oldest one makes room for another.
const MAX_PARTS: usize = 16;

pub struct Uploads {
    catalog: Arc<Catalog>,
    folder: PathBuf,
}

/// An upload whose words make sense.
#[derive(Clone, Debug)]
pub struct Announced {
    pub name: String,
    pub version: u64,
    sha256: String,
    size_bytes: u64,
}

impl Announced {
    /// # Errors
    /// `INVALID_INPUT` for a name, version, hash or size that is none; `TOO_LARGE`.
    pub fn new(upload: &Upload, max_bytes: u64) -> Result<Announced> {
        let invalid =
            |at: &str, why: &'static str| Err(Error::new(ErrorKind::InvalidInput, at, why));
        if !is_name(&upload.model_name) {
            let why = "expected up to 128 letters, digits, _, - and dots, with no dot in front";
            return invalid("model_name", why);
        }
        let Some(version) = version_of(&upload.model_version) else {
            return invalid("model_version", "expected a positive number");
        };
        let sha256 = upload.sha256.to_ascii_lowercase();
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return invalid("sha256", "expected 64 hexadecimal digits");
        }
        if upload.size_bytes == 0 {
            return invalid("size_bytes", "a model has at least one byte");
        }
        if upload.size_bytes > max_bytes {
            return Err(too_large(upload.size_bytes, max_bytes));
        }
        Ok(Announced {
            name: upload.model_name.clone(),
            version,
            sha256,
            size_bytes: upload.size_bytes,
        })
    }
}

impl Uploads {
    /// # Errors
    /// `IO`.
    pub fn open(catalog: Arc<Catalog>) -> Result<Uploads> {
        let folder = catalog.repository.root().join(FOLDER);
        if let Err(error) = fs::create_dir(&folder)
            && error.kind() != IoKind::AlreadyExists
        {
            return Err(io(&folder, error));
        }
        let facts = folder
            .symlink_metadata()
            .map_err(|error| io(&folder, error))?;
        if !facts.is_dir() {
            return Err(io(&folder, IoKind::NotADirectory.into()));
        }
        Ok(Uploads { catalog, folder })
    }

    /// How many bytes there are already; all of them where the repository has the model.
    ///
    /// # Errors
    /// `INVALID_INPUT` where the version is another model; `IO`.
    pub fn begin(&self, upload: &Announced) -> Result<u64> {
        if self.is_there(upload)? {
            return Ok(upload.size_bytes);
        }
        let path = self.path(upload, PART);
        if !path.exists() {
            self.make_room()?;
        }
        let mut options = OpenOptions::new();
        let part = options.create(true).append(true).open(&path);
        let part = part.map_err(|error| io(&path, error))?;
        let size_bytes = locked(&path, &part)?;
        if size_bytes <= upload.size_bytes {
            return Ok(size_bytes);
        }
        part.set_len(0).map_err(|error| io(&path, error))?;
        Ok(0)
    }

    /// How many bytes there are now.
    ///
    /// # Errors
    /// `INVALID_INPUT` at another offset than the end; `TOO_LARGE` beyond the size that was announced; `IO`.
    pub fn append(&self, upload: &Announced, offset: u64, bytes: &[u8]) -> Result<u64> {
        let path = self.path(upload, PART);
        let mut part = match OpenOptions::new().append(true).open(&path) {
            Ok(part) => part,
            Err(error) if error.kind() == IoKind::NotFound => return Err(not_begun()),
            Err(error) => return Err(io(&path, error)),
        };
        let size_bytes = locked(&path, &part)?;
        if offset != size_bytes {
            let why = format!("the next bytes belong at {size_bytes}, not at {offset}");
            return Err(Error::new(ErrorKind::InvalidInput, "offset", why));
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > upload.size_bytes {
            return Err(too_large(end, upload.size_bytes));
        }
        part.write_all(bytes).map_err(|error| io(&path, error))?;
        Ok(end)
    }

    /// Verifies the whole and moves it into the repository.
    ///
    /// # Errors
    /// `INVALID_INPUT` when bytes are missing, or are not those of the hash; what the model's reader finds; `IO`.
    pub fn finish(&self, upload: &Announced) -> Result<()> {
        if self.is_there(upload)? {
            return Ok(());
        }
        let path = self.path(upload, PART);
        let mut part = match File::open(&path) {
            Ok(part) => part,
            Err(error) if error.kind() == IoKind::NotFound => return Err(not_begun()),
            Err(error) => return Err(io(&path, error)),
        };
        let size_bytes = locked(&path, &part)?;
        // Another worker may have finished it meanwhile.
        if self.is_there(upload)? {
            return Ok(());
        }
        if size_bytes != upload.size_bytes {
            let why = format!(
                "{} bytes were announced, {size_bytes} came",
                upload.size_bytes
            );
            return Err(Error::new(ErrorKind::InvalidInput, "upload", why));
        }
        if let Err(error) = verify(&path, &mut part, upload) {
            if error.kind != ErrorKind::Io {
                remove(&path);
            }
            return Err(error);
        }
        part.sync_all().map_err(|error| io(&path, error))?;
        self.install(upload, &path)
    }

    /// Makes the part the file of its version.
    fn install(&self, upload: &Announced, part: &Path) -> Result<()> {
        let repository = &self.catalog.repository;
        let whole = self.path(upload, WHOLE);
        // What an earlier process has left there did not get further.
        let _ = fs::remove_dir_all(&whole);
        fs::create_dir(&whole).map_err(|error| io(&whole, error))?;
        fs::rename(part, whole.join("model.onnx")).map_err(|error| io(part, error))?;
        sync(&whole)?;
        let version = repository.new_folder(&upload.name, upload.version)?;
        if let Err(error) = fs::rename(&whole, &version) {
            remove(&whole);
            return Err(match error.kind() {
                IoKind::AlreadyExists | IoKind::DirectoryNotEmpty => is_taken(upload),
                _ => io(&version, error),
            });
        }
        let model = version.parent().unwrap_or(repository.root());
        sync(model)?;
        sync(repository.root())
    }

    /// Whether the repository has the model already.
    fn is_there(&self, upload: &Announced) -> Result<bool> {
        let path = self.catalog.repository.path(&upload.name, upload.version);
        if !path.exists() {
            return Ok(false);
        }
        let known = self.catalog.sha256(&upload.name, upload.version);
        let known = known.map_or_else(|| sha256(&path), Ok)?;
        if known == upload.sha256 {
            Ok(true)
        } else {
            Err(is_taken(upload))
        }
    }

    /// Removes the oldest parts that nobody writes, until there is room for one more.
    fn make_room(&self) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(|error| io(&self.folder, error))?;
        let age = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
        let mut parts: Vec<(Option<SystemTime>, PathBuf)> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .map(|path| (age(&path), path))
            .collect();
        parts.sort();
        let n_surplus = (parts.len() + 1).saturating_sub(MAX_PARTS);
        for (_, path) in &parts[..n_surplus] {
            let is_written = File::open(path).is_ok_and(|part| part.try_lock().is_err());
            if !is_written {
                remove(path);
            }
        }
        Ok(())
    }

    fn path(&self, upload: &Announced, kind: &str) -> PathBuf {
        // The size is in the name, so that no upload of another size waits for this file and cuts it when it is a model.
        let (sha256, size_bytes) = (&upload.sha256, upload.size_bytes);
        self.folder.join(format!("{sha256}-{size_bytes}.{kind}"))
    }
}

/// Waits until nobody else writes the file; its length.
fn locked(path: &Path, part: &File) -> Result<u64> {
    part.lock().map_err(|error| io(path, error))?;
    let facts = part.metadata().map_err(|error| io(path, error))?;
    Ok(facts.len())
}

fn verify(path: &Path, part: &mut File, upload: &Announced) -> Result<()> {
    let invalid = |why: &'static str| Err(Error::new(ErrorKind::InvalidInput, "upload", why));
    let mut bytes = Vec::new();
    let size_bytes = usize::try_from(upload.size_bytes).unwrap_or(usize::MAX);
    if bytes.try_reserve_exact(size_bytes).is_err() {
        let why = format!("there is no room for {size_bytes} bytes");
        return Err(Error::new(ErrorKind::OutOfMemory, "upload", why));
    }
    let whole = part.seek(SeekFrom::Start(0)).and_then(|_| {
        let mut whole = part.take(upload.size_bytes);
        whole.read_to_end(&mut bytes)
    });
    whole.map_err(|error| io(path, error))?;
    if hex(&Sha256::digest(&bytes)) != upload.sha256 {
        return invalid("its bytes are not those of the hash");
    }
    match read(Bytes::from(bytes), &MapExternal::default()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ErrorKind::Io => {
            invalid("the model needs files beside it, and an upload is one file")
        }
        Err(error) => Err(error),
    }
}

/// Makes what was renamed in a folder outlast a loss of power.
fn sync(folder: &Path) -> Result<()> {
    // Elsewhere folders cannot be opened.
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| io(folder, error))
}

/// What cannot be removed is only in the way.
fn remove(path: &Path) {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "an upload cannot be removed");
    }
}

fn too_large(given: u64, limit: u64) -> Error {
    let why = format!("{given} bytes, where {limit} are the most");
    Error::new(ErrorKind::TooLarge, "upload", why)
}

fn not_begun() -> Error {
    let why = "the worker has nothing of it; it has to be announced first";
    Error::new(ErrorKind::InvalidInput, "upload", why)
}

fn is_taken(upload: &Announced) -> Error {
    let at = format!("model {} version {}", upload.name, upload.version);
    let why = "there is another file of this version; versions do not change";
    Error::new(ErrorKind::InvalidInput, at, why)
}
