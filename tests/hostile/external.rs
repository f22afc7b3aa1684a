//! External data: where it may lie, and how much of it there must be.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use sentinel_inference::error::{ErrorKind, Result};
use sentinel_inference::model::onnx::{
    External, FolderExternal, MapExternal, check_location, external_locations, read,
};

use crate::wire::{external, input, model, node, output};

/// Gives nothing and remembers that it was asked.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl External for Asked {
    fn read(&self, location: &str, _: u64, length: u64) -> Result<Bytes> {
        self.0.lock().unwrap().push(location.to_owned());
        Ok(Bytes::from(vec![0; length as usize]))
    }
}

const BAD_LOCATIONS: &[&str] = &[
    "",
    ".",
    "..",
    "./",
    "../weights",
    "a/../../weights",
    "a/..",
    "/etc/passwd",
    "//host/share",
    "a//b",
    "a/",
    "\\\\host\\share",
    "..\\weights",
    "a\\..\\b",
    "C:\\weights",
    "C:weights",
    "c:/weights",
    "file:///etc/passwd",
    "https://example.com/w",
    "w\0",
    "w\n",
    ".. /weights",
    "... ",
    "a/.../b",
    "weights:stream",
    "\u{7f}",
];

#[test]
fn locations_outside_the_folder_are_refused_before_anyone_is_asked() {
    for location in BAD_LOCATIONS {
        let entries = [("location", *location)];
        let bytes = model(&[
            input("x"),
            external("w", &entries),
            node("Add", &["x", "w"], &["y"]),
            output("y"),
        ]);
        let asked = Asked::default();
        let error = read(bytes.clone().into(), &asked).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ModelParse, "{location:?}");
        assert!(error.at.contains("tensor \"w\""), "{error}");
        assert_eq!(*asked.0.lock().unwrap(), [""; 0]);
        assert!(external_locations(&bytes).is_err(), "{location:?}");
        assert!(check_location(location).is_err(), "{location:?}");
    }
    let long = "a/".repeat(600) + "w";
    assert!(check_location(&long).is_err());
}

#[test]
fn external_data_must_be_exactly_what_the_tensor_needs() {
    let file = Bytes::from(vec![1; 16]);
    let files = MapExternal(HashMap::from([("w".to_owned(), file)]));
    let try_with = |entries: &[(&str, &str)]| {
        let bytes = model(&[
            input("x"),
            external("w", entries),
            node("Add", &["x", "w"], &["y"]),
            output("y"),
        ]);
        read(bytes.into(), &files)
    };
    assert!(try_with(&[("location", "w")]).is_ok());
    assert!(try_with(&[("location", "./w"), ("offset", "8"), ("length", "8")]).is_ok());
    for (entries, expected) in [
        (&[][..], "external data has no location"),
        (&[("location", "v")], "it was not given"),
        (
            &[("location", "w"), ("offset", "9")],
            "8 bytes from 9 are needed and the file has 16",
        ),
        (
            &[("location", "w"), ("offset", "18446744073709551615")],
            "are needed and the file has 16",
        ),
        (
            &[("location", "w"), ("offset", "-1")],
            "offset is not a number",
        ),
        (
            &[("location", "w"), ("length", "4")],
            "4 bytes where 8 are needed",
        ),
        (
            &[("location", "w"), ("length", "99999999999999999999")],
            "length is not a number",
        ),
    ] {
        let error = try_with(entries).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.at.contains("tensor \"w\""), "{error}");
    }
}

/// A folder of this test's own, empty.
fn fresh_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_beside_the_model_stay_in_its_folder() {
    let folder = fresh_folder("external");
    let inside = folder.join("model");
    std::fs::create_dir_all(inside.join("sub")).unwrap();
    std::fs::write(folder.join("secret"), [1; 64]).unwrap();
    std::fs::write(inside.join("weights"), [2; 64]).unwrap();
    std::fs::write(inside.join("sub/weights"), [3; 64]).unwrap();
    let files = FolderExternal::beside(&inside.join("model.onnx"));
    assert_eq!(files.read("weights", 60, 4).unwrap(), [2; 4][..]);
    assert_eq!(files.read("sub/weights", 0, 4).unwrap(), [3; 4][..]);
    assert_eq!(
        files.read("weights", 60, 5).unwrap_err().kind,
        ErrorKind::ModelParse
    );
    assert_eq!(files.read("absent", 0, 1).unwrap_err().kind, ErrorKind::Io);
    assert_eq!(
        files.read("sub", 0, 1).unwrap_err().kind,
        ErrorKind::ModelParse
    );
    let small = FolderExternal::new(&inside).with_limit(100);
    assert!(small.read("weights", 0, 4).is_ok());
    assert_eq!(
        small.read("sub/weights", 0, 4).unwrap_err().kind,
        ErrorKind::TooLarge
    );
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let folder = fresh_folder("links");
    let inside = folder.join("model");
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::write(folder.join("secret"), [1; 8]).unwrap();
    std::fs::write(inside.join("weights"), [2; 8]).unwrap();
    symlink("../secret", inside.join("out")).unwrap();
    symlink(&folder, inside.join("up")).unwrap();
    symlink("weights", inside.join("same")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let files = FolderExternal::new(&inside);
    assert_eq!(files.read("same", 0, 8).unwrap(), [2; 8][..]);
    for location in ["out", "up/secret"] {
        let error = files.read(location, 0, 8).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ModelParse);
        assert!(
            error.why.contains("a link out of the model's folder"),
            "{error}"
        );
    }
    assert_eq!(files.read("loop", 0, 8).unwrap_err().kind, ErrorKind::Io);
    // The same through a model.
    let bytes = model(&[
        input("x"),
        external("w", &[("location", "out")]),
        node("Add", &["x", "w"], &["y"]),
        output("y"),
    ]);
    let error = read(bytes.into(), &files).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ModelParse);
}
