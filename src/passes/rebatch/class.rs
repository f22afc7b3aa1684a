//! What a value is to the rows of a batch.

use std::collections::HashMap;
use std::rc::Rc;

use crate::graph::{Graph, Source, ValueId};
use crate::tensor::Dim;

/// How a value depends on the inputs that carry rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Class {
    /// It is the same whatever the rows are and however many.
    Shared,
    Rows(Place, Content),
    /// Integers that follow from the number of rows; its fact says which.
    Extent,
    /// A row of it depends on other rows; why.
    Mixed(Rc<str>),
}

/// Where rows are: index `(o * n_rows + row) * inner + i` of an axis belongs to a row, for every
/// `o` below `outer` and `i` below `inner`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub axis: usize,
    pub outer: Product,
    pub inner: Product,
}

/// What a row of a value is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The same row of the inputs, in the same way for every row.
    Row,
    /// Every element is the number of its row.
    Number,
    /// Along the last axis, the number of the row comes before what is made from the row.
    NumberFirst,
    /// The row and its number: nothing that may leave the model.
    Numbered,
}

impl Place {
    pub fn plain(axis: usize) -> Place {
        Place {
            axis,
            outer: Product::one(),
            inner: Product::one(),
        }
    }

    pub fn moved(&self, axis: usize) -> Place {
        Place {
            axis,
            ..self.clone()
        }
    }

    /// True where each index of the axis is a row.
    pub fn is_plain(&self) -> bool {
        self.outer.is_one() && self.inner.is_one()
    }
}

/// A product of sizes, whatever the order of its factors.
#[derive(Clone, Debug)]
pub(super) struct Product {
    number: i64,
    rest: Vec<Dim>,
}

impl Product {
    pub fn one() -> Product {
        Product {
            number: 1,
            rest: Vec::new(),
        }
    }

    /// `None` where a factor is unknown, zero or negative.
    pub fn of(dims: &[Dim]) -> Option<Product> {
        let mut product = Product::one();
        for factor in dims.iter().flat_map(Dim::factors) {
            match factor {
                Dim::Unknown => return None,
                Dim::Size(n) if n < 1 => return None,
                Dim::Size(n) => product.number = product.number.checked_mul(n)?,
                factor => product.rest.push(factor),
            }
        }
        Some(product)
    }

    pub fn times(mut self, other: &Product) -> Option<Product> {
        self.number = self.number.checked_mul(other.number)?;
        self.rest.extend(other.rest.iter().cloned());
        Some(self)
    }

    /// `None` where the quotient is not known to be whole.
    pub fn over(mut self, other: &Product) -> Option<Product> {
        if self.number % other.number != 0 {
            return None;
        }
        self.number /= other.number;
        for factor in &other.rest {
            let idx = self.rest.iter().position(|each| each == factor)?;
            self.rest.swap_remove(idx);
        }
        Some(self)
    }

    pub fn dim(&self) -> Dim {
        let number = Dim::Size(self.number);
        self.rest.iter().fold(number, |product, dim| &product * dim)
    }

    pub fn is_one(&self) -> bool {
        self.number == 1 && self.rest.is_empty()
    }
}

impl PartialEq for Product {
    fn eq(&self, other: &Product) -> bool {
        let quotient = self.clone().over(other);
        quotient.is_some_and(|quotient| quotient.is_one())
    }
}

/// The classes of the values of one graph.
#[derive(Default)]
pub(super) struct Classes(HashMap<ValueId, Class>);

impl Classes {
    pub fn set(&mut self, value: ValueId, class: Class) {
        self.0.insert(value, class);
    }

    pub fn of(&self, graph: &Graph, value: ValueId) -> Class {
        match (self.0.get(&value), &graph.value(value).source) {
            (_, Source::Constant(_)) => Class::Shared,
            (Some(class), _) => class.clone(),
            (None, _) => Class::Mixed("nothing makes the value".into()),
        }
    }
}

/// True when the number of rows is part of a size.
pub(super) fn mentions(dim: &Dim, batch: &str) -> bool {
    dim.bind(&|name| (name == batch).then_some(1)) != *dim
}
