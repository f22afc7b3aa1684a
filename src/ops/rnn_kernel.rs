//! The kernels of `LSTM`, `GRU` and `RNN`: the input is projected for all steps at once, then one
//! launch for each step takes the states on.

use super::activation;
use super::product::{Layout, Product};
use crate::kernel::{
    Axes, Call, Dispatch, Kernel, Launch, Map, Port, Refusal, Storage, collapse, dense_strides,
    grid,
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Lstm,
    Gru { linear_before_reset: bool },
    Rnn,
}

impl Cell {
    fn n_gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// `fn advance(at: State, projected: vec4<f32>, recurrent: vec4<f32>)`, from the gates'
    /// sums without and with the last state, each with its bias.
    fn advance(self, has_peepholes: bool) -> String {
        let peephole = |gate: u32, cell: &str| match has_peepholes {
            true => format!(
                " + load_peephole((at.dir * 3u + {gate}u) * params.hidden + at.unit) * {cell}"
            ),
            false => String::new(),
        };
        let body = match self {
            Cell::Lstm => format!(
                "  let gates = projected + recurrent;
  let before = cell[at.idx];
  let taken = sigmoid_of(gates.x{});
  let kept = sigmoid_of(gates.z{});
  let now = kept * before + taken * tanh_of(gates.w);
  let shown = sigmoid_of(gates.y{});
  cell[at.idx] = now;
  keep(at, shown * tanh_of(now));",
                peephole(0, "before"),
                peephole(2, "before"),
                peephole(1, "now"),
            ),
            Cell::Gru {
                linear_before_reset,
            } => {
                let reset = if linear_before_reset { "reset * " } else { "" };
                format!(
                    "  let update = sigmoid_of(projected.x + recurrent.x);
  let reset = sigmoid_of(projected.y + recurrent.y);
  let fresh = tanh_of(projected.z + {reset}recurrent.z);
  keep(at, mix(fresh, load_state(at.idx), update));"
                )
            }
            Cell::Rnn => "  keep(at, tanh_of(projected.x + recurrent.x));".to_owned(),
        };
        format!("fn advance(at: State, projected: vec4<f32>, recurrent: vec4<f32>) {{\n{body}\n}}")
    }
}

/// What the operator's attributes say.
pub(super) struct Recurrence {
    pub cell: Cell,
    pub reverse: bool,
    pub batch_first: bool,
}

struct Sizes {
    seq: usize,
    batch: usize,
    dirs: usize,
    hidden: usize,
}

/// Every step is a launch: beyond these, sending them takes longer than the cpu needs.
const MAX_STEPS: usize = 4096;

const BEFORE_GATES: &str = "fn source(i: u32) -> vec4<f32> { return vec4<f32>(load_state(i)); }";

pub(super) fn dispatch(of: &Recurrence, call: &Call) -> Result<Dispatch, Refusal> {
    let (x, w) = (call.sizes(0), call.sizes(1));
    let (batch, seq) = if of.batch_first {
        (x[0], x[1])
    } else {
        (x[1], x[0])
    };
    let n_gates = of.cell.n_gates();
    let sizes = Sizes {
        seq,
        batch,
        dirs: w[0],
        hidden: w[1] / n_gates,
    };
    if call.has_input(4) && call.ints(4)?.iter().any(|&length| length != seq as i64) {
        return Err("sequences of their own lengths have no kernel".into());
    }
    if seq > MAX_STEPS {
        return Err("so many steps run on the cpu".into());
    }
    let mut dispatch = Dispatch::default();
    let weights = pack_weights(&mut dispatch, call, &sizes, n_gates)?;
    let projected = project(&mut dispatch, call, &sizes, n_gates)?;
    let mut state = initial(&mut dispatch, of, call, &sizes, 5)?;
    let n_states = sizes.dirs * sizes.batch * sizes.hidden;
    let cell = match of.cell {
        Cell::Lstm => Some(initial(&mut dispatch, of, call, &sizes, 6)?),
        _ => None,
    };
    let mut next = dispatch.add_scratch(Storage::F32, n_states);
    let reset = match of.cell {
        Cell::Gru {
            linear_before_reset: false,
        } => Some(dispatch.add_scratch(Storage::F32, n_states)),
        _ => None,
    };
    for step in 0..seq {
        let begin = |name| {
            let kernel = Kernel::new(name, include_str!("rnn_step.wgsl"));
            let kernel = steps(kernel, of, &sizes, step, n_gates)
                .read_vec4("weights", weights)
                .read("projected", projected)
                .read("state", state);
            bias(kernel, call)
        };
        if let Some(reset) = reset {
            let launch = begin("rnn_reset")?
                .write("reset", reset)
                .snippet(BEFORE_GATES)
                .snippet(
                    "fn advance(at: State, projected: vec4<f32>, recurrent: vec4<f32>) {
  store_reset(at.idx, sigmoid_of(projected.y + recurrent.y) * load_state(at.idx));
}",
                )
                .launch(grid(n_states.div_ceil(64), call.caps));
            dispatch.launches.push(launch);
        }
        let mut kernel = begin("rnn_step")?.write("next", next);
        if let Some(reset) = reset {
            kernel = kernel.read("reset", reset).snippet(
                "fn source(i: u32) -> vec4<f32> {
  let state = load_state(i);
  return vec4<f32>(state, state, load_reset(i), 0.0);
}",
            );
        } else {
            kernel = kernel.snippet(BEFORE_GATES);
        }
        if let Some(cell) = cell {
            kernel = kernel.read_write("cell", cell);
        }
        if call.has_input(7) {
            kernel = kernel.read("peephole", call.input(7)?);
        }
        let store_y = if call.has_output(0) {
            kernel = kernel.write("y", call.output(0)?);
            "store_y(at.y, h);"
        } else {
            ""
        };
        let launch = kernel
            .snippet(&of.cell.advance(call.has_input(7)))
            .snippet(&format!(
                "fn keep(at: State, h: f32) {{ store_next(at.idx, h); {store_y} }}"
            ))
            .launch(grid(n_states.div_ceil(64), call.caps));
        dispatch.launches.push(launch);
        if step == 0 && seq > 1 {
            // What the first step reads may be an input of the node.
            state = dispatch.add_scratch(Storage::F32, n_states);
        }
        (state, next) = (next, state);
    }
    if call.has_output(1) {
        let launch = copy_out(of, call, &sizes, state, call.output(1)?);
        dispatch.launches.push(launch);
    }
    if let Some(cell) = cell.filter(|_| call.has_output(2)) {
        let launch = copy_out(of, call, &sizes, cell, call.output(2)?);
        dispatch.launches.push(launch);
    }
    Ok(dispatch)
}

/// r: [dirs, gates * hidden, hidden] -> [dirs, hidden (of the state), hidden, 4]: the gates of a
/// unit side by side, those of the next unit behind them.
fn pack_weights(
    dispatch: &mut Dispatch,
    call: &Call,
    sizes: &Sizes,
    n_gates: usize,
) -> Result<Port, Refusal> {
    let n_elems = sizes.dirs * sizes.hidden * sizes.hidden * 4;
    let packed = dispatch.add_scratch(Storage::F32, n_elems);
    let body = "fn element(i: u32) -> y_value {
  let gate = i % 4u;
  let unit = i / 4u % params.hidden;
  let k = i / 4u / params.hidden % params.hidden;
  let dir = i / 4u / params.hidden / params.hidden;
  if gate >= GATES { return 0.0; }
  return load_r(((dir * GATES + gate) * params.hidden + unit) * params.hidden + k);
}
";
    let kernel = Map::kernel("rnn_pack", body)
        .param("hidden", sizes.hidden)
        .constant("GATES", n_gates)
        .read("r", call.input(2)?);
    dispatch
        .launches
        .push(Map::launch(kernel, packed, n_elems, call.caps));
    Ok(packed)
}

/// x: [seq * batch, in], w: [dirs, gates * hidden, in] -> [dirs, seq * batch, gates * hidden].
fn project(
    dispatch: &mut Dispatch,
    call: &Call,
    sizes: &Sizes,
    n_gates: usize,
) -> Result<Port, Refusal> {
    let (rows, cols) = (sizes.seq * sizes.batch, n_gates * sizes.hidden);
    let projected = dispatch.add_scratch(Storage::F32, sizes.dirs * rows * cols);
    let x = Layout::dense(&[rows, call.sizes(0)[2]]);
    let mut w = Layout::dense(&call.sizes(1));
    w.transpose();
    let product = Product::new((call.input(0)?, &x), (call.input(1)?, &w), projected);
    product.append(dispatch, call);
    Ok(projected)
}

/// The states before the first step, [dirs, batch, hidden].
fn initial(
    dispatch: &mut Dispatch,
    of: &Recurrence,
    call: &Call,
    sizes: &Sizes,
    idx: usize,
) -> Result<Port, Refusal> {
    let given = call.has_input(idx);
    // A cell is written in place, a state is not.
    if given && idx == 5 && !of.batch_first && call.input(idx)?.storage == Storage::F32 {
        return call.input(idx);
    }
    let state = [sizes.dirs, sizes.batch, sizes.hidden];
    let n_elems = state.iter().product();
    let port = dispatch.add_scratch(Storage::F32, n_elems);
    let kernel = if given {
        let strides = if of.batch_first {
            vec![sizes.hidden, sizes.dirs * sizes.hidden, 1]
        } else {
            dense_strides(&state)
        };
        copy(call.input(idx)?, &collapse(&state, &[strides]))
    } else {
        Map::kernel(
            "rnn_zero",
            "fn element(i: u32) -> y_value { return 0.0; }\n",
        )
    };
    dispatch
        .launches
        .push(Map::launch(kernel, port, n_elems, call.caps));
    Ok(port)
}

fn copy_out(of: &Recurrence, call: &Call, sizes: &Sizes, from: Port, to: Port) -> Launch {
    let Sizes {
        batch,
        dirs,
        hidden,
        ..
    } = *sizes;
    let axes = if of.batch_first {
        let strides = vec![hidden, batch * hidden, 1];
        collapse(&[batch, dirs, hidden], &[strides])
    } else {
        let state = [dirs, batch, hidden];
        collapse(&state, &[dense_strides(&state)])
    };
    Map::launch(copy(from, &axes), to, batch * dirs * hidden, call.caps)
}

fn copy(from: Port, axes: &Axes) -> Kernel {
    let body = "fn element(i: u32) -> y_value { return load_x(offsets(i)[0]); }\n";
    axes.declare(Map::kernel("rnn_state", body).read("x", from))
}

/// The sizes and strides of one step.
fn steps(kernel: Kernel, of: &Recurrence, sizes: &Sizes, step: usize, n_gates: usize) -> Kernel {
    let Sizes {
        seq,
        batch,
        dirs,
        hidden,
    } = *sizes;
    // Rows of the projected input, and elements of y, from one step or sequence to the next.
    let (row_step, row_batch) = if of.batch_first { (1, seq) } else { (batch, 1) };
    let (y_step, y_dir, y_batch) = if of.batch_first {
        (dirs * hidden, hidden, seq * dirs * hidden)
    } else {
        (dirs * batch * hidden, batch * hidden, hidden)
    };
    kernel
        .param("step", step)
        .param("seq", seq)
        .param("batch", batch)
        .param("dirs", dirs)
        .param("hidden", hidden)
        .param("reverse", of.reverse.into())
        .param("row_step", row_step)
        .param("row_batch", row_batch)
        .param("y_step", y_step)
        .param("y_dir", y_dir)
        .param("y_batch", y_batch)
        .constant("GATES", n_gates)
        .snippet(&activation::function("squash", "tanh_of(x)", "f32"))
}

/// `fn bias(i: u32) -> f32`, element `i` of b: [dirs, 2, gates, hidden].
fn bias(kernel: Kernel, call: &Call) -> Result<Kernel, Refusal> {
    if !call.has_input(3) {
        return Ok(kernel.snippet("fn bias(i: u32) -> f32 { return 0.0; }"));
    }
    Ok(kernel
        .read("b", call.input(3)?)
        .snippet("fn bias(i: u32) -> f32 { return load_b(i); }"))
}
