//! `Einsum`: products of the inputs' elements, summed over every index that the output does not
//! name, as an equation says: `"bij,bjk->bik"`.

use super::product::{Layout, Product};
use super::reduce_kernel::{self, Kind};
use super::{Attrs, Inputs, Op, OpDef, rules};
use crate::error::{Error, Result};
use crate::kernel::{Axes, Call, Dispatch, Refusal, collapse, dense_strides};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[rules::onnx(
    "Einsum",
    parse,
    &[
        "input a: f32[n, 2, k]\n input b: f32[n, k, 5]
         y = Einsum(a, b) {equation = \"bij, bjk -> bik\"}\n output y: f32[n, 2, 5]",
        "input a: f64[n, 1, 3, 4]\n input b: f64[7, 4, 5]
         y = Einsum(a, b) {equation = \"...ij,...jk->...ik\"}\n output y: f64[n, 7, 3, 5]",
        "input a: f32[2, 5, 3, 8]\n input b: f32[2, 7, 3, 8]
         y = Einsum(a, b) {equation = \"bqhd,bkhd->bhqk\"}\n output y: f32[2, 3, 5, 7]",
        "input a: f32[5, 6]\n input b: f32[4, 6, 7, 3]
         y = Einsum(a, b) {equation = \"xk,bkij->bixj\"}\n output y: f32[4, 7, 5, 3]",
        "input a: f32[2, 3, 4]\n y = Einsum(a) {equation = \"bij->jb\"}\n output y: f32[4, 2]",
        "input a: f32[3, 4]\n input b: f32[3, 4]\n y = Einsum(a, b) {equation = \"ij,ij->i\"}\n output y: f32[3]",
        "input a: f32[5]\n input b: f32[4]\n y = Einsum(a, b) {equation = \"i,j->ji\"}\n output y: f32[4, 5]",
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let y = walk(&self.output, &call.output_sizes(0));
        let terms: Vec<Vec<Walk>> = (0..self.terms.len())
            .map(|idx| walk(&self.terms[idx], &call.sizes(idx)))
            .collect();
        match terms.as_slice() {
            [x] => reduce(x, &y, call),
            [a, b] => product(a, b, &y, call),
            _ => Err("more than two factors have no kernel".into()),
        }
    }
}

/// One index of a term: its size, and the step from one element to the next.
#[derive(Clone, Copy)]
struct Walk {
    index: Index,
    size: usize,
    stride: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Index {
    Letter(char),
    /// Of the axes under `...`, from the last.
    Rest(usize),
}

/// The indices of a term over a dense tensor; a letter that comes twice walks a diagonal.
fn walk(term: &[Label], sizes: &[usize]) -> Vec<Walk> {
    let strides = dense_strides(sizes);
    let n_letters = term.iter().filter(|label| **label != Label::Rest).count();
    let n_rest = sizes.len() - n_letters;
    let indices = term.iter().flat_map(|label| match *label {
        Label::Letter(letter) => vec![Index::Letter(letter)],
        Label::Rest => (0..n_rest).rev().map(Index::Rest).collect(),
    });
    let mut walks: Vec<Walk> = Vec::new();
    for ((index, &size), stride) in indices.zip(sizes).zip(strides) {
        let stride = if size == 1 { 0 } else { stride };
        match walks.iter_mut().find(|walk| walk.index == index) {
            Some(walk) => {
                walk.size = walk.size.max(size);
                walk.stride += stride;
            }
            None => walks.push(Walk {
                index,
                size,
                stride,
            }),
        }
    }
    walks
}

fn find(walks: &[Walk], index: Index) -> Option<Walk> {
    walks.iter().copied().find(|walk| walk.index == index)
}

fn reduce(x: &[Walk], y: &[Walk], call: &Call) -> Result<Dispatch, Refusal> {
    let axes = |walks: &mut dyn Iterator<Item = Walk>| {
        let (sizes, strides) = walks.map(|walk| (walk.size, walk.stride)).unzip();
        let sizes: Vec<usize> = sizes;
        collapse(&sizes, &[strides])
    };
    let own = |of_y: &Walk| find(x, of_y.index).unwrap_or(Walk { stride: 0, ..*of_y });
    let is_summed = |walk: &Walk| find(y, walk.index).is_none();
    let kept: Axes = axes(&mut y.iter().map(own));
    let reduced: Axes = axes(&mut x.iter().copied().filter(is_summed));
    reduce_kernel::reduce(Kind::Sum, &kept, &reduced, call)
}

/// Indices of both and of y are a batch, those of both alone the sum, the others rows and columns.
fn product(a: &[Walk], b: &[Walk], y: &[Walk], call: &Call) -> Result<Dispatch, Refusal> {
    let stride = |walks: &[Walk], index: Index| find(walks, index).map_or(0, |walk| walk.stride);
    let strides = |index: Index| [a, b, y].map(|walks| stride(walks, index));
    let gather = |walks: &[Walk], is_in: &dyn Fn(Index) -> bool| {
        let chosen: Vec<Walk> = walks.iter().copied().filter(|w| is_in(w.index)).collect();
        let size = |walk: &Walk| {
            let sizes = [a, b].map(|walks| find(walks, walk.index).map_or(1, |walk| walk.size));
            sizes[0].max(sizes[1])
        };
        let sizes: Vec<usize> = chosen.iter().map(size).collect();
        let all = [0, 1, 2].map(|operand| {
            let of_operand = chosen.iter().map(|walk| strides(walk.index)[operand]);
            of_operand.collect::<Vec<usize>>()
        });
        collapse(&sizes, &all)
    };
    let has = |walks: &[Walk], index: Index| find(walks, index).is_some();
    let alone = |one: &[Walk], other: &[Walk]| {
        let mut walks = one.iter().map(|walk| walk.index);
        walks.any(|index| !has(other, index) && !has(y, index))
    };
    if alone(a, b) || alone(b, a) {
        return Err("a sum over one factor alone has no kernel".into());
    }
    let rows = gather(y, &|index| has(a, index) && !has(b, index));
    let cols = gather(y, &|index| has(b, index) && !has(a, index));
    let batch = gather(y, &|index| has(a, index) && has(b, index));
    let sums = gather(a, &|index| !has(y, index));
    if sums.rank() > 1 {
        return Err("sums over axes that lie apart have no kernel".into());
    }
    // The last axes of rows and columns make the matrices, those before them more of a batch.
    let last = |axes: &Axes, operand: usize| *axes.strides[operand].last().expect("there is one");
    let layout = |operand: usize, sizes: [usize; 2], strides: [usize; 2]| {
        let mut layout = Layout {
            sizes: Vec::new(),
            strides: Vec::new(),
        };
        for (axes, n_axes) in [
            (&batch, batch.rank()),
            (&rows, rows.rank() - 1),
            (&cols, cols.rank() - 1),
        ] {
            layout.sizes.extend(&axes.sizes[..n_axes]);
            layout.strides.extend(&axes.strides[operand][..n_axes]);
        }
        layout.sizes.extend(sizes);
        layout.strides.extend(strides);
        layout
    };
    let size = |axes: &Axes| *axes.sizes.last().expect("there is one");
    let (m, n, k) = (size(&rows), size(&cols), size(&sums));
    let a = layout(0, [m, k], [last(&rows, 0), last(&sums, 0)]);
    let b = layout(1, [k, n], [last(&sums, 1), last(&cols, 1)]);
    let y = layout(2, [m, n], [last(&rows, 2), last(&cols, 2)]);
    let (a, b) = ((call.input(0)?, &a), (call.input(1)?, &b));
    Ok(Product::strided(a, b, (call.output(0)?, &y)).dispatch(call))
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
