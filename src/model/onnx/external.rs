//! Weights outside the model file. The model names them, so the names are hostile.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Where external data comes from. Locations have passed [`check_location`].
pub trait External {
    /// Exactly `length` bytes from `offset` of the file at `location`.
    ///
    /// # Errors
    /// `IO` when the file cannot be read, `MODEL_PARSE` when it is too short.
    fn read(&self, location: &str, offset: u64, length: u64) -> Result<Bytes>;
}

/// The location of external data, without `./`, if it can only be a file in the model's folder or
/// below.
///
/// # Errors
/// `MODEL_PARSE` for absolute paths, drives, `..`, backslashes, and what some system takes as one
/// of these.
pub fn check_location(location: &str) -> Result<String> {
    const MAX_BYTES: usize = 1024;
    let refuse = |why: &'static str| {
        let shown: String = location.chars().take(80).collect();
        Err(Error::parse(format!("external data {shown:?}"), why))
    };
    if location.len() > MAX_BYTES {
        return refuse("the location is too long");
    }
    if location.chars().any(char::is_control) {
        return refuse("the location has control characters");
    }
    if location.contains('\\') {
        return refuse("the location has a backslash");
    }
    // Drives, streams of NTFS, and URLs.
    if location.contains(':') {
        return refuse("the location has a colon");
    }
    if location.starts_with('/') {
        return refuse("the location is absolute");
    }
    let parts: Vec<&str> = location.split('/').filter(|part| *part != ".").collect();
    if parts.is_empty() || parts.iter().any(|part| part.is_empty()) {
        return refuse("the location is not a file");
    }
    // Windows drops dots and spaces at the end of a name: `.. ` is `..` there.
    if parts
        .iter()
        .any(|part| part.trim_end_matches(['.', ' ']).is_empty())
    {
        return refuse("the location leaves the model's folder");
    }
    Ok(parts.join("/"))
}

/// The bytes of a file from an offset.
fn part(file: &Bytes, location: &str, offset: u64, length: u64) -> Result<Bytes> {
    let end = offset
        .checked_add(length)
        .filter(|&end| end <= file.len() as u64);
    if end.is_none() {
        let why = format!(
            "{length} bytes from {offset} are needed and the file has {}",
            file.len()
        );
        return Err(Error::parse(format!("external data {location:?}"), why));
    }
    let fits = "the end is in the file, and the file is in memory";
    let start = usize::try_from(offset).expect(fits);
    Ok(file.slice(start..start + usize::try_from(length).expect(fits)))
}

/// External data that the caller holds by location.
#[derive(Clone, Debug, Default)]
pub struct MapExternal(pub HashMap<String, Bytes>);

impl External for MapExternal {
    fn read(&self, location: &str, offset: u64, length: u64) -> Result<Bytes> {
        match self.0.get(location) {
            Some(file) => part(file, location, offset, length),
            None => Err(Error::new(
                ErrorKind::Io,
                format!("external data {location:?}"),
                "the model needs this file and it was not given",
            )),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderExternal;

#[cfg(not(target_arch = "wasm32"))]
mod folder {
    use std::collections::HashMap;
    use std::fs::File;
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::{External, part};
    use crate::error::{Error, ErrorKind, Result};

    /// Files in a model's own folder and below. Links may point from inside to inside.
    #[derive(Debug)]
    pub struct FolderExternal {
        folder: PathBuf,
        /// More bytes than this are refused, all files together.
        limit_bytes: u64,
        /// Each file is read once: many tensors share it.
        files: Mutex<HashMap<String, Bytes>>,
    }

    impl FolderExternal {
        /// Room for any model that a 64-bit machine of today runs on its CPU.
        const LIMIT_BYTES: u64 = 32 << 30;

        pub fn new(folder: impl Into<PathBuf>) -> FolderExternal {
            FolderExternal {
                folder: folder.into(),
                limit_bytes: FolderExternal::LIMIT_BYTES,
                files: Mutex::default(),
            }
        }

        /// The folder that a model file lies in.
        pub fn beside(model: &Path) -> FolderExternal {
            match model.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => FolderExternal::new(folder),
                _ => FolderExternal::new("."),
            }
        }

        /// The same with another limit for all files together.
        pub fn with_limit(mut self, limit_bytes: u64) -> FolderExternal {
            self.limit_bytes = limit_bytes;
            self
        }

        fn load(&self, location: &str, used_bytes: u64) -> Result<Bytes> {
            let place = || format!("external data {location:?}");
            let io = |error: std::io::Error| Error::new(ErrorKind::Io, place(), error.to_string());
            let folder = self.folder.canonicalize().map_err(io)?;
            let path = folder.join(location).canonicalize().map_err(io)?;
            if !path.starts_with(&folder) {
                return Err(Error::parse(
                    place(),
                    "the file is a link out of the model's folder",
                ));
            }
            let is_file = path.metadata().map_err(io)?.is_file();
            if !is_file {
                return Err(Error::parse(place(), "the location is not a plain file"));
            }
            let mut file = File::open(&path).map_err(io)?;
            let size_bytes = file.metadata().map_err(io)?.len();
            let left_bytes = self.limit_bytes.saturating_sub(used_bytes);
            if size_bytes > left_bytes {
                let why = format!("the file has {size_bytes} bytes, {left_bytes} are allowed");
                return Err(Error::new(ErrorKind::TooLarge, place(), why));
            }
            let mut bytes = Vec::new();
            let reserved =
                usize::try_from(size_bytes).is_ok_and(|n| bytes.try_reserve_exact(n).is_ok());
            if !reserved {
                let why = format!("there is no room for {size_bytes} bytes");
                return Err(Error::new(ErrorKind::OutOfMemory, place(), why));
            }
            // A file that grows while it is read gives no more than was looked at.
            file.by_ref()
                .take(size_bytes)
                .read_to_end(&mut bytes)
                .map_err(io)?;
            Ok(bytes.into())
        }
    }

    impl External for FolderExternal {
        fn read(&self, location: &str, offset: u64, length: u64) -> Result<Bytes> {
            let mut files = self
                .files
                .lock()
                .expect("no code panics with the lock held");
            if let Some(file) = files.get(location) {
                return part(file, location, offset, length);
            }
            let used_bytes = files.values().map(|file| file.len() as u64).sum();
            let file = self.load(location, used_bytes)?;
            files.insert(location.to_owned(), file.clone());
            part(&file, location, offset, length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_in_the_folder() {
        for (location, checked) in [
            ("weights.bin", "weights.bin"),
            ("./weights.bin", "weights.bin"),
            ("sub/./weights 1.bin", "sub/weights 1.bin"),
            ("..weights", "..weights"),
        ] {
            assert_eq!(
                check_location(location).as_deref(),
                Ok(checked),
                "{location}"
            );
        }
    }

    #[test]
    fn parts_outside_the_file_are_refused() {
        let file = Bytes::from_static(b"0123");
        assert_eq!(part(&file, "w", 1, 3).unwrap(), "123");
        assert!(part(&file, "w", 1, 4).is_err());
        assert!(part(&file, "w", u64::MAX, 1).is_err());
        assert!(part(&file, "w", 5, 0).is_err());
        assert!(part(&file, "w", 4, 0).is_ok());
    }
}
