//! Matrix products, for every operator that has one:
//! `y[row, col] = activate(alpha * sum_k a[row, k] * b[k, col] + beta * added[row, col] + residual[row, col])`.
//!
//! Matrices are given by strides, so a transposed one is another pair of numbers. What is computed
//! is here, by which kernel is in [`choose`], and the text of the kernels in `product_kernel`.

use super::{activation, product_kernel};
use crate::kernel::{Axes, Call, Dispatch, Map, Operand, Port, Refusal, collapse, dense_strides};

/// Where the elements of a matrix lie, from its own first element on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix {
    pub port: Port,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl Matrix {
    fn transpose(&mut self) {
        std::mem::swap(&mut self.row_stride, &mut self.col_stride);
    }
}

/// A zero point for each row or column of an integer matrix; a stride of 0 gives all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zero {
    pub port: Port,
    pub stride: usize,
}

/// What is added to the product before the activation, the same for all of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub matrix: Matrix,
    pub factor: f32,
}

/// How the elements of b are packed: in columns of whole blocks along k, each block with a scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    pub scales: Port,
    /// Packed like the elements, each column from a whole byte on; the middle where left out.
    pub zeros: Option<Port>,
    /// 4 or 8.
    pub bits: usize,
    /// A multiple of 8.
    pub size: usize,
}

/// [m, k] x [k, n] -> [m, n] for each of a batch.
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Where the matrices of a, b and y begin.
    pub batch: Axes,
    pub a: Matrix,
    pub b: Matrix,
    pub y: Matrix,
    pub zero_a: Option<Zero>,
    pub zero_b: Option<Zero>,
    pub blocks_b: Option<Blocks>,
    /// Only for floats.
    pub alpha: f32,
    pub added: Option<Added>,
    /// Of the layout of y.
    pub residual: Option<Port>,
    /// `fn activate(x: vec4<f32>) -> vec4<f32>`, for floats.
    pub activation: Option<String>,
}

/// A tensor as its sizes and strides, the last two those of its matrices.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub sizes: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Layout {
    pub fn dense(sizes: &[usize]) -> Layout {
        Layout {
            sizes: sizes.to_vec(),
            strides: dense_strides(sizes),
        }
    }

    /// Swaps the axes of the matrices.
    pub fn transpose(&mut self) {
        let rank = self.sizes.len();
        self.sizes.swap(rank - 2, rank - 1);
        self.strides.swap(rank - 2, rank - 1);
    }

    /// Makes a vector a matrix, with its axis as the rows or as the columns.
    pub fn expand_vector(&mut self, is_row: bool) {
        if self.sizes.len() == 1 {
            let at = usize::from(!is_row);
            self.sizes.insert(at, 1);
            self.strides.insert(at, 0);
        }
    }

    fn matrix(&self, port: Port) -> Matrix {
        let rank = self.sizes.len();
        Matrix {
            port,
            row_stride: self.strides[rank - 2],
            col_stride: self.strides[rank - 1],
        }
    }

    /// The strides of the leading axes, stretched to `sizes`.
    fn batch_strides(&self, sizes: &[usize]) -> Vec<usize> {
        let own = self.sizes.len() - 2;
        let missing = sizes.len() - own;
        let stretched = (0..own).map(|axis| match self.sizes[axis] {
            1 => 0,
            _ => self.strides[axis],
        });
        std::iter::repeat_n(0, missing).chain(stretched).collect()
    }
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Variant {
    /// 4 rows and 4 columns for each invocation, from single elements: integers.
    Lane,
    /// 4 rows and 8 columns for each invocation.
    Block,
    /// 1 row and 4 columns for each invocation.
    Row,
    /// 4 columns of all of these rows for each workgroup, which shares the sum.
    Split { rows: usize },
    /// 64 columns and 16 times these rows for each workgroup, by way of its memory.
    Tile { rows: usize },
}

/// A processor that plays GPU pays for every barrier and gains nothing from workgroup memory.
pub(super) fn choose(is_float: bool, software: bool, m: usize, n: usize, batch: usize) -> Variant {
    if !is_float {
        return Variant::Lane;
    }
    if software {
        return if m == 1 { Variant::Row } else { Variant::Block };
    }
    match m {
        0..=8 => Variant::Split {
            rows: m.next_power_of_two(),
        },
        // Taller tiles load less, but there have to be enough of them to keep a device busy.
        _ if batch * m.div_ceil(128) * n.div_ceil(64) >= 128 => Variant::Tile { rows: 8 },
        _ if m > 32 && batch * m.div_ceil(64) * n.div_ceil(64) >= 32 => Variant::Tile { rows: 4 },
        _ => Variant::Tile { rows: 2 },
    }
}

impl Product {
    /// a: [.., m, k], b: [.., k, n] -> a dense y [.., m, n], the leading axes broadcast.
    pub fn new(a: (Port, &Layout), b: (Port, &Layout), y: Port) -> Product {
        let (a_sizes, b_sizes) = (&a.1.sizes, &b.1.sizes);
        let batch_rank = a_sizes.len().max(b_sizes.len()) - 2;
        let mut y_sizes = vec![1; batch_rank];
        for sizes in [a_sizes, b_sizes] {
            let own = sizes.len() - 2;
            let aligned = y_sizes[batch_rank - own..].iter_mut().zip(sizes);
            for (size, &other) in aligned.filter(|(size, _)| **size == 1) {
                *size = other;
            }
        }
        y_sizes.extend([a_sizes[a_sizes.len() - 2], b_sizes[b_sizes.len() - 1]]);
        Product::strided(a, b, (y, &Layout::dense(&y_sizes)))
    }

    /// The same with a layout for y, whose leading axes are those of the batch.
    pub fn strided(a: (Port, &Layout), b: (Port, &Layout), y: (Port, &Layout)) -> Product {
        let (batch, matrix) = y.1.sizes.split_at(y.1.sizes.len() - 2);
        let strides = [a.1, b.1, y.1].map(|layout| layout.batch_strides(batch));
        Product {
            m: matrix[0],
            n: matrix[1],
            k: a.1.sizes[a.1.sizes.len() - 1],
            batch: collapse(batch, &strides),
            a: a.1.matrix(a.0),
            b: b.1.matrix(b.0),
            y: y.1.matrix(y.0),
            zero_a: None,
            zero_b: None,
            blocks_b: None,
            alpha: 1.0,
            added: None,
            residual: None,
            activation: None,
        }
    }

    /// Lets an activation by name follow; the empty one is none.
    pub fn activate(&mut self, name: &str, params: &[f32]) -> Result<(), Refusal> {
        if !name.is_empty() {
            let snippet = activation::snippet(name, params);
            let refusal = || Refusal::from(format!("no kernel has the activation {name}"));
            self.activation = Some(snippet.ok_or_else(refusal)?);
        }
        Ok(())
    }

    pub fn n_matrices(&self) -> usize {
        self.batch.sizes.iter().product()
    }

    pub fn dispatch(self, call: &Call) -> Dispatch {
        let mut dispatch = Dispatch::default();
        self.append(&mut dispatch, call);
        dispatch
    }

    /// Adds the launches to those before.
    pub fn append(mut self, dispatch: &mut Dispatch, call: &Call) {
        self.fold_batch();
        if self.n == 1 && self.m > 1 && self.blocks_b.is_none() {
            self.transpose();
        }
        let is_float = self.y.port.storage.is_float();
        let n_matrices = self.n_matrices();
        let variant = choose(is_float, call.caps.software, self.m, self.n, n_matrices);
        self.pack_b(variant, dispatch, call);
        dispatch
            .launches
            .push(product_kernel::launch(&self, variant, call.caps));
    }

    /// Takes the batch of a for rows where all of it meets the same b.
    fn fold_batch(&mut self) {
        let strides: Vec<usize> = self.batch.strides.iter().map(|all| all[0]).collect();
        let follows = |matrix: &Matrix, stride: usize| stride == self.m * matrix.row_stride;
        let is_same_for_rows = self.added.is_none_or(|added| added.matrix.row_stride == 0)
            && self.zero_a.is_none_or(|zero| zero.stride == 0);
        if self.batch.rank() == 1
            && self.batch.sizes[0] > 1
            && strides[1] == 0
            && (self.m == 1 || follows(&self.a, strides[0]) && follows(&self.y, strides[2]))
            && is_same_for_rows
        {
            if self.m == 1 {
                (self.a.row_stride, self.y.row_stride) = (strides[0], strides[2]);
            }
            self.m *= self.batch.sizes[0];
            self.batch = collapse(&[], &[vec![], vec![], vec![]]);
        }
    }

    /// Computes the transposed product of the transposed matrices: a single column is a row.
    fn transpose(&mut self) {
        std::mem::swap(&mut self.m, &mut self.n);
        std::mem::swap(&mut self.a, &mut self.b);
        std::mem::swap(&mut self.zero_a, &mut self.zero_b);
        self.batch.strides.swap(0, 1);
        self.a.transpose();
        self.b.transpose();
        self.y.transpose();
        if let Some(added) = &mut self.added {
            added.matrix.transpose();
        }
    }

    /// Lays a constant b out in rows of whole vectors, which is done once.
    fn pack_b(&mut self, variant: Variant, dispatch: &mut Dispatch, call: &Call) {
        let Operand::Input(idx) = self.b.port.operand else {
            return;
        };
        let is_shared = self.batch.strides[1].iter().all(|&stride| stride == 0);
        let lies_well = match product_kernel::along(self).1 {
            product_kernel::Along::N => true,
            // Few rows read what they need of columns as well as of rows.
            product_kernel::Along::K => !matches!(variant, Variant::Tile { .. }),
            product_kernel::Along::Single => false,
        };
        let is_plain = self.blocks_b.is_none() && variant != Variant::Lane;
        if call.constant(idx).is_none() || !is_shared || lies_well || !is_plain {
            return;
        }
        let (rows, cols) = (self.k.next_multiple_of(4), self.n.next_multiple_of(4));
        let packed = dispatch.add_scratch(self.b.port.storage, rows * cols);
        let body = "fn element(i: u32) -> y_value {
  let row = i / params.cols;
  let col = i - row * params.cols;
  if row >= params.k || col >= params.n { return 0.0; }
  return load_b(row * params.b_row + col * params.b_col);
}
";
        let kernel = Map::kernel("product_pack", body)
            .param("k", self.k)
            .param("n", self.n)
            .param("cols", cols)
            .param("b_row", self.b.row_stride)
            .param("b_col", self.b.col_stride)
            .read("b", self.b.port);
        let launch = Map::launch(kernel, packed, rows * cols, call.caps);
        dispatch.launches.push(launch);
        self.b = Matrix {
            port: packed,
            row_stride: cols,
            col_stride: 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_follow_from_sizes_and_devices() {
        // floats, software, m, n, batch
        let table = [
            ((false, false, 512, 512, 1), Variant::Lane),
            ((true, true, 1, 512, 1), Variant::Row),
            ((true, true, 2, 512, 1), Variant::Block),
            ((true, false, 1, 1000, 1), Variant::Split { rows: 1 }),
            ((true, false, 3, 1000, 1), Variant::Split { rows: 4 }),
            ((true, false, 9, 1000, 1), Variant::Tile { rows: 2 }),
            ((true, false, 128, 384, 1), Variant::Tile { rows: 2 }),
            ((true, false, 128, 1536, 1), Variant::Tile { rows: 4 }),
            ((true, false, 64, 64, 48), Variant::Tile { rows: 4 }),
            ((true, false, 2048, 2048, 1), Variant::Tile { rows: 8 }),
        ];
        for ((is_float, software, m, n, batch), wanted) in table {
            let chosen = choose(is_float, software, m, n, batch);
            assert_eq!(chosen, wanted, "{m} rows, {n} columns, batch {batch}");
        }
    }
}
