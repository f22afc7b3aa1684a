//! Kernels of pools.

use super::sliding::{Fold, Sliding};
use super::window::Slide;
use crate::kernel::{Call, Dispatch, Kernel, Launch, Map, Port, Refusal, grid};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Max {
        /// Places are numbered along columns.
        column_major: bool,
    },
    Average {
        count_include_pad: bool,
    },
    /// The p-norm.
    Lp(i64),
}

/// Inputs: x: [n, c, d..] -> y: [n, c, d'..] and, of maxima, where they were.
pub(super) fn dispatch(call: &Call, kind: Kind, slides: [Slide; 3]) -> Result<Dispatch, Refusal> {
    let (x, y) = (call.input(0)?, call.output(0)?);
    if !x.storage.is_float() && !matches!(kind, Kind::Max { .. }) {
        return Err("it is not over floats".into());
    }
    let pool = Pool {
        call,
        kind,
        slides,
        x,
    };
    let launch = match pool.sliding() {
        Some((sliding, fold)) => pool.blocks(sliding, fold, y),
        None => pool.launch("pool", pool.functions(), y),
    };
    let mut dispatch = Dispatch::one(launch);
    if call.has_output(1) {
        let text = pool.place()?;
        let launch = pool.launch("pool_places", text, call.output(1)?);
        dispatch.launches.push(launch);
    }
    Ok(dispatch)
}

/// Elements of a window that are in x or its padding: the last windows may reach further.
const WITHIN: &str = "fn n_within(first: vec3<u32>) -> u32 {
  let n0 = min(params.kernel0, (params.limit0 - first.x + params.dilation0 - 1u) / params.dilation0);
  let n1 = min(params.kernel1, (params.limit1 - first.y + params.dilation1 - 1u) / params.dilation1);
  let n2 = min(params.kernel2, (params.limit2 - first.z + params.dilation2 - 1u) / params.dilation2);
  return n0 * n1 * n2;
}";

struct Pool<'a> {
    call: &'a Call<'a>,
    kind: Kind,
    slides: [Slide; 3],
    x: Port,
}

impl Pool<'_> {
    /// How neighbouring windows share what they load, where that pays: on a CPU, which has no
    /// cache that many invocations fill together.
    fn sliding(&self) -> Option<(Sliding, Fold)> {
        let fold = match self.kind {
            Kind::Max { .. } => Fold::Max,
            Kind::Average { .. } => Fold::Sum,
            Kind::Lp(_) => return None,
        };
        let shares = self.call.caps.software && self.x.storage.is_float();
        let sliding = Sliding::of(&self.slides, [4, 4])?;
        shares.then_some((sliding, fold))
    }

    fn blocks(&self, sliding: Sliding, fold: Fold, y: Port) -> Launch {
        let sizes = self.call.output_sizes(0);
        let n_planes = sizes[0] * sizes[1];
        let finished = match self.kind {
            Kind::Average { count_include_pad } => {
                let count = if count_include_pad {
                    "n_within"
                } else {
                    "n_inside"
                };
                format!("folded / f32({count}(first))")
            }
            _ => "folded".to_owned(),
        };
        let kernel = Kernel::new("pool_blocks", &sliding.text(fold))
            .param("n_planes", n_planes)
            .param("groups", sizes[1])
            .param("features", 1);
        let kernel = self.limits(Slide::declare(&self.slides, kernel));
        kernel
            .read("x", self.x)
            .write("y", y)
            .snippet(WITHIN)
            .snippet(&format!(
                "fn end(folded: f32, i: u32) -> f32 {{
  let first = vec3<u32>(0u, i / params.y2 % params.y1 * params.stride1, i % params.y2 * params.stride2);
  return {finished};
}}
fn n_inside(first: vec3<u32>) -> u32 {{
  let n1 = min(first.y + params.kernel1, params.before1 + params.x1) - max(first.y, params.before1);
  let n2 = min(first.z + params.kernel2, params.before2 + params.x2) - max(first.z, params.before2);
  return n1 * n2;
}}"
            ))
            .launch(grid(
                sliding
                    .n_invocations(n_planes, &self.slides)
                    .div_ceil(64),
                self.call.caps,
            ))
    }

    fn launch(&self, name: &'static str, functions: String, y: Port) -> Launch {
        let sizes = self.call.output_sizes(0);
        let kernel = Slide::declare(&self.slides, Map::kernel(name, include_str!("pool.wgsl")));
        let kernel = self
            .limits(kernel)
            .read("x", self.x)
            .snippet(WITHIN)
            .snippet(&functions);
        Map::launch(kernel, y, sizes.iter().product(), self.call.caps)
    }

    /// Where the padding behind each axis ends, counted from where that before it begins.
    fn limits(&self, kernel: Kernel) -> Kernel {
        let limits = self
            .slides
            .map(|slide| slide.before + slide.x + slide.after);
        kernel.params("limit", &limits)
    }

    fn functions(&self) -> String {
        let (state, folded, result) = match self.kind {
            Kind::Max { .. } => ("x_value", "select(max(state, x), x, n_seen == 0u)", "state"),
            Kind::Average {
                count_include_pad: false,
            } => ("f32", "state + x", "state / f32(n_seen)"),
            Kind::Average {
                count_include_pad: true,
            } => ("f32", "state + x", "state / f32(n_within(first))"),
            Kind::Lp(1) => ("f32", "state + abs(x)", "state"),
            Kind::Lp(2) => ("f32", "state + x * x", "sqrt(state)"),
            // The logarithm of 0 is no number to count on.
            Kind::Lp(p) => {
                return format!(
                    "alias State = f32;
fn power(x: f32, p: f32) -> f32 {{ return select(0.0, pow(max(x, 1e-38), p), x > 0.0); }}
fn fold(state: f32, x: x_value, at: u32, n_seen: u32) -> f32 {{ return state + power(abs(x), {p}.0); }}
fn result(state: f32, first: vec3<u32>, n_seen: u32) -> f32 {{ return power(state, 1.0 / {p}.0); }}"
                );
            }
        };
        format!(
            "alias State = {state};
fn fold(state: State, x: x_value, at: u32, n_seen: u32) -> State {{ return {folded}; }}
fn result(state: State, first: vec3<u32>, n_seen: u32) -> y_value {{ return {result}; }}"
        )
    }

    /// The functions for the number of the first maximum.
    fn place(&self) -> Result<String, Refusal> {
        let Kind::Max { column_major } = self.kind else {
            return Err("only maxima have places".into());
        };
        let place = if column_major {
            "let n = params.x0 * params.x1 * params.x2;
  let i = state.at % n;
  let i2 = i % params.x2;
  let i1 = i / params.x2 % params.x1;
  let i0 = i / params.x2 / params.x1;
  return i32(state.at - i + (i2 * params.x1 + i1) * params.x0 + i0);"
        } else {
            "return i32(state.at);"
        };
        Ok(format!(
            "struct State {{ largest: x_value, at: u32 }}
fn fold(state: State, x: x_value, at: u32, n_seen: u32) -> State {{
  if n_seen == 0u || x > state.largest {{ return State(x, at); }}
  return state;
}}
fn result(state: State, first: vec3<u32>, n_seen: u32) -> i32 {{
  {place}
}}"
        ))
    }
}
