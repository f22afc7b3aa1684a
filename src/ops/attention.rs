//! Attention: `y = softmax(q k^T * scale + mask) v` for each head, where fewer heads of `k` and `v`
//! may serve several of `q`; its recurrent forms, and rotary position embeddings.

use super::attention_kernel::{self, Mask};
use super::attention_rotary;
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Port, Refusal};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "Attention",
        attention,
        &[
            "opset 23\n input q: f32[b, 8, s, 16]\n input k: f32[b, 2, t, 16]\n input v: f32[b, 2, t, 32]
             y = Attention(q, k, v)\n output y: f32[b, 8, s, 32]",
            "opset 23\n input q: f32[2, 3, 35, 16]\n input k: f32[2, 3, 35, 16]\n input v: f32[2, 3, 35, 16]
             y = Attention(q, k, v) {is_causal = 1}\n output y: f32[2, 3, 35, 16]",
            "opset 23\n input q: f32[b, 5, 48]\n input k: f32[b, t, 24]\n input v: f32[b, t, 12]\n input m: f32[5, t]
             y = Attention(q, k, v, m) {q_num_heads = 4, kv_num_heads = 2}\n output y: f32[b, 5, 24]",
            "opset 23\n input q: f16[b, s, 64]\n input k: f16[b, 5, 16]\n input v: f16[b, 5, 24]
             input pk: f16[b, 2, p, 8]\n input pv: f16[b, 2, p, 12]
             y, k2, v2, qk = Attention(q, k, v, _, pk, pv) {q_num_heads = 8, kv_num_heads = 2}
             output y: f16[b, s, 96]\n output k2: f16[b, 2, (p + 5), 8]
             output v2: f16[b, 2, (p + 5), 12]\n output qk: f16[b, 8, s, (p + 5)]",
        ],
    ),
    rules::onnx(
        "LinearAttention",
        linear,
        &[
            "opset 27\n input q: f32[b, t, 32]\n input k: f32[b, t, 16]\n input v: f32[b, t, 12]
             y, s = LinearAttention(q, k, v) {q_num_heads = 4, kv_num_heads = 2, update_rule = \"linear\"}
             output y: f32[b, t, 24]\n output s: f32[b, 2, 8, 6]",
        ],
    ),
    rules::onnx(
        "RotaryEmbedding",
        rotary,
        &[
            "opset 23\n input x: f32[b, s, 64]\n input c: f32[50, 4]\n input p: i64[b, s]
             y = RotaryEmbedding(x, c, c, p) {num_heads = 8}\n output y: f32[b, s, 64]",
            "opset 23\n input x: f32[2, 4, 3, 8]\n input c: f32[2, 3, 4]
             y = RotaryEmbedding(x, c, c) {interleaved = 1}\n output y: f32[2, 4, 3, 8]",
        ],
    ),
];

/// A tensor of heads, whichever way it is laid out.
struct Heads {
    batch: Dim,
    count: Dim,
    length: Dim,
    size: Dim,
}

/// [b, heads, length, size] or, with the number of heads from an attribute, [b, length, heads * size].
///
/// # Errors
/// `SHAPE_MISMATCH` for another rank, or when the heads do not divide the last axis.
fn heads(what: &str, shape: &Shape, n_heads: Option<i64>) -> Result<Heads> {
    match (&shape[..], n_heads) {
        ([batch, count, length, size], _) => Ok(Heads {
            batch: batch.clone(),
            count: count.clone(),
            length: length.clone(),
            size: size.clone(),
        }),
        ([batch, length, hidden], Some(n_heads)) => {
            if hidden.value().is_some_and(|hidden| hidden % n_heads != 0) {
                let why = format!("{what} {shape} does not split into {n_heads} heads");
                return Err(Error::shape("", why));
            }
            Ok(Heads {
                batch: batch.clone(),
                count: Dim::Size(n_heads),
                length: length.clone(),
                size: hidden.floor_div(&Dim::Size(n_heads)),
            })
        }
        _ => {
            let why =
                format!("{what} is {shape}, expected rank 4, or rank 3 and a number of heads");
            Err(Error::shape("", why))
        }
    }
}

struct Attention {
    q_heads: Option<i64>,
    kv_heads: Option<i64>,
    scale: Option<f32>,
    softcap: f32,
    is_causal: bool,
    has_window: bool,
}

fn attention(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Attention {
        q_heads: check::count(attrs, "q_num_heads", 1)?,
        kv_heads: check::count(attrs, "kv_num_heads", 1)?,
        scale: attrs.float("scale"),
        softcap: attrs.float("softcap").unwrap_or(0.0),
        is_causal: check::flag(attrs, "is_causal"),
        has_window: ["left_window_size", "right_window_size"]
            .iter()
            .any(|name| attrs.int(name).is_some_and(|size| size >= 0)),
    }))
}

impl Op for Attention {
    /// q: [b, q_heads, s, h], k: [b, kv_heads, t, h], v: [b, kv_heads, t, w], past: the same with p
    /// for t -> [b, q_heads, s, w], [b, kv_heads, p + t, h], [b, kv_heads, p + t, w],
    /// [b, q_heads, s, p + t]. Of rank 3 as [`heads`] takes them, then y is of rank 3 too.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        for idx in 0..3 {
            rules::tensor(inputs, idx)?;
        }
        let q_dtype = rules::same_dtype(inputs, [0, 1, 4])?;
        let v_dtype = rules::same_dtype(inputs, [2, 5])?;
        let (Some(q), Some(k), Some(v)) = (inputs.shape(0), inputs.shape(1), inputs.shape(2))
        else {
            return Ok([q_dtype, q_dtype, v_dtype, q_dtype]
                .map(|dtype| rules::fact(dtype, None))
                .into());
        };
        let rank = q.rank();
        let q = heads("q", q, self.q_heads)?;
        let k = heads("k", k, self.kv_heads)?;
        let v = heads("v", v, self.kv_heads)?;
        let batch = check::meet("batches of q and k", &q.batch, &k.batch)?;
        let batch = check::meet("batches of k and v", &batch, &v.batch)?;
        let size = check::meet("head sizes of q and k", &q.size, &k.size)?;
        let length = check::meet("lengths of k and v", &k.length, &v.length)?;
        let kv_heads = check::meet("heads of k and v", &k.count, &v.count)?;
        if let (Some(q), Some(kv)) = (q.count.value(), kv_heads.value())
            && (kv == 0 || q % kv != 0)
        {
            return Err(Error::shape(
                "",
                format!("{q} heads of q for {kv} of k and v"),
            ));
        }
        let mut past_k = [batch.clone(), kv_heads.clone(), Dim::Unknown, size.clone()];
        check::meet_shape("past key", inputs.shape(4), &mut past_k)?;
        let mut past_v = [
            batch.clone(),
            kv_heads.clone(),
            past_k[2].clone(),
            v.size.clone(),
        ];
        check::meet_shape("past value", inputs.shape(5), &mut past_v)?;
        let total = match inputs.get(4) {
            Some(_) => &past_v[2] + &length,
            None => length,
        };
        let y = if rank == 3 {
            vec![batch.clone(), q.length.clone(), &q.count * &v.size]
        } else {
            vec![
                batch.clone(),
                q.count.clone(),
                q.length.clone(),
                v.size.clone(),
            ]
        };
        let present_k = vec![batch.clone(), kv_heads.clone(), total.clone(), size];
        let present_v = vec![batch.clone(), kv_heads, total.clone(), v.size];
        let scores = vec![batch, q.count, q.length, total];
        if let Some([lead @ .., _]) = inputs.shape(3).map(|shape| &shape[..]) {
            // The last axis may be shorter than all keys are.
            check::broadcasts_to("mask", lead, &scores[..3])?;
        }
        let outputs = [
            (q_dtype, y),
            (q_dtype, present_k),
            (v_dtype, present_v),
            (q_dtype, scores),
        ];
        Ok(outputs
            .map(|(dtype, dims)| rules::fact(dtype, Some(Shape(dims))))
            .into())
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if call.has_output(3) || call.has_input(6) || self.has_window {
            return Err("scores as an output, windows and padded keys have no kernel".into());
        }
        let count = |idx: usize, given: Option<i64>| match call.sizes(idx)[..] {
            [_, heads, _, _] => heads,
            _ => given.map_or(1, |n| usize::try_from(n).expect("parse has counted")),
        };
        let (q_heads, kv_heads) = (count(0, self.q_heads), count(1, self.kv_heads));
        if q_heads == 0 || kv_heads == 0 {
            return Err("there are no heads".into());
        }
        let n_shared = q_heads / kv_heads;
        let heads = |port: Port, sizes: &[usize], n_heads: usize, n_shared: usize| {
            attention_kernel::heads(port, sizes, n_heads, n_shared)
        };
        let q = heads(call.input(0)?, &call.sizes(0), q_heads, n_shared);
        let mut dispatch = Dispatch::default();
        let new_k = heads(call.input(1)?, &call.sizes(1), kv_heads, 1);
        let new_v = heads(call.input(2)?, &call.sizes(2), kv_heads, 1);
        let [k, v] = [(new_k, 4, 1), (new_v, 5, 2)].map(|(new, past, present)| {
            attention_kernel::with_past(&mut dispatch, call, new, past, present)
        });
        let n_past = match call.has_input(4) {
            true => call.sizes(4)[2],
            false => 0,
        };
        let y = heads(call.output(0)?, &call.output_sizes(0), q_heads, n_shared);
        let scale = self.scale.unwrap_or(1.0 / (q.size() as f32).sqrt());
        let mask = match call.has_input(3) {
            true => Some(Mask {
                port: call.input(3)?,
                sizes: call.sizes(3),
            }),
            false => None,
        };
        let attention = attention_kernel::Attention {
            q,
            k: k?,
            v: v?,
            y,
            scale,
            softcap: self.softcap,
            causal_offset: self.is_causal.then_some(n_past),
            mask,
        };
        attention_kernel::append(&attention, &mut dispatch, call)?;
        Ok(dispatch)
    }
}

struct LinearAttention {
    q_heads: i64,
    kv_heads: i64,
}

fn linear(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let required = |name| rules::required(check::count(attrs, name, 1)?, name);
    Ok(Box::new(LinearAttention {
        q_heads: required("q_num_heads")?,
        kv_heads: required("kv_num_heads")?,
    }))
}

impl Op for LinearAttention {
    /// q: [b, t, q_heads * h], k: [b, t, kv_heads * h], v: [b, t, kv_heads * w],
    /// state: [b, kv_heads, h, w] -> [b, t, q_heads * w], state.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        for idx in 0..3 {
            rules::tensor(inputs, idx)?;
        }
        let dtype = rules::same_dtype(inputs, [0, 1, 2, 4, 5])?;
        let state_dtype = inputs.get(3).map_or(dtype, |state| state.dtype);
        let unknown = Shape::unknown(3);
        let split = |idx, what, n_heads| {
            let shape = inputs.shape(idx).unwrap_or(&unknown);
            check::rank(what, shape, 3)?;
            heads(what, shape, Some(n_heads))
        };
        let q = split(0, "q", self.q_heads)?;
        let k = split(1, "k", self.kv_heads)?;
        let v = split(2, "v", self.kv_heads)?;
        let batch = check::meet("batches of q and k", &q.batch, &k.batch)?;
        let batch = check::meet("batches of k and v", &batch, &v.batch)?;
        let length = check::meet("lengths of q and k", &q.length, &k.length)?;
        let length = check::meet("lengths of k and v", &length, &v.length)?;
        let size = check::meet("head sizes of q and k", &q.size, &k.size)?;
        let mut state = vec![batch, v.count, size, v.size];
        check::meet_shape("state", inputs.shape(3), &mut state)?;
        let y = vec![state[0].clone(), length, &state[3] * self.q_heads];
        Ok(vec![
            rules::fact(dtype, Some(Shape(y))),
            rules::fact(state_dtype, Some(Shape(state))),
        ])
    }
}

/// Turns pairs of elements of each head by an angle that grows with the position.
struct Rotary {
    n_heads: Option<i64>,
    /// Elements of a head that are turned, all where it is 0.
    turned: i64,
    interleaved: bool,
}

fn rotary(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let n_heads = check::count(attrs, "num_heads", 0)?.filter(|&n| n > 0);
    Ok(Box::new(Rotary {
        n_heads,
        turned: check::count(attrs, "rotary_embedding_dim", 0)?.unwrap_or(0),
        interleaved: check::flag(attrs, "interleaved"),
    }))
}

impl Op for Rotary {
    /// x as [`heads`] takes it, cos, sin: [positions, r / 2] -> like x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        rules::tensor(inputs, 2)?;
        let dtype = rules::same_dtype(inputs, [0, 1, 2])?;
        rules::unify_shapes(inputs.shape(1), inputs.shape(2), "cos and sin")?;
        if let Some(shape) = &x.shape {
            let heads = heads("x", shape, self.n_heads)?;
            if heads.size.value().is_some_and(|size| size % 2 != 0) {
                return Err(Error::shape(
                    "",
                    format!("the head size {} is odd", heads.size),
                ));
            }
        }
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let size = |n: i64| usize::try_from(n).expect("parse has counted");
        let head_size = match (&call.sizes(0)[..], self.n_heads) {
            ([_, _, _, size], _) => *size,
            ([_, _, hidden], Some(n_heads)) => hidden / size(n_heads),
            _ => return Err("the heads are unknown".into()),
        };
        let turned = if self.turned == 0 {
            head_size
        } else {
            size(self.turned)
        };
        let rotary = attention_rotary::Rotary {
            cos: 1,
            sin: 2,
            positions: 3,
            head_size,
            turned,
            interleaved: self.interleaved,
        };
        attention_rotary::dispatch(&rotary, call)
    }
}
