//! Several callers' inputs in one run: which may be joined along the axis of their rows, how, and how their outputs are
//! split again.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::passes::{Batch, Rows};
use crate::tensor::{DType, Data, Tensor};

/// Inputs or outputs by name, in any order.
pub type Named = Vec<(String, Tensor)>;

/// How the inputs of a model are joined and its outputs split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    mode: Mode,
    /// The axis of the rows; inputs that are not here are the same for a whole batch.
    inputs: HashMap<String, usize>,
    /// The axis of the rows; outputs that are not here are the same for a whole batch.
    outputs: HashMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any number of rows.
    Join,
    /// Always this many rows: the last one is repeated to fill them.
    Pad(usize),
    /// Each input runs by itself, for this reason.
    Alone(String),
}

/// What decides which inputs fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Equal for inputs that may be joined.
    pub key: Key,
    pub rows: usize,
}

/// Names, types and sizes without those of rows, and the elements of what a batch shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Vec<(String, DType, Vec<usize>, Vec<u8>)>);

/// Elements that a whole batch shares are compared up to this size.
const MAX_SHARED_BYTES: usize = 256;

impl Joining {
    pub fn of(rows: &Rows) -> Joining {
        let mode = match (&rows.joinable, &rows.batch) {
            (Err(why), _) | (Ok(()), Batch::None(why)) => Mode::Alone(why.clone()),
            (Ok(()), Batch::Symbol(_)) => Mode::Join,
            (Ok(()), Batch::Fixed(size)) => match usize::try_from(*size) {
                Ok(size) if size > 1 => Mode::Pad(size),
                _ => Mode::Alone("the model was made for a batch of one".into()),
            },
        };
        Joining {
            mode,
            inputs: rows_only(&rows.inputs),
            outputs: rows_only(&rows.outputs),
        }
    }

    pub fn alone(why: impl Into<String>) -> Joining {
        Joining {
            mode: Mode::Alone(why.into()),
            inputs: HashMap::new(),
            outputs: HashMap::new(),
        }
    }

    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What has to be equal to be joined with `feeds`; `None` for what runs by itself.
    pub fn signature(&self, feeds: &[(String, Tensor)]) -> Option<Signature> {
        if matches!(self.mode, Mode::Alone(_)) {
            return None;
        }
        let mut rows = None;
        let mut parts = Vec::with_capacity(feeds.len());
        for (name, tensor) in feeds {
            if !has_rows_of_bytes(tensor) {
                return None;
            }
            let mut sizes = tensor.sizes().to_vec();
            let Some(&axis) = self.inputs.get(name) else {
                if tensor.bytes().len() > MAX_SHARED_BYTES {
                    return None;
                }
                parts.push((name.clone(), tensor.dtype(), sizes, tensor.bytes().to_vec()));
                continue;
            };
            let size = std::mem::take(sizes.get_mut(axis)?);
            if size == 0 || rows.is_some_and(|rows| rows != size) {
                return None;
            }
            rows = Some(size);
            parts.push((name.clone(), tensor.dtype(), sizes, Vec::new()));
        }
        parts.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let is_named_twice = parts.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let rows = rows.filter(|_| !is_named_twice)?;
        if matches!(self.mode, Mode::Pad(size) if rows > size) {
            return None;
        }
        Some(Signature {
            key: Key(parts),
            rows,
        })
    }

    /// One set of feeds from several of the same signature. A single one is joined too: its rows may have to be filled up.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn join(&self, parts: &[Named]) -> Result<Named> {
        let Some(first) = parts.first() else {
            return Ok(Named::new());
        };
        let joined = first.iter().map(|(name, tensor)| {
            let Some(&axis) = self.inputs.get(name) else {
                return Ok((name.clone(), tensor.clone()));
            };
            let all: Vec<&Tensor> = parts.iter().map(|part| named(part, name)).collect();
            Ok((name.clone(), self.join_along(axis, &all)?))
        });
        joined.collect()
    }

    /// The outputs of each caller: `rows` has the rows of each, in their order. They share the memory of the batch
    /// where they lie in it in one piece.
    ///
    /// # Errors
    /// `INTERNAL` for an output that has other rows than was proved.
    pub fn split(&self, outputs: Named, rows: &[usize]) -> Result<Vec<Named>> {
        let expected = match self.mode {
            Mode::Pad(size) => size,
            Mode::Join | Mode::Alone(_) if rows.len() == 1 => return Ok(vec![outputs]),
            Mode::Join | Mode::Alone(_) => rows.iter().sum(),
        };
        let mut parts: Vec<Named> = rows.iter().map(|_| Named::new()).collect();
        for (name, output) in outputs {
            let Some(&axis) = self.outputs.get(&name) else {
                for part in &mut parts {
                    part.push((name.clone(), output.clone()));
                }
                continue;
            };
            if output.sizes().get(axis) != Some(&expected) || !has_rows_of_bytes(&output) {
                let (dtype, sizes) = (output.dtype(), output.sizes());
                let why =
                    format!("expected {expected} rows along axis {axis}, got {dtype}{sizes:?}");
                return Err(Error::internal(format!("output {name}"), why));
            }
            let mut from = 0;
            for (part, &count) in parts.iter_mut().zip(rows) {
                part.push((name.clone(), cut(&output, axis, from, count)?));
                from += count;
            }
        }
        Ok(parts)
    }

    fn join_along(&self, axis: usize, parts: &[&Tensor]) -> Result<Tensor> {
        let given: usize = parts.iter().map(|part| part.sizes()[axis]).sum();
        let n = match self.mode {
            Mode::Pad(size) => size,
            Mode::Join | Mode::Alone(_) => given,
        };
        if let [only] = parts
            && n == given
        {
            return Ok((*only).clone());
        }
        let (outer, row_bytes) = blocks(parts[0], axis);
        let size_bytes = outer.checked_mul(n).and_then(|n| n.checked_mul(row_bytes));
        let mut joined: Vec<u8> = Vec::new();
        let is_reserved = size_bytes.is_some_and(|size| joined.try_reserve_exact(size).is_ok());
        if !is_reserved {
            let why = format!("no memory for {n} rows of {} bytes", outer * row_bytes);
            return Err(Error::new(ErrorKind::OutOfMemory, "batch", why));
        }
        for block in 0..outer {
            for part in parts {
                let bytes = part.sizes()[axis] * row_bytes;
                joined.extend_from_slice(&part.bytes()[block * bytes..][..bytes]);
            }
            for _ in given..n {
                joined.extend_from_within(joined.len() - row_bytes..);
            }
        }
        let mut sizes = parts[0].sizes().to_vec();
        sizes[axis] = n;
        Tensor::from_bytes(parts[0].dtype(), &sizes, joined)
    }
}

fn rows_only(axes: &[(String, Option<usize>)]) -> HashMap<String, usize> {
    let carried = axes
        .iter()
        .filter_map(|(name, axis)| Some((name.clone(), (*axis)?)));
    carried.collect()
}

fn named<'a>(feeds: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    let found = feeds.iter().find(|(known, _)| known == name);
    &found.expect("feeds of one signature have the same names").1
}

/// Not so for strings, and for elements of less than a byte.
fn has_rows_of_bytes(tensor: &Tensor) -> bool {
    let bits = tensor.dtype().bits();
    bits > 0 && bits.is_multiple_of(8)
}

/// How many blocks of rows there are, and the bytes of a row in one of them.
fn blocks(tensor: &Tensor, axis: usize) -> (usize, usize) {
    let outer = tensor.sizes()[..axis].iter().product();
    let n_rows = outer * tensor.sizes()[axis];
    (outer, tensor.bytes().len().checked_div(n_rows).unwrap_or(0))
}

/// Rows `from` to `from + count`.
fn cut(output: &Tensor, axis: usize, from: usize, count: usize) -> Result<Tensor> {
    let Data::Bytes(bytes) = output.data() else {
        unreachable!("it has rows of bytes");
    };
    let (outer, row_bytes) = blocks(output, axis);
    let block_bytes = output.sizes()[axis] * row_bytes;
    let mut sizes = output.sizes().to_vec();
    sizes[axis] = count;
    let part = |block: usize| {
        let start = block * block_bytes + from * row_bytes;
        start..start + count * row_bytes
    };
    if outer == 1 {
        return Tensor::from_bytes(output.dtype(), &sizes, bytes.slice(part(0)));
    }
    let mut rows = Vec::with_capacity(outer * count * row_bytes);
    for block in 0..outer {
        rows.extend_from_slice(&bytes[part(block)]);
    }
    Tensor::from_bytes(output.dtype(), &sizes, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `x` along axis 0 and of `s` along axis 1; `k` is shared. Outputs alike.
    fn rows(batch: Batch) -> Rows {
        let axes = |names: [&str; 3]| {
            let axes = [Some(0), Some(1), None];
            let named = names.into_iter().zip(axes);
            named.map(|(name, axis)| (name.to_owned(), axis)).collect()
        };
        Rows {
            inputs: axes(["x", "s", "k"]),
            outputs: axes(["y", "t", "c"]),
            batch,
            joinable: Ok(()),
        }
    }

    fn symbol() -> Joining {
        Joining::of(&rows(Batch::Symbol("n".into())))
    }

    /// `n` rows of two columns that count up from `from`, in two blocks for `s`.
    fn feeds(n: usize, from: i32) -> Named {
        let count = (from..).take(2 * n);
        let x = Tensor::from_vec(&[n, 2], count.clone().map(|x| x as f32).collect());
        let s = Tensor::from_vec(&[2, n], count.collect::<Vec<i32>>());
        let named = [
            ("x", x.unwrap()),
            ("s", s.unwrap()),
            ("k", Tensor::vector(&[7_i64])),
        ];
        named.map(|(name, tensor)| (name.to_owned(), tensor)).into()
    }

    fn with(mut feeds: Named, name: &str, tensor: Tensor) -> Named {
        feeds
            .iter_mut()
            .find(|(known, _)| known == name)
            .expect("it is there")
            .1 = tensor;
        feeds
    }

    fn zeros(dtype: DType, sizes: &[usize]) -> Tensor {
        let size_bytes = dtype.size_bytes(sizes.iter().product()).unwrap();
        Tensor::from_bytes(dtype, sizes, vec![0; size_bytes]).unwrap()
    }

    #[test]
    fn the_batch_of_a_model_decides_how_inputs_are_joined() {
        let why = "Softmax: axis 0";
        let mixing = Rows {
            joinable: Err(why.into()),
            ..rows(Batch::Symbol("n".into()))
        };
        let alone = |why: &str| Mode::Alone(why.to_owned());
        for (rows, mode) in [
            (rows(Batch::Symbol("n".into())), Mode::Join),
            (rows(Batch::Fixed(4)), Mode::Pad(4)),
            (
                rows(Batch::Fixed(1)),
                alone("the model was made for a batch of one"),
            ),
            (mixing, alone(why)),
        ] {
            assert_eq!(*Joining::of(&rows).mode(), mode);
        }
    }

    #[test]
    fn only_rows_and_the_order_of_names_may_differ_in_a_batch() {
        let joining = symbol();
        let key = |feeds: Named| joining.signature(&feeds).expect("it can be joined").key;
        let known = key(feeds(1, 0));
        assert_eq!(key(feeds(3, 5)), known);
        assert_eq!(key(feeds(1, 0).into_iter().rev().collect()), known);
        for other in [
            with(feeds(1, 0), "k", Tensor::vector(&[8_i64])),
            with(feeds(1, 0), "k", Tensor::vector(&[7_i64, 7])),
            with(feeds(1, 0), "k", Tensor::vector(&[7_u64])),
            with(feeds(1, 0), "x", zeros(DType::F32, &[1, 3])),
            with(feeds(1, 0), "x", zeros(DType::F32, &[1, 2, 1])),
            with(feeds(1, 0), "x", zeros(DType::I32, &[1, 2])),
            feeds(1, 0).into_iter().take(2).collect(),
        ] {
            assert_ne!(key(other.clone()), known, "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_joined_runs_alone() {
        let joining = symbol();
        let mut twice = feeds(1, 0);
        twice.push(twice[0].clone());
        for other in [
            with(feeds(1, 0), "x", zeros(DType::F32, &[0, 2])),
            with(feeds(1, 0), "x", zeros(DType::F32, &[2, 2])),
            with(feeds(1, 0), "s", zeros(DType::I32, &[1])),
            with(feeds(1, 0), "k", zeros(DType::U8, &[257])),
            with(feeds(1, 0), "k", zeros(DType::I4, &[2])),
            with(
                feeds(1, 0),
                "x",
                Tensor::from_strings(&[1], vec![String::new()]).unwrap(),
            ),
            feeds(1, 0).into_iter().skip(2).collect(),
            twice,
        ] {
            assert_eq!(joining.signature(&other), None, "{other:?}");
        }
        let padding = Joining::of(&rows(Batch::Fixed(4)));
        assert_eq!(
            padding.signature(&feeds(4, 0)).map(|known| known.rows),
            Some(4)
        );
        assert_eq!(padding.signature(&feeds(5, 0)), None);
        assert_eq!(Joining::alone("").signature(&feeds(1, 0)), None);
    }

    #[test]
    fn joined_feeds_have_the_rows_of_each_in_order() {
        let joined = symbol().join(&[feeds(1, 0), feeds(2, 10)]).unwrap();
        let x = Tensor::from_vec(&[3, 2], vec![0.0_f32, 1.0, 10.0, 11.0, 12.0, 13.0]).unwrap();
        let s = Tensor::from_vec(&[2, 3], vec![0, 10, 11, 1, 12, 13]).unwrap();
        let expected = with(with(feeds(1, 0), "x", x), "s", s);
        assert_eq!(joined, expected);
    }

    #[test]
    fn the_last_row_fills_a_batch_of_a_fixed_size() {
        let padding = Joining::of(&rows(Batch::Fixed(4)));
        let joined = padding.join(&[feeds(1, 0), feeds(1, 10)]).unwrap();
        assert_eq!(
            joined[0].1.elements::<f32>().unwrap()[2..],
            [10., 11., 10., 11., 10., 11.]
        );
        assert_eq!(
            joined[1].1.to_i64s().unwrap(),
            [0, 10, 10, 10, 1, 11, 11, 11]
        );
    }

    #[test]
    fn what_was_joined_is_split_into_what_it_was() {
        let outputs = |feeds: Named| {
            let names = ["y", "t", "c"].map(str::to_owned);
            names
                .into_iter()
                .zip(feeds.into_iter().map(|(_, x)| x))
                .collect::<Named>()
        };
        for joining in [symbol(), Joining::of(&rows(Batch::Fixed(8)))] {
            let parts = [feeds(1, 0), feeds(3, 10), feeds(2, 20)];
            let joined = outputs(joining.join(&parts).unwrap());
            let split = joining.split(joined, &[1, 3, 2]).unwrap();
            assert_eq!(split, parts.map(outputs));
        }
    }

    #[test]
    fn other_rows_than_were_proved_are_refused() {
        for (joining, expected) in [(symbol(), 3), (Joining::of(&rows(Batch::Fixed(8))), 8)] {
            let outputs = vec![("y".to_owned(), zeros(DType::F32, &[4, 2]))];
            let error = joining.split(outputs, &[1, 2]).unwrap_err();
            let why = format!("output y: expected {expected} rows along axis 0, got f32[4, 2]");
            assert_eq!((error.kind, error.to_string()), (ErrorKind::Internal, why));
        }
    }

    #[test]
    fn a_batch_of_impossible_size_is_refused() {
        let padding = Joining::of(&rows(Batch::Fixed(i64::MAX)));
        let error = padding.join(&[feeds(1, 0)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
    }
}
