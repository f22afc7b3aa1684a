//! Recurrent layers. One step of each direction makes the hidden state from the input and the
//! state before it: `RNN` `h = tanh(x w + h r + b)`, `GRU` and `LSTM` with gates of that form.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
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
    /// True where the batch is the first axis, not the second.
    batch_first: bool,
}

fn rnn(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    parse(attrs, version, 1)
}

fn gru(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    parse(attrs, version, 3)
}

fn lstm(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    parse(attrs, version, 4)
}

fn parse(attrs: &Attrs, version: i64, n_gates: i64) -> Result<Box<dyn Op>> {
    let n_directions = match attrs.str("direction") {
        None | Some("forward" | "reverse") => 1,
        Some("bidirectional") => 2,
        Some(other) => return Err(Error::parse("", format!("direction is {other:?}"))),
    };
    Ok(Box::new(Recurrent {
        n_gates,
        n_directions,
        hidden_size: check::count(attrs, "hidden_size", 1)?,
        batch_first: version >= 14 && check::flag(attrs, "layout"),
    }))
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
        let (seq, batch) = if self.batch_first {
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
        let mut state = if self.batch_first {
            [batch, directions, hidden]
        } else {
            [directions, batch, hidden]
        };
        check::meet_shape("initial state", inputs.shape(5), &mut state)?;
        check::meet_shape("initial cell", inputs.shape(6), &mut state)?;

        let mut y = state.to_vec();
        y.insert(usize::from(self.batch_first), seq);
        let state = rules::fact(dtype, Some(Shape(state.into())));
        Ok(vec![
            rules::fact(dtype, Some(Shape(y))),
            state.clone(),
            state,
        ])
    }
}
