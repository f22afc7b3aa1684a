//! Attention: every sequence on its own, the batch first.

use super::super::site::{Site, Verdict};

pub(super) const MICROSOFT: &[&str] = &[
    "com.microsoft::Attention",
    "com.microsoft::MultiHeadAttention",
];

/// Queries, keys and values carry rows; a mask is broadcast to [batch, heads, queries, keys].
pub(super) fn attention(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if place.axis != 0 || !place.is_plain() {
        return Err("its queries have their rows elsewhere than first".into());
    }
    for idx in 0..site.node.inputs.len() {
        let fits = match idx {
            _ if !site.has(idx) => continue,
            3 => {
                site.expect_fit(3, &place, 4)?;
                continue;
            }
            _ => site.place(idx),
        };
        if fits.as_ref() != Some(&place) {
            return Err(format!("input {idx} has not as many rows as the queries"));
        }
    }
    Ok(vec![place])
}

/// Weights and biases are the same for all, and so may be a mask of one item.
pub(super) fn microsoft(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if place.axis != 0 || !place.is_plain() {
        return Err("its sequences have their rows elsewhere than first".into());
    }
    let (shared, carriers): (&[usize], &[usize]) = match &*site.node.op.name {
        "Attention" => (&[1, 2], &[3]),
        _ => (&[3], &[1, 2, 4]),
    };
    for idx in 1..site.node.inputs.len() {
        let fits = match idx {
            _ if !site.has(idx) => true,
            _ if shared.contains(&idx) => site.place(idx).is_none(),
            // Of a vector the engine of the model may expect ends of sequences, or two numbers each.
            _ if carriers.contains(&idx) => {
                site.place(idx) == Some(place.clone()) && site.rank(idx)? > 1
            }
            _ => false,
        };
        if !fits {
            return Err(format!("no rule for its input {idx}"));
        }
    }
    Ok(vec![place])
}
