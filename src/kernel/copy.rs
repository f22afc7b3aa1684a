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
    if unit.is_packed() {
        if !to.is_dense() {
            return Err("parts of words cannot be written".into());
        }
        let kernel = Map::kernel(
            name,
            "fn element(i: u32) -> y_value { return load_x(u32(place(i).x)); }",
        );
        let kernel = pair.declare(kernel).read("x", x);
        return Ok(Map::launch(kernel, y, to.len(), caps));
    }
    if let Some(tiles) = Tiles::of(&pair).filter(|_| !caps.software) {
        return Ok(tiles.launch(name, x, y, caps));
    }
    // Where only y lies side by side, four elements are loaded for each vector that is stored.
    let picks = unit.n_elems == 1 && pair.fills_vectors_of_y();
    let (body, unit_y, pair) = if picks {
        let unit_y = Unit::of(y.storage, &[4]);
        (
            include_str!("../wgsl/copy_picks.wgsl"),
            unit_y,
            pair.by_four_of_y(),
        )
    } else {
        let pair = pair.by(unit.n_elems);
        (include_str!("../wgsl/copy.wgsl"), unit, pair)
    };
    let n_units: usize = pair.sizes.iter().product();
    let mut kernel = Kernel::new(name, body).param("n_units", n_units);
    if picks {
        kernel = kernel.param_i32("pick_stride", word(pair.strides[pair.rank() - 1][0] / 4));
    }
    let kernel = unit.read(pair.declare(kernel), "x", x);
    let n_groups = n_units.div_ceil(map::WORKGROUP);
    Ok(unit_y.write(kernel, y).launch(grid(n_groups, caps)))
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
        if self.strides[self.rank() - 1] != [1, 1] {
            return vec![1];
        }
        [self.runs_of(0), self.runs_of(1)].concat()
    }

    /// On one side, if the last axis lies side by side there.
    fn runs_of(&self, side: usize) -> Vec<usize> {
        let (_, outer) = self.strides.split_last().expect("there is an axis");
        let starts = outer.iter().map(|strides| strides[side]);
        let starts = starts.chain([self.bases[side]]);
        let starts = starts.map(|start| usize::try_from(start.unsigned_abs()).unwrap_or(1));
        starts.chain(self.sizes.last().copied()).collect()
    }

    fn fills_vectors_of_y(&self) -> bool {
        let side_by_side = self.strides[self.rank() - 1][1] == 1;
        side_by_side && self.runs_of(1).iter().all(|run| run.is_multiple_of(4))
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

    /// In vectors of y, elements of x.
    fn by_four_of_y(mut self) -> Pair {
        let last = self.rank() - 1;
        self.sizes[last] /= 4;
        for strides in &mut self.strides[..last] {
            strides[1] /= 4;
        }
        self.strides[last][0] *= 4;
        self.bases[1] /= 4;
        self
    }

    /// Adds `fn place(i: u32) -> vec2<i32>`: where step `i` of the walk is in x and in y.
    fn declare(&self, mut kernel: Kernel) -> Kernel {
        let mut text = "fn place(i: u32) -> vec2<i32> {
  var at = vec2<i32>(params.x_base, params.y_base);
  var rest = i;\n"
            .to_owned();
        kernel = kernel.param_i32("x_base", word(self.bases[0]));
        kernel = kernel.param_i32("y_base", word(self.bases[1]));
        for axis in (0..self.rank()).rev() {
            if axis > 0 {
                kernel = kernel.param(&format!("size{axis}"), self.sizes[axis]);
                text.push_str(&format!("  let outer{axis} = rest / params.size{axis};\n"));
                text.push_str(&format!("  rest -= outer{axis} * params.size{axis};\n"));
            }
            let strides = format!("vec2<i32>(params.x_stride{axis}, params.y_stride{axis})");
            text.push_str(&format!("  at += i32(rest) * {strides};\n"));
            if axis > 0 {
                text.push_str(&format!("  rest = outer{axis};\n"));
            }
            let [x, y] = self.strides[axis].map(word);
            kernel = kernel.param_i32(&format!("x_stride{axis}"), x);
            kernel = kernel.param_i32(&format!("y_stride{axis}"), y);
        }
        text.push_str("  return at;\n}");
        kernel.snippet(&text)
    }
}

/// A transposition of the last axis of y, along which x does not lie side by side, with the axis
/// along which it does.
struct Tiles {
    rows: usize,
    cols: usize,
    /// Of y's rows.
    y_stride: i64,
    /// Of x's columns.
    x_stride: i64,
    /// The axes around the two.
    batch: Pair,
}

impl Tiles {
    fn of(pair: &Pair) -> Option<Tiles> {
        let last = pair.rank() - 1;
        let [x_stride, 1] = pair.strides[last] else {
            return None;
        };
        let row_axis = (0..last).rev().find(|&axis| pair.strides[axis][0] == 1)?;
        let (rows, cols) = (pair.sizes[row_axis], pair.sizes[last]);
        if rows.min(cols) < MIN_TILED || matches!(x_stride, 0 | 1) {
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
        Some(Tiles {
            rows,
            cols,
            y_stride,
            x_stride,
            batch,
        })
    }

    fn launch(&self, name: &'static str, x: Port, y: Port, caps: &Capabilities) -> Launch {
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
}

fn word_of(n_elems: usize) -> i64 {
    i64::try_from(n_elems).expect("units are small")
}

/// A number for the device: tensors have fewer than 2^31 elements.
fn word(n_elems: i64) -> i32 {
    i32::try_from(n_elems).expect("the plan refuses tensors of 2^31 elements")
}
