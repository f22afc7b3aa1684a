//! What those outside are told of our errors.

use sentinel_inference::error::{Error, ErrorKind};

const SEE_LOG: &str = "see the worker's log, id ";

/// What may be told to those outside of an error of ours: no paths, no panics' texts. What is left out is in the log,
/// under the id that they are told. An error that has been through here stays as it is.
pub fn told(error: &Error) -> Error {
    let (at, what) = match error.kind {
        ErrorKind::Io => ("", "the model's files cannot be read or written"),
        ErrorKind::Internal => (error.at.as_str(), "something went wrong in the worker"),
        _ => return error.clone(),
    };
    if error.why.contains(SEE_LOG) {
        return error.clone();
    }
    let id = format!("{:08x}", rand::random::<u32>());
    tracing::warn!(id, code = error.kind.code(), %error, "an error that is not told");
    Error::new(error.kind, at, format!("{what} ({SEE_LOG}{id})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_panics_are_not_told() {
        let io = Error::new(
            ErrorKind::Io,
            "/srv/models/x/1",
            "/srv/models/x/1: not there",
        );
        let internal = Error::internal("model x", "it panicked: /src/secret.rs");
        for error in [io, internal] {
            let told = told(&error);
            assert_eq!(told.kind, error.kind);
            assert!(!told.to_string().contains('/'), "{told}");
            assert!(told.why.contains(SEE_LOG), "{told}");
        }
    }

    #[test]
    fn an_error_that_was_told_stays() {
        let once = told(&Error::internal("model x", "it panicked: here"));
        assert_eq!(told(&once), once);
        assert!(once.at.contains("model x"));
    }

    #[test]
    fn what_is_the_senders_own_is_told_whole() {
        let error = Error::shape("input x", "expected [1, 3], got [2]");
        assert_eq!(told(&error), error);
    }
}
