//! What a caller feeds, held against the inputs of a model.

use super::bind;
use super::{Named, Sizes};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::Port;
use crate::tensor::DType;

/// Checks names, types and shapes of what a caller feeds, and gives the sizes that the model
/// declares: one element stands for a scalar.
///
/// # Errors
/// `INVALID_INPUT`, `DTYPE_MISMATCH` or `SHAPE_MISMATCH` naming the input, what was expected
/// and what was given.
pub fn check<'a>(
    inputs: &[Port],
    feeds: impl Iterator<Item = (&'a str, DType, &'a [usize])>,
) -> Result<Sizes> {
    let invalid = |name: &str, why: String| Error::new(ErrorKind::InvalidInput, name, why);
    let mut checked = Sizes::new();
    for (name, dtype, sizes) in feeds {
        let Some(port) = inputs.iter().find(|port| port.name == name) else {
            let known: Vec<&str> = inputs.iter().map(|port| port.name.as_str()).collect();
            let why = format!("the model has no such input; it has {}", known.join(", "));
            return Err(invalid(name, why));
        };
        if let Some(expected) = port.fact.dtype
            && expected != dtype
        {
            let (expected, given) = (expected.long_name(), dtype.long_name());
            return Err(Error::dtype(
                name,
                format!("expected {expected}, got {given}"),
            ));
        }
        let declared = port.fact.shape.as_ref();
        let is_scalar = declared.is_some_and(|shape| shape.rank() == 0);
        let is_one = sizes.iter().all(|&size| size == 1);
        let sizes = if is_scalar && is_one { &[] } else { sizes };
        let former = checked.insert(name.to_owned(), sizes.to_vec());
        if former.is_some() {
            return Err(invalid(name, "the input is given twice".into()));
        }
    }
    for port in inputs {
        if !checked.contains_key(&port.name) {
            return Err(invalid(&port.name, "the input is missing".into()));
        }
    }
    bind::symbols(inputs, &checked)?;
    Ok(checked)
}

/// [`check`] for tensors of the host, which come back in the sizes it gives.
///
/// # Errors
/// As [`check`].
pub fn check_feeds(inputs: &[Port], feeds: Named) -> Result<Named> {
    let ports = feeds
        .iter()
        .map(|(name, x)| (name.as_str(), x.dtype(), x.sizes()));
    let sizes = check(inputs, ports)?;
    let checked = feeds.into_iter().map(|(name, tensor)| {
        let tensor = tensor.reshaped(&sizes[&name])?;
        Ok((name, tensor))
    });
    checked.collect()
}
