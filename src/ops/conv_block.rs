//! Text of convolutions in registers alone: an invocation computes a few features at neighbouring
//! places of a row. Several terms are summed before they meet an accumulator, and places that
//! share elements of x load them once.

use std::fmt::Write;

use super::conv_kernels::Geometry;
use super::window::Slide;

/// What the text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// 1, 4 or 8 features of one group.
    pub features: usize,
    /// Along a row of y.
    pub places: usize,
    /// Whether features fill their blocks.
    pub whole: bool,
    pub run: Run,
}

/// Terms that meet an accumulator at once, of a row of the kernel, of a column, or of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub n_terms: usize,
    /// How far places are apart, where the terms are a whole row side by side: places share them.
    pub stride: Option<usize>,
}

/// Rows of kernels beyond this make too long a text.
const MAX_RUN: usize = 7;
const MAX_STRIDE: usize = 2;

/// A walk over all terms in one loop, from run to run: a CPU that plays GPU pays for every
/// accumulator whenever a loop begins, goes on or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Walk {
    /// How often the inner two of three axes go on until the next one does, the innermost first.
    pub counts: [usize; 2],
    /// From one run to the next on each axis, the innermost first.
    pub steps: [usize; 3],
    /// From one term of a run to the next.
    pub apart: usize,
}

impl Walk {
    /// Over planes of this size.
    pub fn of(geometry: &Geometry, run: Run, rows: usize, cols: usize) -> Walk {
        let [_, outer, inner] = &geometry.slides;
        let mut axes = [
            (inner.kernel, inner.dilation),
            (outer.kernel, outer.dilation * cols),
            (geometry.channels, rows * cols),
        ];
        // Axes of one place come last.
        axes.sort_by_key(|(count, _)| *count == 1);
        Walk {
            counts: [axes[0].0 / run.n_terms, axes[1].0],
            steps: [run.n_terms * axes[0].1, axes[1].1, axes[2].1],
            apart: axes[0].1,
        }
    }
}

impl Run {
    fn of(geometry: &Geometry) -> Run {
        let [_, outer, inner] = &geometry.slides;
        let is_row = inner.kernel > 1;
        let n_all = match (is_row, outer.kernel > 1) {
            (true, _) => inner.kernel,
            (false, true) => outer.kernel,
            _ => geometry.channels,
        };
        let shares = is_row && inner.dilation == 1 && inner.stride <= MAX_STRIDE;
        if shares && n_all <= MAX_RUN {
            let stride = Some(inner.stride);
            return Run {
                n_terms: n_all,
                stride,
            };
        }
        Run {
            n_terms: if n_all.is_multiple_of(2) { 2 } else { 1 },
            stride: None,
        }
    }
}

impl Block {
    pub fn of(geometry: &Geometry) -> Block {
        let features = match geometry.features {
            0 | 1 => 1,
            2..=4 => 4,
            _ => 8,
        };
        Block {
            features,
            places: if features == 1 { 16 } else { 8 },
            whole: geometry.features.is_multiple_of(features),
            run: Run::of(geometry),
        }
    }

    pub fn n_invocations(&self, n_groups: usize, features: usize, slides: &[Slide; 3]) -> usize {
        let [_, rows, cols] = slides;
        n_groups * features.div_ceil(self.features) * rows.y * cols.y.div_ceil(self.places)
    }

    /// x: [groups of all batches, channels, rows, cols], padded so that no window leaves it;
    /// w: [groups, blocks, terms, features], in vectors of four unless there is one feature;
    /// y: [groups of all batches, features, y1, y2]. Sums start at `begin(feature)`, and `end(sum,
    /// number of the element)` is stored.
    pub fn text(&self) -> String {
        let (n_places, vectors) = (self.places, self.features.div_ceil(4));
        let sum = if self.features == 1 {
            "acc"
        } else {
            "vec4<acc>"
        };
        let mut text = self.put(sum);
        write!(
            text,
            "
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {{
  let i = (workgroup.y * workgroups.x + workgroup.x) * 64u + lane;
  let across = (params.y2 + {n_places}u - 1u) / {n_places}u;
  let o2 = i % across * {n_places}u;
  var rest = i / across;
  let o1 = rest % params.y1;
  rest /= params.y1;
  let block = rest % params.blocks;
  let group = rest / params.blocks;
  if group >= params.n_groups {{ return; }}

  let m = block * {}u;
  let part = group % params.groups;
  var weight = (part * params.blocks + block) * params.terms * {vectors}u;
  var at = (group * params.channels * params.rows + o1 * params.stride1) * params.cols + o2 * params.stride2;
",
            self.features
        )
        .expect("strings take what is written");
        for vector in 0..vectors {
            let first = format!("start(part * params.features, m + {}u)", 4 * vector);
            writeln!(text, "  let start{vector} = {first};").expect("strings take what is written");
            for place in 0..n_places {
                writeln!(text, "  var y{place}_{vector} = start{vector};")
                    .expect("strings take what is written");
            }
        }
        if self.run.stride.is_none() {
            for place in 1..n_places {
                writeln!(text, "  let places{place} = {place}u * params.stride2;")
                    .expect("strings take what is written");
            }
            for term in 1..self.run.n_terms {
                writeln!(text, "  let terms{term} = {term}u * params.apart;")
                    .expect("strings take what is written");
            }
        }
        let n_terms = self.run.n_terms;
        write!(
            text,
            "  var k0 = 0u;
  var k1 = 0u;
  for (var term = 0u; term < params.terms; term += {n_terms}u) {{\n"
        )
        .expect("strings take what is written");
        self.terms(&mut text);
        text.push_str(
            "    k0++;
    let ends0 = k0 == params.count0;
    k1 += select(0u, 1u, ends0);
    let ends1 = k1 == params.count1;
    at += select(params.next0, bitcast<u32>(params.next1), ends0)
      + select(0u, bitcast<u32>(params.next2), ends1);
    k0 = select(k0, 0u, ends0);
    k1 = select(k1, 0u, ends1);
  }

  let plane = params.y1 * params.y2;
  let first = ((group * params.features + m) * params.y1 + o1) * params.y2 + o2;\n",
        );
        for place in 0..n_places {
            let mut puts = String::new();
            for vector in 0..vectors {
                let sum = format!("y{place}_{vector}");
                let at = format!("first + {}u * plane + {place}u", 4 * vector);
                write!(puts, "put({sum}, m + {}u, {at}); ", 4 * vector)
                    .expect("strings take what is written");
            }
            writeln!(text, "  if o2 + {place}u < params.y2 {{ {puts}}}")
                .expect("strings take what is written");
        }
        text.push('}');
        text
    }

    /// `fn start`, the bias of features, and `fn put`, which stores their sums at one place.
    fn put(&self, sum: &str) -> String {
        if self.features == 1 {
            return format!(
                "fn start(first: u32, m: u32) -> {sum} {{ return begin(first + m); }}
fn put(sum: {sum}, m: u32, at: u32) {{ store_y(at, end(sum, at)); }}"
            );
        }
        let mut text = format!(
            "fn start(first: u32, m: u32) -> {sum} {{
  let at = first + min(vec4<u32>(m) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.features - 1u));
  return {sum}(begin(at.x), begin(at.y), begin(at.z), begin(at.w));
}}
fn put(sum: {sum}, m: u32, first: u32) {{
  let plane = params.y1 * params.y2;
  let at = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) * plane;\n"
        );
        for (idx, name) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let store = format!("store_y(at.{name}, end(sum.{name}, at.{name}));");
            if self.whole {
                writeln!(text, "  {store}")
            } else {
                writeln!(text, "  if m + {idx}u < params.features {{ {store} }}")
            }
            .expect("strings take what is written");
        }
        text.push('}');
        text
    }

    /// Adds the terms of a run to the sums.
    fn terms(&self, text: &mut String) {
        let Run { n_terms, stride } = self.run;
        let vectors = self.features.div_ceil(4);
        let mut line = |line: String| {
            writeln!(text, "    {line}").expect("strings take what is written");
        };
        for idx in 0..n_terms * vectors {
            line(format!("let w{idx} = load_w(weight + {idx}u);"));
        }
        line(format!("weight += {}u;", n_terms * vectors));
        let x = |place: usize, term: usize| match stride {
            Some(stride) => format!("x{}", place * stride + term),
            None => format!("x{place}_{term}"),
        };
        let mut loaded: Vec<String> = Vec::new();
        for place in 0..self.places {
            for term in 0..n_terms {
                let name = x(place, term);
                if loaded.contains(&name) {
                    continue;
                }
                let mut from = "at".to_owned();
                match stride {
                    Some(stride) => from.push_str(&format!(" + {}u", place * stride + term)),
                    None => {
                        for (what, idx) in [("terms", term), ("places", place)] {
                            if idx > 0 {
                                from.push_str(&format!(" + {what}{idx}"));
                            }
                        }
                    }
                }
                line(format!("let {name} = x_at({from});"));
                loaded.push(name);
            }
            for vector in 0..vectors {
                let products = (0..n_terms)
                    .map(|term| format!("{} * w{}", x(place, term), term * vectors + vector));
                let products: Vec<String> = products.collect();
                line(format!("y{place}_{vector} += {};", products.join(" + ")));
            }
        }
    }
}
