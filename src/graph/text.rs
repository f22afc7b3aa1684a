//! Graphs as text: what tests and cases are written in, and what debug output shows.
//!
//! One statement in a line; `#` starts a comment; lists may span lines.
//! ```text
//! opset 17                          # of ONNX's own operators; 21 when absent
//! opset com.microsoft 1             # of a domain; 1 when absent
//! input x: f32[1, batch, (n * 2), ?]
//! input s: seq(f32[2])              # also opt(..), other; `f32` alone has no known shape
//! input k: i64[] = [3]              # with a default
//! const w: i64[2] = [1, -2]         # row-major; or hex: 0x0100000000000000fe..
//! value t: f32[1, 4]                # a fact about a value that a node makes
//! y, _, "odd name" = com.microsoft::Op(x, _, t) {axis = 1, alpha = 0.5, pads = [1, 2]} @node
//! t: f32[1, 4] = Relu(y)            # a fact in place
//! c = If(k) then_branch {           # a body reads values around it by name
//!   z = Neg(t)
//!   output z
//! } else_branch {
//!   ...
//! }
//! output y: f32[4]
//! ```

mod cursor;
mod data;
mod parse;
mod print;

pub use parse::parse;
pub use print::{print, print_short};
