//! Models that are broken or want harm: each is refused with a code and a place, none panics, and
//! none takes more memory than its size warrants.

mod external;
mod files;
mod graphs;
mod memory;
#[expect(dead_code, reason = "graphs from seeds need more of it")]
#[path = "../random/mod.rs"]
mod random;
mod sizes;
#[expect(dead_code, reason = "only the models of the suite are needed here")]
#[path = "../suite/mod.rs"]
mod suite;
mod wire;

use bytes::Bytes;
use sentinel_inference::error::{Error, Result};
use sentinel_inference::graph::text::print;
use sentinel_inference::model::Model;
use sentinel_inference::model::onnx::{MapExternal, read};

fn try_read(model: &[u8]) -> Result<Model> {
    read(Bytes::copy_from_slice(model), &MapExternal::default())
}

/// The error of a model that must be refused.
fn refused(model: &[u8]) -> Error {
    let error = match try_read(model) {
        Ok(model) => panic!("the model should be refused:\n{}", print(&model.graph)),
        Err(error) => error,
    };
    assert!(!error.at.is_empty(), "the error has no place: {error:?}");
    assert!(!error.why.is_empty(), "the error has no reason: {error:?}");
    error
}

/// A refusal, as the part of the message that must be there.
fn check(name: &str, model: &[u8], expected: &str) {
    let error = refused(model).to_string();
    assert!(
        error.contains(expected),
        "{name}: {expected:?} is expected in {error:?}"
    );
}
