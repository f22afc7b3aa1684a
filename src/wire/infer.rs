//! Requests and responses of inference, as the Open Inference Protocol has them.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::frame::too_large;
use super::json::{self, MAX_RANK, MAX_TENSORS, quoted};
use super::{Limits, data, datatype, dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Data, Tensor};

/// Named values beside tensors: numbers, text and truth values.
pub type Parameters = Map<String, Value>;

/// The strings of a message: each takes 24 bytes of memory, however short it is on its way.
const MAX_STRINGS: usize = 1 << 20;
/// Longer waits than a day are none.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A tensor without its binary elements.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(expecting = "a tensor")]
pub struct WireTensor {
    pub name: String,
    pub datatype: String,
    #[serde(deserialize_with = "json::list::<_, _, MAX_RANK>")]
    pub shape: Vec<u64>,
    #[serde(default, deserialize_with = "json::parameters")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    /// Elements as JSON; without it, `binary_data_size` bytes of the payload are the elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(expecting = "the name of an output")]
pub struct WantedOutput {
    pub name: String,
    #[serde(default, deserialize_with = "json::parameters")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
}

/// An inference request; over HTTP the model is in the path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(expecting = "an inference")]
pub struct InferRequest {
    #[serde(default, deserialize_with = "json::text")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(default, deserialize_with = "json::text")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_name: String,
    #[serde(default, deserialize_with = "json::text")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_version: String,
    /// How long its sender waits, from when it is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
    #[serde(default, deserialize_with = "json::parameters")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    #[serde(deserialize_with = "json::list::<_, _, MAX_TENSORS>")]
    pub inputs: Vec<WireTensor>,
    #[serde(default, deserialize_with = "json::list::<_, _, MAX_TENSORS>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<WantedOutput>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(expecting = "an inference")]
pub struct InferResponse {
    #[serde(default, deserialize_with = "json::text")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub model_name: String,
    #[serde(default, deserialize_with = "json::text")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_version: String,
    #[serde(default, deserialize_with = "json::parameters")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    #[serde(deserialize_with = "json::list::<_, _, MAX_TENSORS>")]
    pub outputs: Vec<WireTensor>,
}

impl InferRequest {
    /// The tensors, where `payload` holds those that are not JSON. Elements are not copied.
    ///
    /// # Errors
    /// `INVALID_INPUT`, `SHAPE_MISMATCH`, `DTYPE_MISMATCH` and `TOO_LARGE`, naming the input.
    pub fn tensors(&self, payload: Bytes, limits: &Limits) -> Result<Vec<(String, Tensor)>> {
        check_count("outputs", self.outputs.len(), limits)?;
        tensors("inputs", &self.inputs, payload, limits)
    }

    /// How long its sender waits: `deadline_ms`, or `parameters.timeout` in microseconds, where 0 is no limit.
    ///
    /// # Errors
    /// `INVALID_INPUT` for what is no time.
    pub fn wait(&self) -> Result<Option<Duration>> {
        if let Some(ms) = self.deadline_ms {
            if ms < 0.0 || !ms.is_finite() {
                return Err(wrong("deadline_ms", format!("{ms} is no time")));
            }
            let wait = Duration::try_from_secs_f64(ms / 1e3).unwrap_or(MAX_WAIT);
            return Ok(Some(wait.min(MAX_WAIT)));
        }
        let Some(timeout) = self.parameters.get("timeout") else {
            return Ok(None);
        };
        match timeout.as_u64() {
            Some(0) => Ok(None),
            Some(us) => Ok(Some(Duration::from_micros(us).min(MAX_WAIT))),
            None => Err(wrong("timeout", "a number of microseconds is expected")),
        }
    }

    /// The larger, the sooner; 0 unless it is said.
    ///
    /// # Errors
    /// `INVALID_INPUT` for what is no whole number.
    pub fn priority(&self) -> Result<i32> {
        let Some(priority) = self.parameters.get("priority") else {
            return Ok(0);
        };
        let priority = priority.as_i64().and_then(|x| i32::try_from(x).ok());
        priority.ok_or_else(|| wrong("priority", "a whole number of 32 bits is expected"))
    }

    /// The hash of the model's file, where the request is for that file and no other.
    ///
    /// # Errors
    /// `INVALID_INPUT` for what is no text.
    pub fn sha256(&self) -> Result<Option<String>> {
        let Some(sha256) = self.parameters.get("sha256") else {
            return Ok(None);
        };
        let sha256 = sha256.as_str().map(str::to_ascii_lowercase);
        sha256
            .map(Some)
            .ok_or_else(|| wrong("sha256", "a text is expected"))
    }

    /// Whether this output is asked for as bytes; JSON is the protocol's default.
    pub fn wants_binary(&self, output: &str) -> bool {
        let named = self.outputs.iter().find(|wanted| wanted.name == output);
        let own = named.and_then(|wanted| wanted.parameters.get("binary_data"));
        let all = || self.parameters.get("binary_data_output");
        own.or_else(all).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A request whose tensors are all binary, and their bytes.
    ///
    /// # Errors
    /// `DTYPE_MISMATCH` for a type that the protocol does not have.
    pub fn set_inputs(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Bytes>> {
        let (wired, payload) = wire(inputs, |_| true)?;
        self.inputs = wired;
        Ok(payload)
    }
}

impl InferResponse {
    /// As [`InferRequest::tensors`], for a client.
    ///
    /// # Errors
    /// As [`InferRequest::tensors`].
    pub fn tensors(&self, payload: Bytes, limits: &Limits) -> Result<Vec<(String, Tensor)>> {
        tensors("outputs", &self.outputs, payload, limits)
    }

    /// Takes the outputs in; returns the bytes of those that are wanted as such.
    ///
    /// # Errors
    /// `DTYPE_MISMATCH` for a type that the protocol does not have; `INVALID_INPUT` for numbers
    /// that JSON does not have.
    pub fn set_outputs(
        &mut self,
        outputs: &[(String, Tensor)],
        is_binary: impl Fn(&str) -> bool,
    ) -> Result<Vec<Bytes>> {
        let (wired, payload) = wire(outputs, is_binary)?;
        self.outputs = wired;
        Ok(payload)
    }
}

fn check_count(what: &'static str, n: usize, limits: &Limits) -> Result<()> {
    let limit = limits.max_tensors.min(MAX_TENSORS);
    if n <= limit {
        return Ok(());
    }
    let why = format!("more than the limit of {limit}");
    Err(Error::new(ErrorKind::TooLarge, what, why))
}

fn tensors(
    what: &'static str,
    wired: &[WireTensor],
    mut payload: Bytes,
    limits: &Limits,
) -> Result<Vec<(String, Tensor)>> {
    check_count(what, wired.len(), limits)?;
    let mut names = HashSet::with_capacity(wired.len());
    let mut tensors = Vec::with_capacity(wired.len());
    let mut n_strings = 0;
    for each in wired {
        let name = &each.name;
        if !names.insert(name) {
            return Err(wrong(name, "it is given twice"));
        }
        let tensor = each.tensor(&mut payload, &mut n_strings, limits);
        let tensor = tensor.map_err(|error| Error {
            at: quoted(name),
            ..error
        })?;
        tensors.push((name.clone(), tensor));
    }
    if !payload.is_empty() {
        let why = format!("{} bytes belong to no tensor", payload.len());
        return Err(Error::new(ErrorKind::InvalidInput, "payload", why));
    }
    Ok(tensors)
}

impl WireTensor {
    /// Takes its bytes from the front of `payload`; the caller says whose an error is.
    fn tensor(
        &self,
        payload: &mut Bytes,
        n_strings: &mut usize,
        limits: &Limits,
    ) -> Result<Tensor> {
        let Some(dtype) = dtype(&self.datatype) else {
            let why = format!("{} is no datatype of the protocol", quoted(&self.datatype));
            return Err(Error::dtype("", why));
        };
        let shape = self.sizes(limits)?;
        if dtype == DType::Str {
            *n_strings += shape.iter().product::<usize>();
            if *n_strings > MAX_STRINGS {
                let why = format!("more than {MAX_STRINGS} strings in one message");
                return Err(Error::new(ErrorKind::TooLarge, "", why));
            }
        }
        match (&self.data, self.parameters.get("binary_data_size")) {
            (Some(_), Some(_)) => Err(wrong("", "it has both data and binary_data_size")),
            (None, None) => Err(wrong("", "it has neither data nor binary_data_size")),
            (Some(json), None) => data::read(dtype, &shape, json),
            (None, Some(size)) => binary(dtype, &shape, size, payload),
        }
    }

    fn sizes(&self, limits: &Limits) -> Result<Vec<usize>> {
        let too_large = |why| Err(Error::new(ErrorKind::TooLarge, "", why));
        let max_rank = limits.max_rank.min(MAX_RANK);
        if self.shape.len() > max_rank {
            return too_large(format!("more than the limit of {max_rank} axes"));
        }
        // Zero elements allow no other size to be beyond all bounds.
        let n_elements = self
            .shape
            .iter()
            .fold(1_u64, |count, &size| count.saturating_mul(size.max(1)));
        if usize::try_from(n_elements).is_ok_and(|count| count <= limits.max_elements) {
            return Ok(self.shape.iter().map(|&size| size as usize).collect());
        }
        too_large(format!(
            "{:?} has more than {} elements",
            self.shape, limits.max_elements
        ))
    }
}

fn binary(dtype: DType, shape: &[usize], size: &Value, payload: &mut Bytes) -> Result<Tensor> {
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or_else(|| wrong("", "binary_data_size is no size"))?;
    if size > payload.len() {
        let why = format!("{size} bytes announced, {} left", payload.len());
        return Err(wrong("", why));
    }
    let bytes = payload.split_to(size);
    match dtype {
        DType::Str => Tensor::from_strings(shape, strings(&bytes, shape)?),
        DType::Bool if bytes.iter().any(|&x| x > 1) => Err(wrong("", "a BOOL is 0 or 1")),
        _ => Tensor::from_bytes(dtype, shape, bytes),
    }
}

/// Strings are written as their length in four bytes and their bytes.
fn strings(mut bytes: &[u8], shape: &[usize]) -> Result<Vec<String>> {
    let n_elements: usize = shape.iter().product();
    let mut strings = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() || strings.len() == n_elements {
            break;
        }
        let (text, rest) = rest.split_at(length);
        let text = std::str::from_utf8(text).map_err(|_| wrong("", "a string is not UTF-8"))?;
        strings.push(text.to_owned());
        bytes = rest;
    }
    if !bytes.is_empty() || strings.len() != n_elements {
        let why = format!("its bytes are not {n_elements} strings");
        return Err(wrong("", why));
    }
    Ok(strings)
}

type Wired = (Vec<WireTensor>, Vec<Bytes>);

fn wire(tensors: &[(String, Tensor)], is_binary: impl Fn(&str) -> bool) -> Result<Wired> {
    let mut wired = Vec::with_capacity(tensors.len());
    let mut payload = Vec::new();
    for (name, tensor) in tensors {
        let Some(datatype) = datatype(tensor.dtype()) else {
            let why = format!("the protocol has no {}", tensor.dtype().name());
            return Err(Error::dtype(format!("\"{name}\""), why));
        };
        let mut parameters = Parameters::new();
        let mut json = None;
        if is_binary(name) {
            let bytes = bytes_of(tensor);
            parameters.insert("binary_data_size".into(), bytes.len().into());
            payload.push(bytes);
        } else {
            json = Some(data::write(name, tensor)?);
        }
        wired.push(WireTensor {
            name: name.clone(),
            datatype: datatype.to_owned(),
            shape: tensor.sizes().iter().map(|&size| size as u64).collect(),
            parameters,
            data: json,
        });
    }
    Ok((wired, payload))
}

fn bytes_of(tensor: &Tensor) -> Bytes {
    match tensor.data() {
        Data::Bytes(bytes) => bytes.clone(),
        Data::Strings(strings) => {
            let mut bytes = Vec::new();
            for text in strings.iter() {
                let length = u32::try_from(text.len()).expect("strings are shorter than 4 GiB");
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            bytes.into()
        }
    }
}

fn wrong(name: &str, why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, quoted(name), why)
}

pub(super) fn check_header(header: &[u8], limits: &Limits) -> Result<()> {
    if header.len() > limits.max_header_bytes {
        return Err(too_large("header", header.len(), limits.max_header_bytes));
    }
    Ok(())
}
