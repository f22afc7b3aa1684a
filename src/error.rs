//! The one error type: what went wrong, where, and why.

use std::borrow::Cow;
use std::fmt;

/// What kind of thing went wrong. Callers match on this; people read [`Error::why`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes are not a model, or not a whole or consistent one.
    ModelParse,
    /// The model is well formed and uses something that no chosen backend computes.
    ModelUnsupported,
    /// A name or a value that the caller gave is not one that the session takes.
    InvalidInput,
    /// There is no model of this name or version.
    NotFound,
    ShapeMismatch,
    DtypeMismatch,
    QueueFull,
    Timeout,
    Cancelled,
    /// The session was released before the call.
    Released,
    DeviceLost,
    OutOfMemory,
    WorkerUnavailable,
    Unauthorized,
    /// Something from outside is larger than the limit for it.
    TooLarge,
    ConvertUnsupported,
    Io,
    /// A broken promise of the engine's own: always a bug.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: &[ErrorKind] = &[
        ErrorKind::ModelParse,
        ErrorKind::ModelUnsupported,
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::ShapeMismatch,
        ErrorKind::DtypeMismatch,
        ErrorKind::QueueFull,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
        ErrorKind::Released,
        ErrorKind::DeviceLost,
        ErrorKind::OutOfMemory,
        ErrorKind::WorkerUnavailable,
        ErrorKind::Unauthorized,
        ErrorKind::TooLarge,
        ErrorKind::ConvertUnsupported,
        ErrorKind::Io,
        ErrorKind::Internal,
    ];

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<ErrorKind> {
        let found = ErrorKind::ALL.iter().find(|kind| kind.code() == code);
        found.copied()
    }

    /// The stable code that users see, in JavaScript as `error.code`.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::ModelParse => "MODEL_PARSE",
            ErrorKind::ModelUnsupported => "MODEL_UNSUPPORTED",
            ErrorKind::InvalidInput => "INVALID_INPUT",
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::ShapeMismatch => "SHAPE_MISMATCH",
            ErrorKind::DtypeMismatch => "DTYPE_MISMATCH",
            ErrorKind::QueueFull => "QUEUE_FULL",
            ErrorKind::Timeout => "TIMEOUT",
            ErrorKind::Cancelled => "CANCELLED",
            ErrorKind::Released => "RELEASED",
            ErrorKind::DeviceLost => "DEVICE_LOST",
            ErrorKind::OutOfMemory => "OUT_OF_MEMORY",
            ErrorKind::WorkerUnavailable => "WORKER_UNAVAILABLE",
            ErrorKind::Unauthorized => "UNAUTHORIZED",
            ErrorKind::TooLarge => "TOO_LARGE",
            ErrorKind::ConvertUnsupported => "CONVERT_UNSUPPORTED",
            ErrorKind::Io => "IO",
            ErrorKind::Internal => "INTERNAL",
        }
    }
}

/// An error with its place. `at` names the node, input, file or byte; `why` says what was
/// expected and what was found, without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub at: String,
    pub why: Cow<'static, str>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error {
            kind,
            at: at.into(),
            why: why.into(),
        }
    }

    pub fn parse(at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::ModelParse, at, why)
    }

    pub fn unsupported(at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::ModelUnsupported, at, why)
    }

    pub fn shape(at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::ShapeMismatch, at, why)
    }

    pub fn dtype(at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::DtypeMismatch, at, why)
    }

    pub fn internal(at: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::Internal, at, why)
    }

    /// The same error with `place` in front of where it happened.
    pub fn within(mut self, place: impl fmt::Display) -> Error {
        self.at = if self.at.is_empty() {
            place.to_string()
        } else {
            format!("{place}: {}", self.at)
        };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.at, self.why)
        }
    }
}

impl std::error::Error for Error {}
