//! `Einsum`: products of the inputs' elements, summed over every index that the output does not
//! name, as an equation says: `"bij,bjk->bik"`.

use super::{Attrs, Inputs, Op, OpDef, rules};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[rules::onnx(
    "Einsum",
    parse,
    &[
        "input a: f32[n, 2, k]\n input b: f32[n, k, 5]
         y = Einsum(a, b) {equation = \"bij, bjk -> bik\"}\n output y: f32[n, 2, 5]",
        "input a: f64[n, 1, 3, 4]\n input b: f64[7, 4, 5]
         y = Einsum(a, b) {equation = \"...ij,...jk->...ik\"}\n output y: f64[n, 7, 3, 5]",
        // Without an arrow: labels that come once, in alphabetical order.
        "input a: i64[2, 3]\n y = Einsum(a) {equation = \"ba\"}\n output y: i64[3, 2]",
        "input a: f32[3, 3]\n y = Einsum(a) {equation = \"ii\"}\n output y: f32[]",
        "input a: f32\n input b: f32[4]\n y = Einsum(a, b) {equation = \"ij,j->ji\"}\n output y: f32[4, ?]",
    ],
)];

struct Einsum {
    terms: Vec<Vec<Label>>,
    output: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// `...`: all axes that have no letter.
    Rest,
    Letter(char),
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let equation = rules::required(attrs.str("equation"), "equation")?;
    let plain: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match plain.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&*plain, None),
    };
    let malformed = || Error::parse("", format!("equation {equation:?} cannot be read"));
    let terms: Option<Vec<Vec<Label>>> = left.split(',').map(labels).collect();
    let terms = terms.ok_or_else(malformed)?;
    let output = match right {
        Some(right) => labels(right).ok_or_else(malformed)?,
        None => implied(&terms),
    };
    for (idx, label) in output.iter().enumerate() {
        let known = terms.iter().any(|term| term.contains(label));
        if output[..idx].contains(label) || (!known && *label != Label::Rest) {
            return Err(malformed());
        }
    }
    Ok(Box::new(Einsum { terms, output }))
}

/// The labels of one term, with at most one `...`.
fn labels(term: &str) -> Option<Vec<Label>> {
    let mut labels = Vec::new();
    let mut left = term;
    while let Some(c) = left.chars().next() {
        if let Some(after) = left.strip_prefix("...") {
            if labels.contains(&Label::Rest) {
                return None;
            }
            labels.push(Label::Rest);
            left = after;
        } else if c.is_ascii_alphabetic() {
            labels.push(Label::Letter(c));
            left = &left[1..];
        } else {
            return None;
        }
    }
    Some(labels)
}

/// The output of an equation without an arrow: `...` if there is one, then the letters that come
/// once.
fn implied(terms: &[Vec<Label>]) -> Vec<Label> {
    let mut all: Vec<Label> = terms.iter().flatten().copied().collect();
    all.sort();
    let runs = all.chunk_by(|a, b| a == b);
    runs.filter(|run| run.len() == 1 || run[0] == Label::Rest)
        .map(|run| run[0])
        .collect()
}

impl Op for Einsum {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let n_inputs = inputs.facts.len();
        if n_inputs != self.terms.len() {
            let why = format!(
                "the equation is for {} inputs, not {n_inputs}",
                self.terms.len()
            );
            return Err(Error::shape("", why));
        }
        let dtype = rules::same_dtype(inputs, 0..n_inputs)?;
        let mut sizes: Vec<(char, Dim)> = Vec::new();
        let mut rest = Some(Shape::scalar());
        for (idx, term) in self.terms.iter().enumerate() {
            let Some(shape) = &rules::tensor(inputs, idx)?.shape else {
                if term.contains(&Label::Rest) {
                    rest = None;
                }
                continue;
            };
            let own_rest = bind(term, shape, &mut sizes)?;
            rest = rest
                .map(|rest| rules::broadcast(&rest, &own_rest))
                .transpose()?;
        }
        let mut y = Vec::new();
        for label in &self.output {
            match (label, &rest) {
                (Label::Rest, Some(rest)) => y.extend(rest.iter().cloned()),
                (Label::Rest, None) => return Ok(vec![rules::fact(dtype, None)]),
                (Label::Letter(letter), _) => {
                    let size = sizes.iter().find(|(known, _)| known == letter);
                    y.push(size.map_or(Dim::Unknown, |(_, size)| size.clone()));
                }
            }
        }
        Ok(vec![rules::fact(dtype, Some(Shape(y)))])
    }
}

/// Notes the size of each letter of a term; gives the axes under `...`.
///
/// # Errors
/// `SHAPE_MISMATCH` when the rank is not the term's, or a letter has two sizes other than 1.
fn bind(term: &[Label], shape: &Shape, sizes: &mut Vec<(char, Dim)>) -> Result<Shape> {
    let n_letters = term.iter().filter(|label| **label != Label::Rest).count();
    let has_rest = n_letters < term.len();
    if shape.rank() < n_letters || (shape.rank() > n_letters && !has_rest) {
        let why = format!("{shape} is not for {n_letters} letters of the equation");
        return Err(Error::shape("", why));
    }
    let mut axes = shape.iter();
    let mut rest = Shape::scalar();
    for label in term {
        let Label::Letter(letter) = *label else {
            rest = axes
                .by_ref()
                .take(shape.rank() - n_letters)
                .cloned()
                .collect();
            continue;
        };
        let size = axes.next().expect("the rank is that of the term");
        match sizes.iter_mut().find(|(known, _)| *known == letter) {
            None => sizes.push((letter, size.clone())),
            Some((_, known)) if *known == Dim::Size(1) => *known = size.clone(),
            Some(_) if *size == Dim::Size(1) => {}
            Some((_, known)) => {
                let differ = || Error::shape("", format!("sizes of {letter}: {known} and {size}"));
                *known = rules::unify(known, size).ok_or_else(differ)?;
            }
        }
    }
    Ok(rest)
}
