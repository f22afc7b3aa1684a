//! What is sent: arrays from a file, or random ones.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::model::npz::read_npz;
use sentinel_inference::tensor::{DType, Tensor};
use sentinel_inference::wire::{PortOf, dtype};

use crate::run::io;

/// Whole numbers are below this: they may be indices.
const MAX_WHOLE: u8 = 100;
/// No random input is larger.
const MAX_ELEMENTS: usize = 1 << 28;

type Named = Vec<(String, Tensor)>;

/// Arrays by the names of `ports`, or by `in_0`, `in_1`, ...
///
/// # Errors
/// `IO`, and `INVALID_INPUT` for an input that is not there.
pub fn from_file(path: &Path, ports: &[PortOf]) -> Result<Named> {
    let bytes = std::fs::read(path).map_err(|error| io(path.display(), error))?;
    let mut arrays: HashMap<String, Tensor> = read_npz(&bytes)?.into_iter().collect();
    let found = ports.iter().enumerate().map(|(idx, port)| {
        let array = arrays.remove(&port.name);
        let array = array.or_else(|| arrays.remove(&format!("in_{idx}")));
        let why = || format!("{} has no array for it", path.display());
        let array = array.ok_or_else(|| Error::new(ErrorKind::InvalidInput, &port.name, why()))?;
        Ok((port.name.clone(), array))
    });
    found.collect()
}

/// Random numbers: fractions from 0 to 1, whole numbers below 100. A first axis of any size has one row.
///
/// # Errors
/// `INVALID_INPUT` for an axis of any size that is not said, and a size for no input; `DTYPE_MISMATCH`.
pub fn random(ports: &[PortOf], shapes: &[(String, Vec<usize>)], seed: u64) -> Result<Named> {
    if let Some((name, _)) = shapes
        .iter()
        .find(|(name, _)| ports.iter().all(|port| port.name != *name))
    {
        let why = "--shape names no input of the model";
        return Err(Error::new(ErrorKind::InvalidInput, name, why));
    }
    let mut random = SmallRng::seed_from_u64(seed);
    let inputs = ports.iter().map(|port| {
        let given = shapes.iter().find(|(name, _)| *name == port.name);
        let sizes = match given {
            Some((_, sizes)) => sizes.clone(),
            None => sizes_of(port)?,
        };
        Ok((port.name.clone(), tensor(port, &sizes, &mut random)?))
    });
    inputs.collect()
}

fn sizes_of(port: &PortOf) -> Result<Vec<usize>> {
    let sizes = port.shape.iter().enumerate().map(|(axis, &size)| {
        let open = (axis == 0 && size < 0).then_some(1);
        let why = || {
            format!(
                "{:?} is open: --shape {}:... is missing",
                port.shape, port.name
            )
        };
        usize::try_from(size)
            .ok()
            .or(open)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, &port.name, why()))
    });
    sizes.collect()
}

fn tensor(port: &PortOf, sizes: &[usize], random: &mut SmallRng) -> Result<Tensor> {
    let Some(dtype) = dtype(&port.datatype) else {
        let why = format!("{} is no datatype of the protocol", port.datatype);
        return Err(Error::dtype(&port.name, why));
    };
    let n_elements = sizes
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    let Some(n_elements) = n_elements.filter(|&n| n <= MAX_ELEMENTS) else {
        let why = format!("{sizes:?} has more than {MAX_ELEMENTS} elements");
        return Err(Error::new(ErrorKind::TooLarge, &port.name, why));
    };
    if dtype == DType::Str {
        return Tensor::from_strings(sizes, vec!["text".to_owned(); n_elements]);
    }
    let mut bytes = Vec::new();
    for _ in 0..n_elements {
        let part: f32 = random.random();
        let whole = (part * f32::from(MAX_WHOLE)) as u8;
        match dtype {
            DType::F32 => bytes.extend(part.to_le_bytes()),
            DType::F64 => bytes.extend(f64::from(part).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(part).to_le_bytes()),
            DType::BF16 => bytes.extend(bf16::from_f32(part).to_le_bytes()),
            DType::Bool => bytes.push(whole & 1),
            _ => {
                bytes.push(whole);
                bytes.resize(bytes.len() + dtype.bits() / 8 - 1, 0);
            }
        }
    }
    Tensor::from_bytes(dtype, sizes, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, datatype: &str, shape: &[i64]) -> PortOf {
        PortOf {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn every_datatype_has_random_elements() {
        for known in DType::all().filter_map(sentinel_inference::wire::datatype) {
            let ports = [port("x", known, &[-1, 3])];
            let inputs = random(&ports, &[], 7).unwrap();
            assert_eq!(inputs[0].1.sizes(), [1, 3], "{known}");
            assert_eq!(inputs, random(&ports, &[], 7).unwrap(), "{known}");
        }
    }

    #[test]
    fn whole_numbers_may_be_indices() {
        let inputs = random(&[port("x", "INT64", &[1000])], &[], 1).unwrap();
        let whole = inputs[0].1.to_i64s().unwrap();
        assert!(whole.iter().all(|x| (0..i64::from(MAX_WHOLE)).contains(x)));
    }

    #[test]
    fn open_sizes_must_be_said() {
        let ports = [port("x", "FP32", &[-1, -1])];
        assert!(random(&ports, &[], 0).is_err());
        let inputs = random(&ports, &[("x".into(), vec![2, 5])], 0).unwrap();
        assert_eq!(inputs[0].1.sizes(), [2, 5]);
        assert!(random(&ports, &[("y".into(), vec![2, 5])], 0).is_err());
        let huge = [("x".to_owned(), vec![1 << 40, 1 << 40])];
        assert_eq!(
            random(&ports, &huge, 0).unwrap_err().kind,
            ErrorKind::TooLarge
        );
    }
}
