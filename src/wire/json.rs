//! What JSON from outside may become. A byte of it can be many bytes of memory, so lists stop growing where no limit would
//! let more of them pass, and values that the protocol does not have are passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use crate::error::{Error, ErrorKind, Result};

/// No limit lets more tensors or wanted outputs pass.
pub const MAX_TENSORS: usize = 4096;
/// No limit lets more axes pass.
pub const MAX_RANK: usize = 64;
const MAX_PARAMETERS: usize = 64;
/// What errors repeat of what was sent.
const MAX_QUOTED_CHARS: usize = 64;
const MAX_REASON_CHARS: usize = 256;

/// One JSON object with nothing but spaces around it.
///
/// # Errors
/// `INVALID_INPUT`.
pub fn object<T: DeserializeOwned>(place: &'static str, json: &[u8]) -> Result<T> {
    let wrong = |why: String| Error::new(ErrorKind::InvalidInput, place, why);
    // A struct would also be read from the list of its values.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong("it is no JSON object".into()));
    }
    serde_json::from_slice(json).map_err(|error| wrong(reason(&error)))
}

/// What the reader of JSON says, without all of a text that it may repeat.
pub fn reason(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        None => reason,
        Some((end, _)) => format!("{}…", &reason[..end]),
    }
}

/// A name from outside as errors and logs may have it: short, and without control characters.
pub fn quoted(name: &str) -> String {
    match name.char_indices().nth(MAX_QUOTED_CHARS) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}…", &name[..end]),
    }
}

/// Text that other clients leave out or send as null.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list, without what comes after its first `MAX + 1` elements; null is an empty one.
pub fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(List::<T, MAX>(PhantomData))
}

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() <= MAX {
            let Some(element) = list.next_element()? else {
                return Ok(elements);
            };
            elements.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements)
    }
}

/// Numbers, text and truth values by name; others are left out, and null is none at all.
pub fn parameters<'de, D>(deserializer: D) -> Result<Map<String, Value>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Parameters)
}

struct Parameters;

impl<'de> Visitor<'de> for Parameters {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("parameters by name")
    }

    fn visit_unit<E>(self) -> Result<Map<String, Value>, E> {
        Ok(Map::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut parameters = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Scalar>()? {
            let Scalar(Some(value)) = value else {
                continue;
            };
            parameters.insert(name, value);
            if parameters.len() > MAX_PARAMETERS {
                let why = format!("more than {MAX_PARAMETERS} parameters");
                return Err(serde::de::Error::custom(why));
            }
        }
        Ok(parameters)
    }
}

struct Scalar(Option<Value>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Scalar)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a parameter")
    }

    fn visit_bool<E>(self, x: bool) -> Result<Self::Value, E> {
        Ok(Some(x.into()))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Self::Value, E> {
        Ok(Some(x.into()))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Self::Value, E> {
        Ok(Some(x.into()))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(x).map(Value::Number))
    }

    fn visit_str<E>(self, x: &str) -> Result<Self::Value, E> {
        Ok(Some(x.into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
