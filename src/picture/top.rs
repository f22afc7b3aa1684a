//! The best classes of a classifier's output.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Probabilities add up to 1 within this much.
const SUM_TOLERANCE: f64 = 1e-2;

/// A class and how a model rates it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    pub index: usize,
    /// What the model gave.
    pub value: f64,
    /// `value` where the model gives probabilities, else its share after a softmax.
    pub probability: f64,
}

/// The `count` best classes, best first.
///
/// scores: numbers [.., c], all axes before the last of size 1.
///
/// # Errors
/// `DTYPE_MISMATCH` or `SHAPE_MISMATCH` for other scores.
pub fn top(scores: &Tensor, count: usize) -> Result<Vec<Ranked>> {
    let integers = || {
        let widened = scores.to_i64s()?.into_iter().map(|n| n as f64);
        Some(widened.collect())
    };
    let values: Vec<f64> = scores
        .to_f64s()
        .or_else(integers)
        .ok_or_else(|| Error::dtype("scores", format!("{} are no numbers", scores.dtype())))?;
    let is_one_row = match scores.sizes() {
        [before @ .., _] => before.iter().all(|&size| size == 1),
        [] => false,
    };
    if !is_one_row {
        let why = format!("they are {:?}, expected [1, c]", scores.sizes());
        return Err(Error::shape("scores", why));
    }

    let numbers = || values.iter().copied().filter(|value| !value.is_nan());
    let in_range = numbers().all(|value| (0.0..=1.0).contains(&value));
    let is_probability = in_range && (numbers().sum::<f64>() - 1.0).abs() < SUM_TOLERANCE;
    let highest = numbers().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = numbers().map(|value| (value - highest).exp()).sum();
    let share = |value: f64| {
        if is_probability {
            value
        } else {
            (value - highest).exp() / total
        }
    };
    let rank = |(index, &value): (usize, &f64)| Ranked {
        index,
        value,
        probability: share(value),
    };
    let mut ranked: Vec<Ranked> = values.iter().enumerate().map(rank).collect();
    ranked.retain(|ranked| !ranked.value.is_nan());
    // A stable sort: the lower index goes first among equals.
    ranked.sort_by(|a, b| b.value.total_cmp(&a.value));
    ranked.truncate(count);
    Ok(ranked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn logits_become_shares() {
        let ranked = top(&Tensor::vector(&[0.0_f32, 3.0_f32.ln(), -1e30]), 2).unwrap();
        let indices: Vec<usize> = ranked.iter().map(|ranked| ranked.index).collect();
        assert_eq!(indices, [1, 0]);
        assert!((ranked[0].probability - 0.75).abs() < 1e-6, "{ranked:?}");
        assert!((ranked[1].probability - 0.25).abs() < 1e-6, "{ranked:?}");
    }

    #[test]
    fn probabilities_stay_as_they_are() {
        let scores = Tensor::from_vec(&[1, 1, 3], vec![0.2_f32, 0.7, 0.1]).unwrap();
        let best = top(&scores, 1).unwrap()[0];
        assert_eq!((best.index, best.probability), (1, best.value));
    }

    #[test]
    fn equals_keep_their_order_and_nothing_beats_a_number() {
        let ranked = top(&Tensor::vector(&[f32::NAN, 2.0, 2.0]), 9).unwrap();
        let indices: Vec<usize> = ranked.iter().map(|ranked| ranked.index).collect();
        assert_eq!(indices, [1, 2]);
        assert_eq!(top(&Tensor::vector(&[3_u8, 9]), 1).unwrap()[0].index, 1);
    }

    #[test]
    fn other_scores_are_refused() {
        let refused = |scores: &Tensor| top(scores, 1).unwrap_err().kind;
        let two_rows = Tensor::from_vec(&[2, 2], vec![0.0_f32; 4]).unwrap();
        assert_eq!(refused(&two_rows), ErrorKind::ShapeMismatch);
        assert_eq!(refused(&Tensor::scalar(1.0_f32)), ErrorKind::ShapeMismatch);
        let words = Tensor::from_strings(&[1], vec!["a".into()]).unwrap();
        assert_eq!(refused(&words), ErrorKind::DtypeMismatch);
    }
}
