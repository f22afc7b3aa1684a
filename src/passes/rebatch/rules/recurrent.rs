//! Recurrent layers: sequences of items.

use super::super::site::{Site, Verdict};

/// x: [steps, batch, features], states: [directions, batch, hidden]; with `layout = 1` the batch
/// comes first.
pub(super) fn recurrent(site: &Site) -> Verdict {
    let x = site.need(0)?;
    let (batch, out_batch) = match site.int("layout", 0) {
        0 => (1, 2),
        _ => (0, 0),
    };
    if x.axis != batch {
        return Err(format!("axis {} of its input is no batch", x.axis));
    }
    for (idx, axis) in [(4, 0), (5, batch), (6, batch)] {
        if site.has(idx) && site.place(idx) != Some(x.moved(axis)) {
            return Err(format!("input {idx} has not as many rows as the sequences"));
        }
    }
    Ok(vec![x.moved(out_batch), x.moved(batch), x.moved(batch)])
}
