//! ONNX Runtime's fused attention: multi-head attention after or with its projections, and with
//! fewer heads of keys and values than of queries.

use super::attention_kernel::{self, Attention, Mask};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Map, Port, Refusal, Storage};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    check::microsoft(
        "Attention",
        projected,
        &[
            "opset com.microsoft 1\n input x: f32[b, s, 64]\n input w: f32[64, 192]\n input c: f32[192]
             y, p = com.microsoft::Attention(x, w, c) {num_heads = 4}
             output y: f32[b, s, 64]\n output p: f32[2, b, 4, s, 16]",
            "opset com.microsoft 1\n input x: f32[b, s, 64]\n input w: f32[64, 80]
             y = com.microsoft::Attention(x, w) {num_heads = 4, qkv_hidden_sizes = [32, 32, 16]}
             output y: f32[b, s, 16]",
        ],
    ),
    check::microsoft(
        "MultiHeadAttention",
        multi_head,
        &[
            "opset com.microsoft 1\n input q: f32[b, s, 64]\n input k: f32[b, t, 64]\n input v: f32[b, t, 32]
             y, pk, pv = com.microsoft::MultiHeadAttention(q, k, v) {num_heads = 8}
             output y: f32[b, s, 32]\n output pk: f32[b, 8, t, 8]\n output pv: f32[b, 8, t, 4]",
            "opset com.microsoft 1\n input q: f32[2, 5, 64]\n input k: f32[2, 7, 64]\n input v: f32[2, 7, 32]
             input c: f32[160]\n input m: i32[2, 7]
             y = com.microsoft::MultiHeadAttention(q, k, v, c, m) {num_heads = 4}\n output y: f32[2, 5, 32]",
            "opset com.microsoft 1\n input q: f32[2, 3, 16]\n input k: f32[2, 3, 16]\n input p: f32[2, 2, 4, 8]\n input m: f32[1, 2, 3, 7]
             y, pk, pv = com.microsoft::MultiHeadAttention(q, k, k, _, _, m, p, p) {num_heads = 2, unidirectional = 1}
             output y: f32[2, 3, 16]\n output pk: f32[2, 2, 7, 8]\n output pv: f32[2, 2, 7, 8]",
            "opset com.microsoft 1\n input qkv: f16[b, s, 4, 3, 16]
             y = com.microsoft::MultiHeadAttention(qkv) {num_heads = 4}
             output y: f16[b, s, 64]",
        ],
    ),
    check::microsoft(
        "GroupQueryAttention",
        group_query,
        &[
            "opset com.microsoft 1\n input q: f32[b, s, 64]\n input k: f32[b, s, 16]\n input p: f32[b, 2, t, 8]
             input l: i32[b]\n input n: i32[]
             y, pk, pv = com.microsoft::GroupQueryAttention(q, k, k, p, p, l, n) {num_heads = 8, kv_num_heads = 2}
             output y: f32[b, s, 64]\n output pk: f32[b, 2, ?, 8]\n output pv: f32[b, 2, ?, 8]",
            "opset com.microsoft 1\n input q: f32[b, s, 96]\n input l: i32[b]\n input n: i32[]
             y = com.microsoft::GroupQueryAttention(q, _, _, _, _, l, n) {num_heads = 8, kv_num_heads = 2}
             output y: f32[b, s, 64]",
        ],
    ),
    check::microsoft(
        "RotaryEmbedding",
        |_, _| Ok(Box::new(Rotary)),
        &["opset com.microsoft 1\n input x: f32[b, s, 64]\n input p: i64[b, s]\n input c: f32[50, 4]
             y = com.microsoft::RotaryEmbedding(x, p, c, c)\n output y: f32[b, s, 64]"],
    ),
];

fn n_heads(attrs: &Attrs, name: &str) -> Result<i64> {
    rules::required(check::count(attrs, name, 1)?, name)
}

/// # Errors
/// `SHAPE_MISMATCH` when the parts do not divide the size.
fn split(what: &str, size: &Dim, n_parts: i64) -> Result<Dim> {
    if size.value().is_some_and(|size| size % n_parts != 0) {
        let why = format!("{what} of {size} does not split into {n_parts}");
        return Err(Error::shape("", why));
    }
    Ok(size.floor_div(&Dim::Size(n_parts)))
}

/// Attention with the projections of its input to queries, keys and values.
struct Projected {
    n_heads: i64,
    /// Widths of the queries, the keys and the values; empty for thirds.
    widths: Vec<i64>,
}

fn projected(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let widths = check::counts(attrs, "qkv_hidden_sizes", 0)?;
    if !matches!(widths.len(), 0 | 3) {
        return Err(Error::parse("", format!("qkv_hidden_sizes is {widths:?}")));
    }
    Ok(Box::new(Projected {
        n_heads: n_heads(attrs, "num_heads")?,
        widths,
    }))
}

impl Op for Projected {
    /// x: [b, s, i], w: [i, q + k + v], bias: [q + k + v], past: [2, b, heads, p, k / heads]
    /// -> [b, s, v], [2, b, heads, p + s, k / heads].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, [0, 1, 2, 4])?;
        let mut x = [Dim::Unknown, Dim::Unknown, Dim::Unknown];
        check::meet_shape("x", inputs.shape(0), &mut x)?;
        let [batch, length, features] = x;
        let width = match self.widths.as_slice() {
            [] => Dim::Unknown,
            widths => Dim::Size(widths.iter().sum()),
        };
        let mut w = [features, width];
        check::meet_shape("weights", inputs.shape(1), &mut w)?;
        let [_, width] = w;
        check::meet_shape("bias", inputs.shape(2), &mut [width.clone()])?;
        let (k, v) = match self.widths.as_slice() {
            [_, k, v] => (Dim::Size(*k), Dim::Size(*v)),
            _ => (split("width", &width, 3)?, split("width", &width, 3)?),
        };
        let size = split("width of the keys", &k, self.n_heads)?;
        let mut past = [
            Dim::Size(2),
            batch.clone(),
            Dim::Size(self.n_heads),
            Dim::Unknown,
            size,
        ];
        check::meet_shape("past", inputs.shape(4), &mut past)?;
        past[3] = match inputs.get(4) {
            Some(_) => &past[3] + &length,
            None => length.clone(),
        };
        Ok(vec![
            rules::fact(dtype, Some(Shape(vec![batch, length, v]))),
            rules::fact(dtype, Some(Shape(past.into()))),
        ])
    }
}

struct MultiHead {
    n_heads: i64,
    scale: Option<f32>,
    is_causal: bool,
    /// What is added to the scores of keys that are padding.
    mask_filter_value: f32,
}

fn multi_head(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let n_heads = n_heads(attrs, "num_heads")?;
    Ok(Box::new(MultiHead {
        n_heads,
        scale: attrs.float("scale").filter(|&scale| scale != 0.0),
        is_causal: check::flag(attrs, "unidirectional"),
        mask_filter_value: attrs.float("mask_filter_value").unwrap_or(-10_000.0),
    }))
}

impl Op for MultiHead {
    /// q: [b, s, d], k: [b, t, d], v: [b, t, w], past: [b, heads, p, ..]
    /// -> [b, s, w], [b, heads, p + t, d / heads], [b, heads, p + t, w / heads].
    ///
    /// Other forms: q, k, v in one [b, s, heads, 3, h], k and v in one [b, t, heads, 2, h], or both
    /// already in heads, [b, heads, t, h].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let q = rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, [0, 1, 2, 3, 6, 7])?;
        let Some(q) = &q.shape else {
            return Ok(vec![rules::fact(dtype, None); 3]);
        };
        let heads = Dim::Size(self.n_heads);
        let (batch, length, width) = match &q[..] {
            [b, s, d] => (b, s, d.clone()),
            [b, s, n, Dim::Size(3), h] => (b, s, n * h),
            _ => return Err(Error::shape("", format!("q is {q}"))),
        };
        let size = split("width of q", &width, self.n_heads)?;
        let y_width = match inputs.shape(2).map(|v| &v[..]) {
            Some([_, _, w]) => w.clone(),
            Some([_, n, _, w]) => n * w,
            Some(_) => return Err(Error::shape("", "v is neither of rank 3 nor 4")),
            None if inputs.get(2).is_some() => Dim::Unknown,
            None => width,
        };
        let new_length = match inputs.shape(1).map(|k| &k[..]) {
            Some([_, t, _] | [_, t, _, _, _]) => t.clone(),
            Some([_, _, t, _]) => t.clone(),
            Some(_) => return Err(Error::shape("", "k is not of rank 3, 4 or 5")),
            None if inputs.get(1).is_some() => Dim::Unknown,
            None => length.clone(),
        };
        let total = match inputs.get(6) {
            None => new_length,
            // A cache that is longer than what it holds is written in place.
            Some(_) if inputs.get(8).is_some() => Dim::Unknown,
            Some(past) => {
                let past = past.shape.as_ref().and_then(|past| past.get(2));
                past.unwrap_or(&Dim::Unknown) + &new_length
            }
        };
        let v_size = split("width of v", &y_width, self.n_heads)?;
        let y = vec![batch.clone(), length.clone(), y_width];
        let present = |size| vec![batch.clone(), heads.clone(), total.clone(), size];
        let outputs = [y, present(size), present(v_size)];
        Ok(outputs
            .map(|dims| rules::fact(dtype, Some(Shape(dims))))
            .into())
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let plain = |idx: usize| call.has_input(idx) && call.sizes(idx).len() <= 4;
        if !(plain(0) && plain(1) && plain(2)) || call.has_input(8) || call.has_output(3) {
            return Err("packed heads, caches in place and scores have no kernel".into());
        }
        let n_heads = usize::try_from(self.n_heads).expect("parse has counted");
        let mut dispatch = Dispatch::default();
        let mut bias_offset = 0;
        let mut heads = Vec::new();
        for idx in 0..3 {
            let sizes = call.sizes(idx);
            let mut port = call.input(idx)?;
            if call.has_input(3) {
                if sizes.len() != 3 {
                    return Err("a bias of keys in heads has no kernel".into());
                }
                port = biased(&mut dispatch, call, idx, bias_offset)?;
                bias_offset += sizes[2];
            }
            heads.push(attention_kernel::heads(port, &sizes, n_heads, 1));
        }
        let [q, k, v] = heads.try_into().ok().expect("there are three");
        let k = attention_kernel::with_past(&mut dispatch, call, k, 6, 1)?;
        let v = attention_kernel::with_past(&mut dispatch, call, v, 7, 2)?;
        let y = attention_kernel::heads(call.output(0)?, &call.output_sizes(0), n_heads, 1);
        let n_past = match call.has_input(6) {
            true => call.sizes(6)[2],
            false => 0,
        };
        let mask = match (call.has_input(4), call.has_input(5)) {
            (false, false) => None,
            (false, true) => Some(Mask {
                port: call.input(5)?,
                sizes: call.sizes(5),
            }),
            (true, false) => Some(self.padding(&mut dispatch, call)?),
            (true, true) => return Err("two masks have no kernel".into()),
        };
        let scale = self.scale.unwrap_or(1.0 / (q.size() as f32).sqrt());
        let attention = Attention {
            q,
            k,
            v,
            y,
            scale,
            softcap: 0.0,
            causal_offset: self.is_causal.then_some(n_past),
            mask,
        };
        attention_kernel::append(&attention, &mut dispatch, call)?;
        Ok(dispatch)
    }
}

impl MultiHead {
    /// [batch, keys], 0 where a key is padding -> what is added to the scores.
    fn padding(&self, dispatch: &mut Dispatch, call: &Call) -> Result<Mask, Refusal> {
        let [batch, keys] = call.sizes(4)[..] else {
            return Err("lengths of sequences have no kernel".into());
        };
        let port = dispatch.add_scratch(Storage::F32, batch * keys);
        let body = "fn element(i: u32) -> y_value {
  return select(params.filtered, 0.0, load_mask(i) != mask_value());
}
";
        let kernel = Map::kernel("attention_padding", body)
            .param_f32("filtered", self.mask_filter_value)
            .read("mask", call.input(4)?);
        let launch = Map::launch(kernel, port, batch * keys, call.caps);
        dispatch.launches.push(launch);
        Ok(Mask {
            port,
            sizes: vec![batch, 1, 1, keys],
        })
    }
}

/// An input of [b, length, width] plus its part of the bias of all three.
fn biased(
    dispatch: &mut Dispatch,
    call: &Call,
    idx: usize,
    offset: usize,
) -> Result<Port, Refusal> {
    let sizes = call.sizes(idx);
    let n_elems = sizes.iter().product();
    let x = call.input(idx)?;
    let port = dispatch.add_scratch(x.storage, n_elems);
    let body = "fn element(i: u32) -> y_value {
  return load_x(i) + load_bias(params.offset + i % params.width);
}
";
    let kernel = Map::kernel("attention_bias", body)
        .param("offset", offset)
        .param("width", sizes[2])
        .read("x", x)
        .read("bias", call.input(3)?);
    let launch = Map::launch(kernel, port, n_elems, call.caps);
    dispatch.launches.push(launch);
    Ok(port)
}

struct GroupQuery {
    q_heads: i64,
    kv_heads: i64,
}

fn group_query(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(GroupQuery {
        q_heads: n_heads(attrs, "num_heads")?,
        kv_heads: n_heads(attrs, "kv_num_heads")?,
    }))
}

impl Op for GroupQuery {
    /// q: [b, s, q_heads * h], k, v: [b, s, kv_heads * h], or all in one without k and v;
    /// past: [b, kv_heads, p, h] -> [b, s, q_heads * h], [b, kv_heads, ?, h] twice.
    ///
    /// How long the caches are is known only when it runs: they may be written in place.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, [0, 1, 2])?;
        let cache_dtype = match inputs.get(3) {
            Some(_) => rules::same_dtype(inputs, [3, 4])?,
            None => dtype,
        };
        let mut q = [Dim::Unknown, Dim::Unknown, Dim::Unknown];
        check::meet_shape("q", inputs.shape(0), &mut q)?;
        let [batch, length, width] = q;
        let n_parts = match inputs.get(1) {
            Some(_) => self.q_heads,
            None => self.q_heads + 2 * self.kv_heads,
        };
        let size = split("width of q", &width, n_parts)?;
        let y = vec![batch.clone(), length, &size * self.q_heads];
        let cache = vec![batch, Dim::Size(self.kv_heads), Dim::Unknown, size];
        let cache = rules::fact(cache_dtype, Some(Shape(cache)));
        Ok(vec![
            rules::fact(dtype, Some(Shape(y))),
            cache.clone(),
            cache,
        ])
    }
}

/// x, positions, cos, sin -> like x.
struct Rotary;

impl Op for Rotary {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, [0, 2, 3])?;
        rules::unify_shapes(inputs.shape(2), inputs.shape(3), "cos and sin")?;
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }
}
