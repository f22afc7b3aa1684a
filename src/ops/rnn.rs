//! Recurrent layers. One step of each direction makes the hidden state from the input and the
//! state before it: `RNN` `h = tanh(x w + h r + b)`, `GRU` and `LSTM` with gates of that form.

use super::rnn_kernel::{self, Cell, Recurrence};
use super::{Attr, Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "RNN",
        rnn,
        &[
            "input x: f32[s, 2, 3]\n input w: f32[1, 5, 3]\n input r: f32[1, 5, 5]
             y, h = RNN(x, w, r) {hidden_size = 5}
             output y: f32[s, 1, 2, 5]\n output h: f32[1, 2, 5]",
            "opset 1\n input x: f32\n input w: f32[2, 5, 3]\n input r: f32[2, 5, 5]
             y = RNN(x, w, r) {direction = \"bidirectional\"}
             output y: f32[?, 2, ?, 5]",
        ],
    ),
    rules::onnx(
        "GRU",
        gru,
        &[
            "input x: f32[s, 2, 3]\n input w: f32[1, 15, 3]\n input r: f32[1, 15, 5]\n input c: f32[1, 30]\n input h: f32[1, 2, 5]
             y, h2 = GRU(x, w, r, c, _, h) {hidden_size = 5, linear_before_reset = 1}
             output y: f32[s, 1, 2, 5]\n output h2: f32[1, 2, 5]",
            "input x: f32[s, 2, 3]\n input w: f32[2, 15, 3]\n input r: f32[2, 15, 5]\n input c: f32[2, 30]
             y = GRU(x, w, r, c) {hidden_size = 5, linear_before_reset = 1, direction = \"bidirectional\"}
             output y: f32[s, 2, 2, 5]",
            "input x: f32[b, s, 3]\n input w: f32[2, 15, 3]\n input r: f32[2, 15, 5]\n input c: f32[2, 30]
             y, h = GRU(x, w, r, c) {hidden_size = 5, direction = \"bidirectional\", layout = 1}
             output y: f32[b, s, 2, 5]\n output h: f32[b, 2, 5]",
        ],
    ),
    rules::onnx(
        "LSTM",
        lstm,
        &[
            "input x: f32[s, 1, 3]\n input w: f32[1, 20, 3]\n input r: f32[1, 20, 5]\n input h: f32[1, 1, 5]
             y, yh, yc = LSTM(x, w, r, _, _, h, h) {hidden_size = 5, direction = \"reverse\"}
             output y: f32[s, 1, 1, 5]\n output yh: f32[1, 1, 5]\n output yc: f32[1, 1, 5]",
            "input x: f32[s, 3, 4]\n input w: f32[2, 24, 4]\n input r: f32[2, 24, 6]\n input c: f32[2, 48]
             y, yh, yc = LSTM(x, w, r, c) {hidden_size = 6, direction = \"bidirectional\"}
             output y: f32[s, 2, 3, 6]\n output yh: f32[2, 3, 6]\n output yc: f32[2, 3, 6]",
            "input x: f32[1, 1, 70]\n input z: f32[1, 1, 65]\n input w: f32[1, 260, 70]\n input r: f32[1, 260, 65]
             _, yh = LSTM(x, w, r, _, _, z, z) {hidden_size = 65}\n output yh: f32[1, 1, 65]",
            "opset 7\n input x: f32[s, b, 3]\n input w: f32[1, 20, 3]\n input r: f32[1, 20, 5]\n input l: i32[8]
             _, yh = LSTM(x, w, r, _, l) {hidden_size = 5}
             output yh: f32[1, 8, 5]",
        ],
    ),
];

struct Recurrent {
    n_gates: i64,
    n_directions: i64,
    hidden_size: Option<i64>,
    kernel: Recurrence,
    /// Why there is no kernel.
    refusal: Option<&'static str>,
}

fn rnn(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    parse(attrs, version, Cell::Rnn, 1)
}

fn gru(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let linear_before_reset = check::flag(attrs, "linear_before_reset");
    let cell = Cell::Gru {
        linear_before_reset,
    };
    parse(attrs, version, cell, 3)
}

fn lstm(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    parse(attrs, version, Cell::Lstm, 4)
}

fn parse(attrs: &Attrs, version: i64, cell: Cell, n_gates: i64) -> Result<Box<dyn Op>> {
    let n_directions = match attrs.str("direction") {
        None | Some("forward" | "reverse") => 1,
        Some("bidirectional") => 2,
        Some(other) => return Err(Error::parse("", format!("direction is {other:?}"))),
    };
    Ok(Box::new(Recurrent {
        n_gates,
        n_directions,
        hidden_size: check::count(attrs, "hidden_size", 1)?,
        kernel: Recurrence {
            cell,
            reverse: attrs.str("direction") == Some("reverse"),
            batch_first: version >= 14 && check::flag(attrs, "layout"),
        },
        refusal: refusal(attrs, cell),
    }))
}

/// Kernels have the default activations only.
fn refusal(attrs: &Attrs, cell: Cell) -> Option<&'static str> {
    let defaults: &[&[u8]] = match cell {
        Cell::Lstm => &[b"Sigmoid", b"Tanh", b"Tanh"],
        Cell::Gru { .. } => &[b"Sigmoid", b"Tanh"],
        Cell::Rnn => &[b"Tanh"],
    };
    if let Some(Attr::Strs(names)) = attrs.get("activations") {
        let mut pairs = names.iter().zip(defaults.iter().cycle());
        if pairs.any(|(name, default)| !name.eq_ignore_ascii_case(default)) {
            return Some("other activations than the defaults have no kernel");
        }
    }
    if attrs.float("clip").is_some() || check::flag(attrs, "input_forget") {
        return Some("clipped and coupled gates have no kernel");
    }
    None
}

impl Op for Recurrent {
    /// x: [seq, batch, in], w: [dirs, gates * h, in], r: [dirs, gates * h, h], b: [dirs, 2 * gates * h],
    /// lengths: [batch], states: [dirs, batch, h], peepholes: [dirs, 3 * h]
    /// -> [seq, dirs, batch, h] and the last states [dirs, batch, h].
    ///
    /// With the batch first: x [batch, seq, in], states [batch, dirs, h], y [batch, seq, dirs, h].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        for idx in 0..3 {
            rules::tensor(inputs, idx)?;
        }
        let dtype = rules::same_dtype(inputs, [0, 1, 2, 3, 5, 6, 7])?;
        rules::expect_dtype(inputs, 4, |dtype| dtype == DType::I32, "i32")?;

        let mut x = [Dim::Unknown, Dim::Unknown, Dim::Unknown];
        check::meet_shape("x", inputs.shape(0), &mut x)?;
        let [first, second, features] = x;
        let (seq, batch) = if self.kernel.batch_first {
            (second, first)
        } else {
            (first, second)
        };

        let directions = Dim::Size(self.n_directions);
        let hidden = self.hidden_size.map_or(Dim::Unknown, Dim::Size);
        let mut r = [directions.clone(), &hidden * self.n_gates, hidden];
        check::meet_shape("r", inputs.shape(2), &mut r)?;
        let [_, rows, hidden] = r;
        let rows = check::meet(
            "rows of r and gates times hidden size",
            &rows,
            &(&hidden * self.n_gates),
        )?;
        check::meet_shape(
            "w",
            inputs.shape(1),
            &mut [directions.clone(), rows.clone(), features],
        )?;
        check::meet_shape("b", inputs.shape(3), &mut [directions.clone(), &rows * 2])?;
        check::meet_shape(
            "peepholes",
            inputs.shape(7),
            &mut [directions.clone(), &hidden * 3],
        )?;

        let mut batch = [batch];
        check::meet_shape("sequence lengths", inputs.shape(4), &mut batch)?;
        let [batch] = batch;
        let mut state = if self.kernel.batch_first {
            [batch, directions, hidden]
        } else {
            [directions, batch, hidden]
        };
        check::meet_shape("initial state", inputs.shape(5), &mut state)?;
        check::meet_shape("initial cell", inputs.shape(6), &mut state)?;

        let mut y = state.to_vec();
        y.insert(usize::from(self.kernel.batch_first), seq);
        let state = rules::fact(dtype, Some(Shape(state.into())));
        Ok(vec![
            rules::fact(dtype, Some(Shape(y))),
            state.clone(),
            state,
        ])
    }
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal.into()),
            None => rnn_kernel::dispatch(&self.kernel, call),
        }
    }
}
