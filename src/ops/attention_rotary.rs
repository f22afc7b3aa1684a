//! The kernel of rotary position embeddings: pairs of elements of each head, turned by the angle of
//! their position.

use crate::kernel::{Call, Dispatch, Map, Refusal};

/// Numbers are of the node's inputs.
pub(super) struct Rotary {
    pub cos: usize,
    pub sin: usize,
    pub positions: usize,
    /// Elements of a head; those behind the first `turned` stay.
    pub head_size: usize,
    pub turned: usize,
    /// Pairs are neighbours, or else halves apart.
    pub interleaved: bool,
}

pub(super) fn dispatch(rotary: &Rotary, call: &Call) -> Result<Dispatch, Refusal> {
    // Rows of one head each: a position lasts for all heads where these are the inner axis.
    let x = call.sizes(0);
    if rotary.head_size == 0 || (x.len() == 4 && x[3] != rotary.head_size) {
        return Err("the heads are not of that size".into());
    }
    let (batch, length, n_heads, heads_inside) = match x[..] {
        [batch, length, hidden] => (batch, length, hidden / rotary.head_size, true),
        [batch, n_heads, length, _] => (batch, length, n_heads, false),
        _ => return Err("x is of neither rank 3 nor 4".into()),
    };
    let half = rotary.turned / 2;
    let cache = call.sizes(rotary.cos);
    if cache.last() != Some(&half) {
        return Err("the cache is not for half of the turned elements".into());
    }
    let position = if !call.has_input(rotary.positions) {
        if cache != [batch, length, half] {
            return Err("the cache is not for every position".into());
        }
        "b * params.length + s"
    } else if call.sizes(rotary.positions) == [batch, length] {
        "u32(load_positions(b * params.length + s))"
    } else if call.sizes(rotary.positions) == [1] {
        "u32(load_positions(0u)) + s"
    } else {
        return Err("positions are not for every element".into());
    };
    let (pair, other, is_first) = if rotary.interleaved {
        ("part / 2u", "part ^ 1u", "part % 2u == 0u")
    } else {
        (
            "part % params.half",
            "select(part - params.half, part + params.half, part < params.half)",
            "part < params.half",
        )
    };
    let body = format!(
        "fn element(i: u32) -> y_value {{
  let row = i / params.head_size;
  let part = i - row * params.head_size;
  let x = load_x(i);
  if part >= 2u * params.half {{ return x; }}
  let s = row / params.inner_heads % params.length;
  let b = row / params.rows;
  let at = ({position}) * params.half + {pair};
  let other = load_x(i - part + ({other}));
  let turned = select(other, -other, {is_first});
  return x * load_cos(at) + turned * load_sin(at);
}}
"
    );
    let mut kernel = Map::kernel("rotary", &body)
        .param("head_size", rotary.head_size)
        .param("half", half)
        .param("length", length)
        .param("inner_heads", if heads_inside { n_heads } else { 1 })
        .param("rows", n_heads * length)
        .read("x", call.input(0)?)
        .read("cos", call.input(rotary.cos)?)
        .read("sin", call.input(rotary.sin)?);
    if call.has_input(rotary.positions) {
        kernel = kernel.read("positions", call.input(rotary.positions)?);
    }
    let n_elems = x.iter().product();
    let launch = Map::launch(kernel, call.output(0)?, n_elems, call.caps);
    Ok(Dispatch::one(launch))
}
