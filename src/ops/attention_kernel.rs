//! The kernels of attention: `scores = scale * q k^T`, a softmax over what the masks leave, and the
//! product with v, for heads that may lie in any order.

use super::activation;
use super::product::{Layout, Product};
use crate::kernel::{
    Axes, Call, Dispatch, Kernel, Map, Port, Refusal, Storage, collapse, dense_strides, grid,
};

/// Heads of a tensor as [batch, heads of k and v, heads of q for each, length, size].
#[derive(Clone)]
pub(super) struct Heads {
    pub port: Port,
    pub layout: Layout,
}

/// [`Heads`] from [batch, heads, length, size] or, with the number of heads given, from
/// [batch, length, heads * size]; `n_shared` heads of q meet the same head of k and v.
pub(super) fn heads(port: Port, sizes: &[usize], n_heads: usize, n_shared: usize) -> Heads {
    let kv_heads = n_heads / n_shared;
    let (sizes, strides) = match *sizes {
        [batch, length, hidden] => {
            let size = hidden / n_heads;
            (
                vec![batch, kv_heads, n_shared, length, size],
                vec![length * hidden, n_shared * size, size, hidden, 1],
            )
        }
        [batch, _, length, size] => {
            let sizes = vec![batch, kv_heads, n_shared, length, size];
            let strides = dense_strides(&sizes);
            (sizes, strides)
        }
        _ => unreachable!("infer has accepted ranks 3 and 4"),
    };
    Heads {
        port,
        layout: Layout { sizes, strides },
    }
}

impl Heads {
    fn length(&self) -> usize {
        self.layout.sizes[3]
    }

    pub fn size(&self) -> usize {
        self.layout.sizes[4]
    }
}

/// What is added to the scores, or as booleans what they keep: of some of the axes of
/// [batch, heads of q, length of q, length of k], as a broadcast.
pub(super) struct Mask {
    pub port: Port,
    pub sizes: Vec<usize>,
}

pub(super) struct Attention {
    pub q: Heads,
    pub k: Heads,
    pub v: Heads,
    pub y: Heads,
    pub scale: f32,
    pub softcap: f32,
    /// Query `r` sees keys to `r` plus this.
    pub causal_offset: Option<usize>,
    pub mask: Option<Mask>,
}

/// The past, if there is one, and what is new behind it along the length, as
/// [batch, heads, total, size] in `to`.
fn join(
    dispatch: &mut Dispatch,
    call: &Call,
    past: Option<Port>,
    new: &Heads,
    to: Port,
    total: usize,
) -> Heads {
    let [batch, kv_heads, _, length, size] = new.layout.sizes[..] else {
        unreachable!("heads have five axes");
    };
    let strides = &new.layout.strides;
    let heads = collapse(&[batch, kv_heads], &[vec![strides[0], strides[1]]]);
    let load_past = match past {
        Some(_) => "load_past((head * params.n_past + step) * params.size + part)",
        None => "0.0",
    };
    let body = format!(
        "fn element(i: u32) -> y_value {{
  let row = i / params.size;
  let part = i - row * params.size;
  let head = row / params.total;
  let step = row - head * params.total;
  if step < params.n_past {{ return {load_past}; }}
  return load_x(offsets(head)[0] + (step - params.n_past) * params.stride + part);
}}
"
    );
    let mut kernel = heads
        .declare(Map::kernel("attention_join", &body))
        .param("size", size)
        .param("total", total)
        .param("n_past", total - length)
        .param("stride", strides[3])
        .read("x", new.port);
    if let Some(past) = past {
        kernel = kernel.read("past", past);
    }
    let sizes = [batch, kv_heads, 1, total, size];
    let n_elems = sizes.iter().product();
    dispatch
        .launches
        .push(Map::launch(kernel, to, n_elems, call.caps));
    Heads {
        port: to,
        layout: Layout::dense(&sizes),
    }
}

/// Keys or values behind those of an input, which with them are an output if the node asks.
pub(super) fn with_past(
    dispatch: &mut Dispatch,
    call: &Call,
    new: Heads,
    past_idx: usize,
    present_idx: usize,
) -> Result<Heads, Refusal> {
    if !call.has_input(past_idx) && !call.has_output(present_idx) {
        return Ok(new);
    }
    let (past, n_past) = match call.has_input(past_idx) {
        true => match call.sizes(past_idx)[..] {
            [_, _, n_past, _] => (Some(call.input(past_idx)?), n_past),
            _ => return Err("the past has not four axes".into()),
        },
        false => (None, 0),
    };
    let total = n_past + new.length();
    let to = if call.has_output(present_idx) {
        call.output(present_idx)?
    } else {
        let [batch, heads, ..] = new.layout.sizes[..] else {
            unreachable!("heads have five axes");
        };
        dispatch.add_scratch(new.port.storage, batch * heads * total * new.size())
    };
    Ok(join(dispatch, call, past, &new, to, total))
}

/// Adds the launches of one attention.
pub(super) fn append(of: &Attention, dispatch: &mut Dispatch, call: &Call) -> Result<(), Refusal> {
    let (rows, total) = (of.q.length(), of.k.length());
    let [batch, kv_heads, n_shared, ..] = of.q.layout.sizes[..] else {
        unreachable!("heads have five axes");
    };
    let n_rows = batch * kv_heads * n_shared * rows;
    let scores = dispatch.add_scratch(Storage::F32, n_rows * total);
    // The keys of one head of k and v serve all heads of q that share them.
    let single = |heads: &Heads| {
        let mut layout = heads.layout.clone();
        layout.sizes[2] = 1;
        layout
    };
    let mut keys = single(&of.k);
    keys.transpose();
    let mut product = Product::new((of.q.port, &of.q.layout), (of.k.port, &keys), scores);
    product.alpha = of.scale;
    product.append(dispatch, call);

    let by_group = !call.caps.software && total >= 32;
    let (name, body) = if by_group {
        let body = include_str!("attention_softmax_group.wgsl");
        ("attention_softmax_group", body)
    } else {
        let body = include_str!("attention_softmax_lane.wgsl");
        ("attention_softmax_lane", body)
    };
    let mut kernel = Kernel::new(name, body)
        .param("rows", n_rows)
        .param("cols", total)
        .param("length", rows)
        .read_write("scores", scores)
        .snippet(&activation::function("squash", "tanh_of(x)", "f32"));
    let mut hidden = String::from("false");
    let mut shown = String::from("x");
    if of.softcap != 0.0 {
        kernel = kernel.param_f32("softcap", of.softcap);
        shown = "params.softcap * squash(x / params.softcap)".to_owned();
    }
    if let Some(offset) = of.causal_offset {
        kernel = kernel.param("causal_offset", offset);
        hidden.push_str(" || c > row % params.length + params.causal_offset");
    }
    let mut mask_at = "0u";
    if let Some(mask) = &of.mask {
        let mut sizes = vec![1; 4 - mask.sizes.len()];
        sizes.extend(&mask.sizes);
        // A mask may end before the keys do: those behind it are hidden.
        let mask_cols = sizes[3];
        let dense = dense_strides(&sizes);
        let stride = |axis: usize| if sizes[axis] == 1 { 0 } else { dense[axis] };
        let axes: Axes = collapse(
            &[batch, kv_heads * n_shared, rows],
            &[vec![stride(0), stride(1), stride(2)]],
        );
        kernel = axes
            .declare(kernel)
            .param("mask_col", stride(3))
            .param("mask_cols", if mask_cols == 1 { total } else { mask_cols })
            .read("mask", mask.port);
        mask_at = "offsets(row)[0]";
        let element = "load_mask(mask_at + c * params.mask_col)";
        hidden.push_str(" || c >= params.mask_cols");
        if mask.port.storage == Storage::Bool {
            hidden.push_str(&format!(" || !{element}"));
        } else if mask.port.storage.is_float() {
            // Arithmetic with infinities is up to the device, their bits are not.
            hidden.push_str(&format!(" || bitcast<u32>({element}) == 0xff800000u"));
            shown.push_str(&format!(" + {element}"));
        } else {
            return Err("a mask of integers has no kernel".into());
        }
    }
    kernel = kernel.snippet(&format!(
        "fn mask_from(row: u32) -> u32 {{ return {mask_at}; }}
fn is_hidden(row: u32, c: u32, mask_at: u32) -> bool {{ return {hidden}; }}
fn shown(x: f32, c: u32, mask_at: u32) -> f32 {{ return {shown}; }}"
    ));
    let launch = if by_group {
        kernel
            .constant("WORKGROUP", 64)
            .snippet(include_str!("../wgsl/reduce.wgsl"))
            .launch(grid(n_rows, call.caps))
    } else {
        kernel.launch(grid(n_rows.div_ceil(64), call.caps))
    };
    dispatch.launches.push(launch);

    let shares = Layout::dense(&[batch, kv_heads, n_shared, rows, total]);
    let product = Product::strided(
        (scores, &shares),
        (of.v.port, &single(&of.v)),
        (of.y.port, &of.y.layout),
    );
    product.append(dispatch, call);
    Ok(())
}
