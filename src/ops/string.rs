//! Strings: cleaning, joining, splitting and matching them, and counting n-grams.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "StringNormalizer",
        |_, _| Ok(Box::new(Normalizer)),
        &["input x: str[1, 4]\n y = StringNormalizer(x)\n output y: str[1, ?]"],
    ),
    rules::onnx(
        "StringConcat",
        |_, _| Ok(Box::new(Concat)),
        &["input a: str[n, 1]\n input b: str[4]\n y = StringConcat(a, b)\n output y: str[n, 4]"],
    ),
    rules::onnx(
        "StringSplit",
        |_, _| Ok(Box::new(Split)),
        &["input x: str[n, 2]\n y, k = StringSplit(x)\n output y: str[n, 2, ?]\n output k: i64[n, 2]"],
    ),
    rules::onnx(
        "RegexFullMatch",
        |_, _| Ok(Box::new(Match)),
        &["input x: str[n, 2]\n y = RegexFullMatch(x) {pattern = \"a+\"}\n output y: bool[n, 2]"],
    ),
    rules::onnx(
        "TfIdfVectorizer",
        tf_idf,
        &["input x: i64[n, 12]
           y = TfIdfVectorizer(x) {mode = \"TF\", ngram_indexes = [0, 4, 2], ngram_counts = [0], pool_int64s = [2, 3, 5], min_gram_length = 1, max_gram_length = 1, max_skip_count = 0}
           output y: f32[n, 5]"],
    ),
];

/// The fact of an input that must hold strings.
fn strings<'a>(inputs: &Inputs<'a>, idx: usize) -> Result<&'a Fact> {
    let fact = rules::tensor(inputs, idx)?;
    rules::expect_dtype(inputs, idx, |dtype| dtype == DType::Str, "str")?;
    Ok(fact)
}

/// x: [n] or [1, n] -> [k] or [1, k]: stop words are left out.
struct Normalizer;

impl Op for Normalizer {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let mut shape = strings(inputs, 0)?.shape.clone();
        if let Some(shape) = &mut shape {
            let row = shape.rank() == 2 && shape[0].value().is_none_or(|rows| rows == 1);
            if shape.rank() != 1 && !row {
                let why = format!("x is {shape}, expected [n] or [1, n]");
                return Err(Error::shape("", why));
            }
            let last = shape.rank() - 1;
            shape.0[last] = Dim::Unknown;
        }
        Ok(vec![rules::fact(Some(DType::Str), shape)])
    }
}

struct Concat;

impl Op for Concat {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        strings(inputs, 0)?;
        strings(inputs, 1)?;
        let shape = rules::broadcast_inputs(inputs, [0, 1])?;
        Ok(vec![rules::fact(Some(DType::Str), shape)])
    }
}

/// x: [d..] -> parts [d.., most parts], and how many each has [d..].
struct Split;

impl Op for Split {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = strings(inputs, 0)?;
        let mut parts = x.shape.clone();
        if let Some(parts) = &mut parts {
            parts.0.push(Dim::Unknown);
        }
        Ok(vec![
            rules::fact(Some(DType::Str), parts),
            rules::fact(Some(DType::I64), x.shape.clone()),
        ])
    }
}

struct Match;

impl Op for Match {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = strings(inputs, 0)?;
        Ok(vec![rules::fact(Some(DType::Bool), x.shape.clone())])
    }
}

/// x: [n] or [rows, n] -> [k] or [rows, k], with a column for each n-gram of the pool.
struct TfIdf {
    n_columns: i64,
}

fn tf_idf(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let columns = check::counts(attrs, "ngram_indexes", 0)?;
    let last = rules::required(columns.into_iter().max(), "ngram_indexes")?;
    Ok(Box::new(TfIdf {
        n_columns: last + 1,
    }))
}

impl Op for TfIdf {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let mut shape = rules::tensor(inputs, 0)?.shape.clone();
        if let Some(shape) = &mut shape {
            if !matches!(shape.rank(), 1 | 2) {
                return Err(Error::shape(
                    "",
                    format!("x is {shape}, expected rank 1 or 2"),
                ));
            }
            let last = shape.rank() - 1;
            shape.0[last] = self.n_columns.into();
        }
        Ok(vec![rules::fact(Some(DType::F32), shape)])
    }
}
