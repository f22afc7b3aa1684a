//! Who may import whom: the map of `src`, held against its `use` lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module and what it may import. Data flows one way: nothing stands on a line before what it
/// imports.
const MAP: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("trace", &["error"]),
    ("tensor", &["error"]),
    ("kernel", &["tensor"]),
    ("ops", &["error", "tensor", "kernel"]),
    ("graph", &["error", "tensor", "ops"]),
    ("model", &["error", "tensor", "ops", "graph"]),
    ("schedule", &[]),
    ("inspect", &["tensor", "graph", "model"]),
    ("wire", &["error", "tensor", "inspect"]),
    ("picture", &["error", "tensor", "kernel"]),
    ("passes", &["error", "tensor", "ops", "graph"]),
    ("plan", &["error", "tensor", "kernel", "ops", "graph"]),
    (
        "backend",
        &[
            "error", "trace", "tensor", "kernel", "ops", "graph", "model", "plan",
        ],
    ),
    (
        "session",
        &[
            "error", "trace", "tensor", "kernel", "graph", "model", "inspect", "passes", "plan",
            "backend",
        ],
    ),
    (
        "web",
        &[
            "error", "tensor", "kernel", "graph", "model", "inspect", "picture", "plan", "backend",
            "schedule", "session", "trace",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file with its module and its text.
fn files() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let file = |path: PathBuf| {
        let name = path.strip_prefix(&src).expect("it was found there");
        let name = name.to_string_lossy().into_owned();
        let module = name.split(['/', '.']).next().unwrap_or_default().to_owned();
        (
            name,
            module,
            std::fs::read_to_string(&path).expect("sources are UTF-8"),
        )
    };
    let mut files: Vec<_> = paths.into_iter().map(file).collect();
    files.sort();
    files
}

/// The modules after `crate::`; types that the root re-exports begin with a capital.
fn imports(text: &str) -> BTreeSet<&str> {
    let after = text.split("crate::").skip(1);
    let names = after.filter_map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    });
    names
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()))
        .collect()
}

#[test]
fn imports_follow_the_map() {
    let mut wrong = Vec::new();
    for (name, module, text) in files().iter().filter(|(_, module, _)| module != "lib") {
        let Some((_, allowed)) = MAP.iter().find(|(known, _)| known == module) else {
            wrong.push(format!("{name}: {module} is not on the map"));
            continue;
        };
        for import in imports(text) {
            if import != module && !allowed.contains(&import) {
                wrong.push(format!("{name}: {module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_map_has_no_cycles() {
    for (line, (module, allowed)) in MAP.iter().enumerate() {
        for import in *allowed {
            let before = MAP[..line].iter().any(|(known, _)| known == import);
            assert!(
                before,
                "{module} may import {import}, which does not stand before it"
            );
        }
    }
}

#[test]
fn only_the_surface_names_the_browser() {
    for (name, module, text) in files() {
        for browser in ["js_sys", "web_sys", "wasm_bindgen"] {
            let names_it = text.contains(&format!("{browser}::"));
            assert!(!names_it || module == "web", "{name} names {browser}");
        }
    }
}

#[test]
fn backends_do_not_know_each_other() {
    for (name, _, text) in files() {
        for (own, other) in [("cpu", "wonnx"), ("wonnx", "cpu")] {
            let imports_other = text.contains(&format!("backend::{other}"));
            let is_own = name.starts_with(&format!("backend/{own}"));
            assert!(!is_own || !imports_other, "{name} imports {other}");
        }
    }
}
