//! The one kernel of all operators that put elements elsewhere: `y view = x view`.

use super::view::Pair;
use super::{
    Call, Capabilities, Dispatch, Kernel, Launch, Map, Port, Refusal, Unit, View, grid, map,
};

/// Sides of a tile, and from which sizes on tiles pay.
const TILE: usize = 32;
const MIN_TILED: usize = 16;

/// The first output is this view of the first input.
///
/// # Errors
/// A refusal for types that no kernel moves.
pub fn view_of_input(name: &'static str, call: &Call, x: &View) -> Result<Dispatch, Refusal> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let n_elems: usize = call.sizes(0).iter().product();
    if x.is_dense() && x.len() == n_elems {
        return Ok(Dispatch::view(0));
    }
    let y = View::dense(&x.sizes);
    let launch = copy(name, (input, x), (output, &y), call.caps)?;
    Ok(Dispatch::one(launch))
}

/// Writes every element of one view of `x` to its place in a view of `y` of the same sizes.
///
/// # Errors
/// A refusal for packed types where parts of words would be written.
pub fn copy(
    name: &'static str,
    (x, from): (Port, &View),
    (y, to): (Port, &View),
    caps: &Capabilities,
) -> Result<Launch, Refusal> {
    let pair = Pair::of(from, to);
    let unit = Unit::of(x.storage, &pair.runs());
    if let Some(matrices) = Matrices::of(&pair).filter(|_| !x.storage.is_packed()) {
        if !caps.software && matrices.rows.min(matrices.cols) >= MIN_TILED {
            return Ok(matrices.tiles(name, x, y, caps));
        }
        if caps.software && pair.is_in_fours() && matrices.rows.is_multiple_of(4) {
            return Ok(matrices.blocks(name, x, y, caps));
        }
    }
    if unit.n_elems == 1 && to.is_dense() {
        let kernel = Map::kernel(name, include_str!("../wgsl/copy_fours.wgsl"))
            .param("last", to.len().saturating_sub(1))
            .param_i32("x_step", word(pair.strides[pair.rank() - 1][0]));
        let kernel = pair.declare(kernel).read("x", x);
        return Ok(Map::fours(kernel, y, to.len(), caps));
    }
    if unit.is_packed() {
        return Err("parts of words cannot be written".into());
    }
    let pair = pair.by(unit.n_elems);
    let n_units: usize = pair.sizes.iter().product();
    let kernel = Kernel::new(name, include_str!("../wgsl/copy.wgsl")).param("n_units", n_units);
    let kernel = unit.read(pair.declare(kernel), "x", x);
    let n_groups = n_units.div_ceil(map::WORKGROUP);
    Ok(unit.write(kernel, y).launch(grid(n_groups, caps)))
}

/// Writes all of `x` to `y`, in the same order.
pub fn copy_all(x: Port, y: Port, n_elems: usize, caps: &Capabilities) -> Launch {
    let unit = Unit::of_whole(x.storage);
    let kernel = Map::kernel("copy", "fn element(i: u32) -> unit { return load_x(i); }");
    unit.map(unit.read(kernel, "x", x), y, n_elems, caps)
}

impl Pair {
    fn rank(&self) -> usize {
        self.sizes.len()
    }

    /// The lengths of what lies side by side in both, and where it begins.
    fn runs(&self) -> Vec<usize> {
        let (last, outer) = self.strides.split_last().expect("there is an axis");
        if *last != [1, 1] {
            return vec![1];
        }
        let starts = outer.iter().chain([&self.bases]).flatten();
        let starts = starts.map(|start| usize::try_from(start.unsigned_abs()).unwrap_or(1));
        starts.chain(self.sizes.last().copied()).collect()
    }

    /// True where a transposition of the last axis can go by vectors on both sides.
    fn is_in_fours(&self) -> bool {
        let (last, outer) = self.strides.split_last().expect("there is an axis");
        let steps = outer.iter().flatten().filter(|&&step| step != 1);
        let mut steps = steps.chain(&self.bases).chain([&last[0]]);
        steps.all(|step| step % 4 == 0) && self.sizes[self.rank() - 1].is_multiple_of(4)
    }

    /// In units of so many elements, on both sides.
    fn by(mut self, n_elems: usize) -> Pair {
        let last = self.rank() - 1;
        let n = word_of(n_elems);
        self.sizes[last] /= n_elems;
        for strides in &mut self.strides[..last] {
            *strides = strides.map(|stride| stride / n);
        }
        self.bases = self.bases.map(|base| base / n);
        self
    }

    /// Adds `fn place(i: u32) -> vec3<i32>`: where step `i` of the walk is in x and in y, and how
    /// many steps the run along the last axis still has.
    fn declare(&self, mut kernel: Kernel) -> Kernel {
        let mut text = "fn place(i: u32) -> vec3<i32> {
  var at = vec2<i32>(params.x_base, params.y_base);
  var rest = i;\n"
            .to_owned();
        kernel = kernel.param_i32("x_base", word(self.bases[0]));
        kernel = kernel.param_i32("y_base", word(self.bases[1]));
        for axis in (0..self.rank()).rev() {
            let [x, y] = self.strides[axis].map(word);
            kernel = kernel
                .param(&format!("size{axis}"), self.sizes[axis])
                .param_i32(&format!("x_stride{axis}"), x)
                .param_i32(&format!("y_stride{axis}"), y);
            if axis > 0 {
                text.push_str(&format!("  let outer{axis} = rest / params.size{axis};\n"));
                text.push_str(&format!("  rest -= outer{axis} * params.size{axis};\n"));
            }
            if axis + 1 == self.rank() {
                text.push_str(&format!("  let left = i32(params.size{axis} - rest);\n"));
            }
            let strides = format!("vec2<i32>(params.x_stride{axis}, params.y_stride{axis})");
            text.push_str(&format!("  at += i32(rest) * {strides};\n"));
            if axis > 0 {
                text.push_str(&format!("  rest = outer{axis};\n"));
            }
        }
        text.push_str("  return vec3<i32>(at, left);\n}");
        kernel.snippet(&text)
    }
}

/// A transposition of the last axis of y, along which x does not lie side by side, with the axis
/// along which it does.
struct Matrices {
    rows: usize,
    cols: usize,
    /// Of y's rows.
    y_stride: i64,
    /// Of x's columns.
    x_stride: i64,
    /// The axes around the two.
    batch: Pair,
}

impl Matrices {
    fn of(pair: &Pair) -> Option<Matrices> {
        let last = pair.rank() - 1;
        let [x_stride, 1] = pair.strides[last] else {
            return None;
        };
        let row_axis = (0..last).rev().find(|&axis| pair.strides[axis][0] == 1)?;
        let (rows, cols) = (pair.sizes[row_axis], pair.sizes[last]);
        if matches!(x_stride, 0 | 1) {
            return None;
        }
        let y_stride = pair.strides[row_axis][1];
        let mut batch = pair.clone();
        for axis in [last, row_axis] {
            batch.sizes.remove(axis);
            batch.strides.remove(axis);
        }
        if batch.sizes.is_empty() {
            batch.sizes.push(1);
            batch.strides.push([0, 0]);
        }
        Some(Matrices {
            rows,
            cols,
            y_stride,
            x_stride,
            batch,
        })
    }

    fn tiles(&self, name: &'static str, x: Port, y: Port, caps: &Capabilities) -> Launch {
        let (down, across) = (self.rows.div_ceil(TILE), self.cols.div_ceil(TILE));
        let n_tiles = down * across * self.batch.sizes.iter().product::<usize>();
        let kernel = Kernel::new(name, include_str!("../wgsl/copy_tiles.wgsl"))
            .param("rows", self.rows)
            .param("cols", self.cols)
            .param_i32("x_stride", word(self.x_stride))
            .param_i32("y_stride", word(self.y_stride))
            .param("down", down)
            .param("across", across)
            .param("n_tiles", n_tiles);
        self.batch
            .declare(kernel)
            .read("x", x)
            .write("y", y)
            .launch(grid(n_tiles, caps))
    }

    /// Where all numbers but a 1 are multiples of four.
    fn blocks(&self, name: &'static str, x: Port, y: Port, caps: &Capabilities) -> Launch {
        let batch = Pair {
            sizes: self.batch.sizes.clone(),
            strides: self
                .batch
                .strides
                .iter()
                .map(|s| s.map(|n| n / 4))
                .collect(),
            bases: self.batch.bases.map(|base| base / 4),
        };
        let (rows, cols) = (self.rows / 4, self.cols / 4);
        let n_blocks = rows * cols * batch.sizes.iter().product::<usize>();
        let kernel = Kernel::new(name, include_str!("../wgsl/copy_blocks.wgsl"))
            .param("rows", rows)
            .param("cols", cols)
            .param_i32("x_stride", word(self.x_stride / 4))
            .param_i32("y_stride", word(self.y_stride / 4))
            .param("n_blocks", n_blocks);
        batch
            .declare(kernel)
            .read_vec4("x", x)
            .write_vec4("y", y)
            .launch(grid(n_blocks.div_ceil(map::WORKGROUP), caps))
    }
}

fn word_of(n_elems: usize) -> i64 {
    i64::try_from(n_elems).expect("units are small")
}

/// A number for the device: tensors have fewer than 2^31 elements.
fn word(n_elems: i64) -> i32 {
    i32::try_from(n_elems).expect("the plan refuses tensors of 2^31 elements")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Operand, Storage};

    /// The shader that copies a view of all of `x`, which has one word for what it is about.
    fn chosen(storage: Storage, x: &View, software: bool) -> &'static str {
        let port = |operand| Port { operand, storage };
        let (input, output) = (port(Operand::Input(0)), port(Operand::Output(0)));
        let caps = Capabilities {
            software,
            ..Capabilities::default()
        };
        let y = View::dense(&x.sizes);
        let launch = copy("test", (input, x), (output, &y), &caps).unwrap();
        let words = ["workgroup>", "n_blocks", "x_step", "n_units"];
        let found = words.into_iter().find(|word| launch.code.contains(word));
        found.expect("every shader has one of the words")
    }

    #[test]
    fn transpositions_go_by_tiles_and_on_a_cpu_by_blocks() {
        let turned = View::dense(&[2, 32, 64]).permuted(&[0, 2, 1]);
        assert_eq!(chosen(Storage::F32, &turned, false), "workgroup>");
        assert_eq!(chosen(Storage::F32, &turned, true), "n_blocks");
        assert_eq!(chosen(Storage::U8, &turned, true), "x_step");
        let narrow = View::dense(&[3, 64]).permuted(&[1, 0]);
        assert_eq!(chosen(Storage::F32, &narrow, false), "x_step");
    }

    #[test]
    fn runs_that_fill_units_move_as_units() {
        let heads = View::dense(&[5, 3, 8]).permuted(&[1, 0, 2]);
        assert_eq!(chosen(Storage::F32, &heads, false), "n_units");
        assert_eq!(chosen(Storage::U8, &heads, false), "n_units");
        let odd = View::dense(&[5, 3, 7]).permuted(&[1, 0, 2]);
        assert_eq!(chosen(Storage::F32, &odd, false), "x_step");
        let shifted = View::dense(&[5, 9]).sliced(1, 1, 1, 8);
        assert_eq!(chosen(Storage::F32, &shifted, false), "x_step");
    }

    #[test]
    fn parts_of_words_are_refused() {
        let caps = Capabilities::default();
        let port = |operand| Port {
            operand,
            storage: Storage::U8,
        };
        let (x, y) = (port(Operand::Input(0)), port(Operand::Output(0)));
        let to = |cols| View::dense(&[2, 16]).sliced(1, 0, 1, cols);
        assert!(copy("test", (x, &View::dense(&[2, 8])), (y, &to(8)), &caps).is_ok());
        assert!(copy("test", (x, &View::dense(&[2, 7])), (y, &to(7)), &caps).is_err());
    }
}
