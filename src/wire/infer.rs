//! Requests and responses of inference, as the Open Inference Protocol has them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::frame::too_large;
use super::{Limits, data, datatype, dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Data, Tensor};

/// Named values beside tensors: numbers, text and truth values.
pub type Parameters = Map<String, Value>;

/// A tensor without its binary elements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireTensor {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    /// Elements as JSON; without it, `binary_data_size` bytes of the payload are the elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WantedOutput {
    pub name: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
}

/// An inference request; over HTTP the model is in the path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InferRequest {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_version: String,
    /// How long its sender waits, from when it is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    pub inputs: Vec<WireTensor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<WantedOutput>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InferResponse {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub model_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_version: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Parameters,
    pub outputs: Vec<WireTensor>,
}

impl InferRequest {
    /// The tensors, where `payload` holds those that are not JSON. Elements are not copied.
    ///
    /// # Errors
    /// `INVALID_INPUT`, `SHAPE_MISMATCH`, `DTYPE_MISMATCH` and `TOO_LARGE`, naming the input.
    pub fn tensors(&self, payload: Bytes, limits: &Limits) -> Result<Vec<(String, Tensor)>> {
        tensors(&self.inputs, payload, limits)
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
        tensors(&self.outputs, payload, limits)
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

fn tensors(
    wired: &[WireTensor],
    mut payload: Bytes,
    limits: &Limits,
) -> Result<Vec<(String, Tensor)>> {
    if wired.len() > limits.max_tensors {
        let why = format!(
            "{} tensors, and the limit is {}",
            wired.len(),
            limits.max_tensors
        );
        return Err(Error::new(ErrorKind::TooLarge, "tensors", why));
    }
    let mut tensors = Vec::with_capacity(wired.len());
    for each in wired {
        let tensor = each.tensor(&mut payload, limits)?;
        if tensors.iter().any(|(name, _)| *name == each.name) {
            return Err(wrong(&each.name, "it is given twice"));
        }
        tensors.push((each.name.clone(), tensor));
    }
    if !payload.is_empty() {
        let why = format!("{} bytes belong to no tensor", payload.len());
        return Err(Error::new(ErrorKind::InvalidInput, "payload", why));
    }
    Ok(tensors)
}

impl WireTensor {
    /// Takes its bytes from the front of `payload`.
    fn tensor(&self, payload: &mut Bytes, limits: &Limits) -> Result<Tensor> {
        let name = &self.name;
        let Some(dtype) = dtype(&self.datatype) else {
            let why = format!("\"{}\" is no datatype of the protocol", self.datatype);
            return Err(Error::dtype(format!("\"{name}\""), why));
        };
        let shape = self.sizes(limits)?;
        let size = self.parameters.get("binary_data_size");
        match (&self.data, size) {
            (Some(_), Some(_)) => Err(wrong(name, "it has both data and binary_data_size")),
            (None, None) => Err(wrong(name, "it has neither data nor binary_data_size")),
            (Some(json), None) => data::read(name, dtype, &shape, json),
            (None, Some(size)) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| wrong(name, "binary_data_size is no size"))?;
                if size > payload.len() {
                    let why = format!("{size} bytes announced, {} left", payload.len());
                    return Err(wrong(name, why));
                }
                let bytes = payload.split_to(size);
                let tensor = match dtype {
                    DType::Str => strings(&bytes, &shape)
                        .and_then(|strings| Tensor::from_strings(&shape, strings)),
                    DType::Bool if bytes.iter().any(|&x| x > 1) => {
                        Err(wrong("", "a BOOL is 0 or 1"))
                    }
                    _ => Tensor::from_bytes(dtype, &shape, bytes),
                };
                tensor.map_err(|error| Error {
                    at: format!("\"{name}\""),
                    ..error
                })
            }
        }
    }

    fn sizes(&self, limits: &Limits) -> Result<Vec<usize>> {
        let name = &self.name;
        if self.shape.len() > limits.max_rank {
            let why = format!(
                "{} axes, and the limit is {}",
                self.shape.len(),
                limits.max_rank
            );
            return Err(Error::new(ErrorKind::TooLarge, format!("\"{name}\""), why));
        }
        let mut n_elements = 1_usize;
        let mut sizes = Vec::with_capacity(self.shape.len());
        for &size in &self.shape {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            // Zero elements allow no other size to be beyond all bounds.
            n_elements = n_elements.saturating_mul(size.max(1));
            sizes.push(size);
        }
        if n_elements > limits.max_elements {
            let why = format!(
                "{:?} has more than {} elements",
                self.shape, limits.max_elements
            );
            return Err(Error::new(ErrorKind::TooLarge, format!("\"{name}\""), why));
        }
        Ok(sizes)
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
    Error::new(ErrorKind::InvalidInput, format!("\"{name}\""), why)
}

pub(super) fn check_header(header: &[u8], limits: &Limits) -> Result<()> {
    if header.len() > limits.max_header_bytes {
        return Err(too_large("header", header.len(), limits.max_header_bytes));
    }
    Ok(())
}
