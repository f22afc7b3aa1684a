//! How far two tensors are apart.

use crate::tensor::{Data, Tensor};

#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Elements with `|left - right| > atol + rtol * |right|`, or only one of them a finite number;
    /// all elements when types or shapes differ.
    pub n_off: usize,
    pub n_elems: usize,
    /// The largest `|left - right|` among the elements that are off, or among all where none is;
    /// infinite where only one of them is a finite number.
    pub max_abs: f64,
    /// Where that is.
    pub at: usize,
    pub left: f64,
    pub right: f64,
}

impl Difference {
    pub fn is_within(&self) -> bool {
        self.n_off == 0
    }
}

/// Compares element by element. NaNs and infinities are equal to their like.
pub fn difference(left: &Tensor, right: &Tensor, rtol: f64, atol: f64) -> Difference {
    let n_elems = left.len();
    let mut found = Difference {
        n_off: 0,
        n_elems,
        max_abs: 0.0,
        at: 0,
        left: 0.0,
        right: 0.0,
    };
    let same = left.dtype() == right.dtype() && left.sizes() == right.sizes();
    let (Some(lefts), Some(rights), true) = (numbers(left), numbers(right), same) else {
        let equal_strings = match (left.data(), right.data()) {
            (Data::Strings(left), Data::Strings(right)) => left == right,
            _ => false,
        };
        if !(same && equal_strings) {
            found.n_off = n_elems.max(1);
            found.max_abs = f64::INFINITY;
        }
        return found;
    };
    for (at, (&left, &right)) in lefts.iter().zip(&rights).enumerate() {
        if left == right || (left.is_nan() && right.is_nan()) {
            continue;
        }
        let apart = (left - right).abs();
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        // A tolerance relative to an infinity would let everything pass.
        let is_off = apart.is_infinite() || apart > atol + rtol * right.abs();
        if (is_off, apart) > (found.n_off > 0, found.max_abs) {
            (found.max_abs, found.at) = (apart, at);
            (found.left, found.right) = (left, right);
        }
        found.n_off += usize::from(is_off);
    }
    found
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let integers = || {
        tensor
            .to_i64s()
            .map(|all| all.iter().map(|&n| n as f64).collect())
    };
    tensor.to_f64s().or_else(integers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_distance_is_told_and_what_is_beyond_the_tolerance_counted() {
        let left = Tensor::vector(&[1.0_f32, 2.0, 3.5, f32::NAN]);
        let right = Tensor::vector(&[1.0_f32, 2.01, 3.0, f32::NAN]);
        let found = difference(&left, &right, 0.0, 0.1);
        assert_eq!((found.n_off, found.at, found.max_abs), (1, 2, 0.5));
        assert!(difference(&left, &left, 0.0, 0.0).is_within());
    }

    #[test]
    fn another_shape_or_type_is_off_everywhere() {
        let left = Tensor::vector(&[1_i64, 2]);
        assert_eq!(
            difference(&left, &Tensor::vector(&[1_i32, 2]), 0.0, 0.0).n_off,
            2
        );
        assert_eq!(
            difference(&left, &left.reshaped(&[2, 1]).unwrap(), 0.0, 0.0).n_off,
            2
        );
    }

    #[test]
    fn a_number_against_none_is_infinitely_far() {
        let one = Tensor::vector(&[1.0_f32]);
        for none in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let none = Tensor::vector(&[none]);
            for (left, right) in [(&none, &one), (&one, &none)] {
                for tolerance in [0.0, 1.0] {
                    let found = difference(left, right, tolerance, tolerance);
                    assert_eq!((found.n_off, found.max_abs), (1, f64::INFINITY));
                }
            }
        }
    }

    #[test]
    fn the_element_that_is_named_is_off_even_where_others_are_further_apart() {
        let left = Tensor::vector(&[1000.5_f32, 0.5, 0.25]);
        let right = Tensor::vector(&[1000.0_f32, 0.25, 0.375]);
        let found = difference(&left, &right, 0.01, 0.0);
        assert_eq!((found.n_off, found.at, found.max_abs), (2, 1, 0.25));
    }
}
