//! The messages between clients and workers: the Open Inference Protocol v2 with its binary tensor extension, over HTTP
//! as it is, and in frames over WebSocket and NATS. `docs/PROTOCOL.md` describes them for those who write a client.
//!
//! Everything here comes from outside: counts and sizes are held against [`Limits`] before anything is allocated.

mod body;
mod data;
mod datatype;
mod frame;
mod infer;
mod json;
mod message;

pub use body::{HEADER_LENGTH, write_body};
pub use datatype::{datatype, dtype};
pub use frame::Frame;
pub use infer::{InferRequest, InferResponse, Parameters, WantedOutput, WireTensor};
pub use message::{
    Failure, FromClient, FromWorker, Hello, LimitsOf, ModelOf, PortOf, Upload, UploadChunk,
};

/// The version of the messages that are not the Open Inference Protocol's own.
pub const PROTOCOL: u32 = 1;

/// What a message may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_message_bytes: usize,
    /// Of the JSON in front of binary tensors.
    pub max_header_bytes: usize,
    pub max_tensors: usize,
    pub max_rank: usize,
    /// In one tensor: the product of its sizes.
    pub max_elements: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message_bytes: 64 << 20,
            max_header_bytes: 1 << 20,
            max_tensors: 256,
            max_rank: 16,
            max_elements: 1 << 28,
        }
    }
}
