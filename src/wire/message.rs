//! What is said in frames.

use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::infer::{InferRequest, InferResponse, check_header};
use super::json::{object, quoted};
use super::{Limits, datatype};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::Port;

/// Where errors are.
const HEADER: &str = "header";

/// A client says.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromClient {
    Infer(InferRequest),
    /// The request's answer is not waited for any more; it gets none.
    Cancel {
        id: String,
    },
    /// Answered with [`FromWorker::Pong`]; any message shows that a client lives.
    Ping {
        id: String,
    },
    Upload(Upload),
    UploadChunk(UploadChunk),
    /// Over NATS: a request of this many bytes follows in parts, to the subject of the answer.
    Open {
        id: String,
        size_bytes: usize,
    },
    /// A part of a frame that is larger than one message may be; its payload.
    Part {
        id: String,
        index: usize,
        count: usize,
    },
}

/// A worker says.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message.
    Hello(Hello),
    /// The models after a change.
    Models {
        models: Vec<ModelOf>,
    },
    Output(InferResponse),
    Error(Failure),
    Pong {
        id: String,
        queue_depth: usize,
    },
    /// No new requests; what is in flight gets its answers.
    Draining {},
    /// The worker has this much of a model.
    UploadState {
        id: String,
        offset: u64,
    },
    Uploaded {
        id: String,
        model: ModelOf,
    },
    /// Over NATS: the parts go to this subject.
    Opened {
        id: String,
        subject: String,
        part_bytes: usize,
    },
    /// Over NATS: the request is with this worker, which says so again while it works.
    Working {
        id: String,
        worker_id: String,
    },
    Part {
        id: String,
        index: usize,
        count: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub server: String,
    pub version: String,
    /// Another one for each process.
    pub worker_id: String,
    pub limits: LimitsOf,
    /// The most requests without an answer on this connection.
    pub credits: u32,
    /// Who hears nothing for twice as long may take the other for dead.
    pub heartbeat_ms: u64,
    pub allows_upload: bool,
    pub models: Vec<ModelOf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsOf {
    pub max_message_bytes: usize,
    pub max_header_bytes: usize,
    pub max_tensors: usize,
    pub max_elements: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelOf {
    pub name: String,
    pub version: String,
    /// Of the model's file.
    pub sha256: String,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    pub inputs: Vec<PortOf>,
    pub outputs: Vec<PortOf>,
}

/// An input or output as the protocol's metadata has it: -1 is any size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortOf {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
}

/// An error on its way; with an id it is the answer to that request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub code: String,
    pub error: String,
    /// When another try may do better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Announces a model; the answer says how much of it the worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: String,
    pub model_name: String,
    /// A positive number.
    pub model_version: String,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
    pub size_bytes: u64,
}

/// The bytes of the payload belong at this offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadChunk {
    pub id: String,
    pub offset: u64,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    name: String,
}

#[derive(Deserialize)]
struct OnlyId {
    id: String,
}

#[derive(Deserialize)]
struct OpenOf {
    id: String,
    size_bytes: usize,
}

#[derive(Deserialize)]
struct PartOf {
    id: String,
    index: usize,
    count: usize,
}

#[derive(Deserialize)]
struct PongOf {
    id: String,
    #[serde(default)]
    queue_depth: usize,
}

#[derive(Deserialize)]
struct ModelsOf {
    models: Vec<ModelOf>,
}

#[derive(Deserialize)]
struct UploadStateOf {
    id: String,
    offset: u64,
}

#[derive(Deserialize)]
struct UploadedOf {
    id: String,
    model: ModelOf,
}

#[derive(Deserialize)]
struct OpenedOf {
    id: String,
    subject: String,
    part_bytes: usize,
}

#[derive(Deserialize)]
struct WorkingOf {
    id: String,
    worker_id: String,
}

impl FromClient {
    /// # Errors
    /// `INVALID_INPUT` for what is no such message, `TOO_LARGE` for a header beyond the limit.
    pub fn read(frame: &Frame, limits: &Limits) -> Result<FromClient> {
        check_header(&frame.header, limits)?;
        let header = &frame.header;
        Ok(match &*object::<Typed>(HEADER, header)?.name {
            "infer" => FromClient::Infer(object(HEADER, header)?),
            "cancel" => FromClient::Cancel {
                id: object::<OnlyId>(HEADER, header)?.id,
            },
            "ping" => FromClient::Ping {
                id: object::<OnlyId>(HEADER, header)?.id,
            },
            "upload" => FromClient::Upload(object(HEADER, header)?),
            "upload_chunk" => FromClient::UploadChunk(object(HEADER, header)?),
            "open" => {
                let OpenOf { id, size_bytes } = object(HEADER, header)?;
                FromClient::Open { id, size_bytes }
            }
            "part" => {
                let PartOf { id, index, count } = object(HEADER, header)?;
                FromClient::Part { id, index, count }
            }
            other => return Err(unknown(other)),
        })
    }
}

impl FromWorker {
    /// # Errors
    /// As [`FromClient::read`].
    pub fn read(frame: &Frame, limits: &Limits) -> Result<FromWorker> {
        check_header(&frame.header, limits)?;
        let header = &frame.header;
        Ok(match &*object::<Typed>(HEADER, header)?.name {
            "hello" => FromWorker::Hello(object(HEADER, header)?),
            "models" => FromWorker::Models {
                models: object::<ModelsOf>(HEADER, header)?.models,
            },
            "output" => FromWorker::Output(object(HEADER, header)?),
            "error" => FromWorker::Error(object(HEADER, header)?),
            "pong" => {
                let PongOf { id, queue_depth } = object(HEADER, header)?;
                FromWorker::Pong { id, queue_depth }
            }
            "draining" => FromWorker::Draining {},
            "upload_state" => {
                let UploadStateOf { id, offset } = object(HEADER, header)?;
                FromWorker::UploadState { id, offset }
            }
            "uploaded" => {
                let UploadedOf { id, model } = object(HEADER, header)?;
                FromWorker::Uploaded { id, model }
            }
            "opened" => {
                let OpenedOf {
                    id,
                    subject,
                    part_bytes,
                } = object(HEADER, header)?;
                FromWorker::Opened {
                    id,
                    subject,
                    part_bytes,
                }
            }
            "working" => {
                let WorkingOf { id, worker_id } = object(HEADER, header)?;
                FromWorker::Working { id, worker_id }
            }
            "part" => {
                let PartOf { id, index, count } = object(HEADER, header)?;
                FromWorker::Part { id, index, count }
            }
            other => return Err(unknown(other)),
        })
    }
}

impl Failure {
    pub fn new(id: &str, error: &Error) -> Failure {
        Failure {
            id: id.to_owned(),
            code: error.kind.code().to_owned(),
            error: error.to_string(),
            retry_after_ms: None,
        }
    }
}

impl PortOf {
    pub fn new(port: &Port) -> PortOf {
        let fact = &port.fact;
        let dims = fact.shape.iter().flat_map(|shape| shape.0.iter());
        PortOf {
            name: port.name.clone(),
            datatype: fact.dtype.and_then(datatype).unwrap_or("BYTES").to_owned(),
            shape: dims
                .map(|dim| dim.size().map_or(-1, |size| size as i64))
                .collect(),
        }
    }
}

fn unknown(name: &str) -> Error {
    let why = format!("{} is no type of message", quoted(name));
    Error::new(ErrorKind::InvalidInput, HEADER, why)
}
