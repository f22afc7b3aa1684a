//! Text of kernels that slide a small window over single planes, as depthwise convolutions and pools
//! do: an invocation computes neighbouring elements from elements of x that it loads once.

use std::fmt::Write;

use super::window::Slide;

/// What the text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sliding {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Rows and columns of y that an invocation computes.
    pub block: [usize; 2],
}

/// What becomes of the elements in a window.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fold {
    /// The sum of their products with the weights of the plane's feature.
    Products,
    Sum,
    Max,
}

/// Kernels beyond these make too long a text.
const MAX_KERNEL: usize = 7;
const MAX_STRIDE: usize = 2;

impl Sliding {
    /// `None` where windows are large or have holes.
    pub fn of([outer, rows, cols]: &[Slide; 3], block: [usize; 2]) -> Option<Sliding> {
        let fits = |slide: &Slide| {
            slide.kernel <= MAX_KERNEL
                && slide.stride <= MAX_STRIDE
                && (slide.dilation == 1 || slide.kernel == 1)
        };
        let small = *outer == Slide::NONE && fits(rows) && fits(cols);
        small.then_some(Sliding {
            kernel: [rows.kernel, cols.kernel],
            stride: [rows.stride, cols.stride],
            block: [block[0].min(rows.y.max(1)), block[1]],
        })
    }

    /// One for each block of this many planes of y, in workgroups of 64.
    pub fn n_invocations(&self, n_planes: usize, slides: &[Slide; 3]) -> usize {
        n_planes * slides[1].y.div_ceil(self.block[0]) * slides[2].y.div_ceil(self.block[1])
    }

    /// x: [batch, groups, x1, x2], w: [groups * features, kernel1, kernel2]
    /// -> y: [batch, groups * features, y1, y2], one invocation for a block of y. What is stored is
    /// `end(folded, number of the element)`; sums of products start at `begin(feature)`.
    pub fn text(&self, fold: Fold) -> String {
        let (start, outside) = match fold {
            Fold::Max => ("bitcast<f32>(0xff7fffffu)", "bitcast<f32>(0xff7fffffu)"),
            Fold::Sum => ("0.0", "0.0"),
            Fold::Products => ("begin(m)", "acc()"),
        };
        let ([k1, k2], [s1, s2], [n_rows, n_cols]) = (self.kernel, self.stride, self.block);
        let mut text = format!(
            "@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {{
  let i = (group.y * groups.x + group.x) * 64u + lane;
  let across = (params.y2 + {n_cols}u - 1u) / {n_cols}u;
  let down = (params.y1 + {n_rows}u - 1u) / {n_rows}u;
  let o2 = i % across * {n_cols}u;
  let o1 = i / across % down * {n_rows}u;
  let plane = i / across / down;
  if plane >= params.n_planes {{ return; }}
  let m = plane % (params.groups * params.features);
  let first = plane / params.features * params.x1 * params.x2;
  // Places before the beginning wrap around to numbers beyond every size.
  let first1 = o1 * {s1}u - params.before1;
  let first2 = o2 * {s2}u - params.before2;
"
        );
        let load = match fold {
            Fold::Products => "x_at",
            Fold::Sum | Fold::Max => "load_x",
        };
        let mut line = |text_line: String| {
            writeln!(text, "  {text_line}").expect("strings take what is written");
        };
        let n_weights = if fold == Fold::Products { k1 * k2 } else { 0 };
        for tap in 0..n_weights {
            line(format!("let w{tap} = w_at(m * {}u + {tap}u, m);", k1 * k2));
        }
        line(format!("let start = {start};"));
        for row in 0..n_rows {
            for col in 0..n_cols {
                line(format!("var y{row}_{col} = start;"));
            }
        }
        for row in 0..(n_rows - 1) * s1 + k1 {
            line(format!("let i{row} = first1 + {row}u;"));
            line(format!("let in{row} = i{row} < params.x1;"));
            line(format!(
                "let at{row} = first + i{row} * params.x2 + first2;"
            ));
            for col in 0..(n_cols - 1) * s2 + k2 {
                line(format!(
                    "let x{row}_{col} = select({outside}, {load}(at{row} + {col}u), in{row} && first2 + {col}u < params.x2);"
                ));
                for (y_row, tap1) in seen(row, s1, k1, n_rows) {
                    for (y_col, tap2) in seen(col, s2, k2, n_cols) {
                        let tap = tap1 * k2 + tap2;
                        let (y, x) = (format!("y{y_row}_{y_col}"), format!("x{row}_{col}"));
                        line(match fold {
                            Fold::Products => format!("{y} += {x} * w{tap};"),
                            Fold::Sum => format!("{y} += {x};"),
                            Fold::Max => format!("{y} = max({y}, {x});"),
                        });
                    }
                }
            }
        }
        line("let at = (plane * params.y1 + o1) * params.y2 + o2;".to_owned());
        for row in 0..n_rows {
            for col in 0..n_cols {
                line(format!(
                    "if o1 + {row}u < params.y1 && o2 + {col}u < params.y2 {{ let to = at + {row}u * params.y2 + {col}u; store_y(to, end(y{row}_{col}, to)); }}"
                ));
            }
        }
        text.push('}');
        text
    }
}

/// Which of `n` neighbouring windows see element `idx`, and at which tap.
fn seen(
    idx: usize,
    stride: usize,
    kernel: usize,
    n: usize,
) -> impl Iterator<Item = (usize, usize)> {
    (0..n).filter_map(move |window| {
        let tap = idx.checked_sub(window * stride)?;
        (tap < kernel).then_some((window, tap))
    })
}
