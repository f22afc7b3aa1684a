//! How far tensors are from what they should be.

use sentinel_inference::tensor::{Data, Tensor};

/// What differs: types, shapes, or an element with `|got - want| > atol + rtol * |want|`.
pub fn difference(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    if got.dtype() != want.dtype() || got.sizes() != want.sizes() {
        let show = |tensor: &Tensor| format!("{}{:?}", tensor.dtype(), tensor.sizes());
        return Some(format!("got {}, want {}", show(got), show(want)));
    }
    if let (Data::Strings(got), Data::Strings(want)) = (got.data(), want.data()) {
        return (got != want).then(|| format!("got {got:?}, want {want:?}"));
    }
    if let (Some(got), Some(want)) = (got.to_f64s(), want.to_f64s()) {
        let off = |(got, want): (&f64, &f64)| {
            let close = (got - want).abs() <= atol + rtol * want.abs();
            got != want && !close && !(got.is_nan() && want.is_nan())
        };
        let idx = got.iter().zip(&want).position(off)?;
        return Some(format!(
            "element {idx}: got {}, want {}",
            got[idx], want[idx]
        ));
    }
    if let (Some(got), Some(want)) = (got.to_i64s(), want.to_i64s()) {
        let idx = got.iter().zip(&want).position(|(got, want)| got != want)?;
        return Some(format!(
            "element {idx}: got {}, want {}",
            got[idx], want[idx]
        ));
    }
    (got.bytes() != want.bytes()).then(|| "other bytes".to_owned())
}
