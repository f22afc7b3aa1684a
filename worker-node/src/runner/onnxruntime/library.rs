//! ONNX Runtime's library, where this machine has one.

use std::env;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::OnceLock;

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::sys::OrtApiBase;
use sentinel_inference::error::{Error, Result};

use super::AT;

/// A path to the library, instead of every other place.
const VARIABLE: &str = "ORT_DYLIB_PATH";

#[cfg(windows)]
const NAMES: &[&str] = &["onnxruntime.dll"];
#[cfg(target_os = "macos")]
const NAMES: &[&str] = &["libonnxruntime.dylib", "libonnxruntime.1.dylib"];
#[cfg(not(any(windows, target_os = "macos")))]
const NAMES: &[&str] = &["libonnxruntime.so", "libonnxruntime.so.1"];

pub struct Library {
    pub version: String,
    pub path: PathBuf,
    /// How it was found.
    pub found: &'static str,
    /// Names of its execution providers, in its order.
    pub providers: Vec<String>,
    pub(super) environment: Environment,
}

/// Looks for the library at the first call; it stays loaded.
///
/// # Errors
/// `MODEL_UNSUPPORTED` with every place where it was looked for, and what was there.
pub fn library() -> Result<&'static Library> {
    static LIBRARY: OnceLock<Result<Library>> = OnceLock::new();
    LIBRARY.get_or_init(find).as_ref().map_err(Error::clone)
}

fn find() -> Result<Library> {
    let mut tried = Vec::new();
    for (path, found) in places() {
        match load(&path, found) {
            Ok(library) => return Ok(library),
            Err(why) => tried.push(format!("{}: {why}", path.display())),
        }
    }
    let why = format!("no library that can be used; tried {}", tried.join("; "));
    Err(Error::unsupported(AT, why))
}

fn places() -> Vec<(PathBuf, &'static str)> {
    let named = env::var_os(VARIABLE).filter(|path| !path.is_empty());
    if let Some(path) = named {
        return vec![(path.into(), "by ORT_DYLIB_PATH")];
    }
    let program = env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent);
    let beside = folder.into_iter().flat_map(|folder| {
        let paths = NAMES.iter().map(|name| folder.join(name));
        paths.map(|path| (path, "beside the program"))
    });
    let usual = NAMES
        .iter()
        .map(|name| (name.into(), "in the library path"));
    beside.chain(usual).collect()
}

fn load(path: &Path, found: &'static str) -> Result<Library, String> {
    let version = probe(path)?;
    let environment = ort::init_from(path).map_err(|error| error.to_string())?;
    let environment = environment
        .with_name("sentinel-worker")
        .with_telemetry(false)
        // The models of a worker share the cores.
        .with_global_thread_pool(GlobalThreadPoolOptions::default())
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Library {
        version,
        path: path.to_owned(),
        found,
        providers: providers()?,
        environment,
    })
}

/// The version of a library. What `ort` would panic about is found here first.
fn probe(path: &Path) -> Result<String, String> {
    // SAFETY: the library is the operator's choice, and its initializers are trusted as they are by `ort`.
    let library = unsafe { libloading::Library::new(path) };
    let library = library.map_err(|error| cause(path, &error))?;
    // What was loaded may have started threads, and stays.
    let library = std::mem::ManuallyDrop::new(library);
    // SAFETY: the name and the type are those of ONNX Runtime's C API.
    let base =
        unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase") };
    let base = base.map_err(|error| cause(path, &error))?;
    // SAFETY: it takes nothing, and gives a constant or nothing.
    let base = unsafe { base().as_ref() }.ok_or("it has no API")?;
    // SAFETY: the constant has these functions in every version, and the version is a constant string.
    let (version, api) = unsafe {
        let version = CStr::from_ptr((base.GetVersionString)());
        (version.to_string_lossy(), (base.GetApi)(ort::MINOR_VERSION))
    };
    if api.is_null() {
        let needed = ort::MINOR_VERSION;
        return Err(format!(
            "it is version {version}, and 1.{needed} or later is needed"
        ));
    }
    Ok(version.into_owned())
}

/// What the system says, which the error itself keeps to its source; the path is told beside it.
fn cause(path: &Path, error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let cause = cause.unwrap_or_else(|| error.to_string());
    let prefix = format!("{}: ", path.display());
    cause.strip_prefix(&prefix).unwrap_or(&cause).to_owned()
}

fn providers() -> Result<Vec<String>, String> {
    let (mut names, mut count) = (null_mut(), 0);
    // SAFETY: the two are written, or an error is given.
    let status = unsafe { (ort::api().GetAvailableProviders)(&mut names, &mut count) };
    // SAFETY: the status comes from the API and is used once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())?;
    let known = (0..usize::try_from(count).unwrap_or(0)).map(|at| {
        // SAFETY: there are `count` names, each a string that lives until they are released below.
        let name = unsafe { CStr::from_ptr(*names.add(at)) };
        name.to_string_lossy().into_owned()
    });
    let known = known.collect();
    // SAFETY: they are released once.
    let status = unsafe { (ort::api().ReleaseAvailableProviders)(names, count) };
    // SAFETY: as above.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_refused_with_the_reason() {
        let text = env::temp_dir().join(format!("sentinel-no-library-{}.so", std::process::id()));
        std::fs::write(&text, b"not a library").expect("a file");
        for path in [&text, Path::new("/absent/libonnxruntime.so")] {
            let why = load(path, "").err().expect("there is no library");
            assert!(
                !why.is_empty() && !why.contains("sentinel-no-library"),
                "{why}"
            );
        }
        std::fs::remove_file(&text).expect("it is there");
    }
}
