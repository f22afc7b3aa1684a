//! Kernels of matrix products, for every operator that has one:
//! `y[row, col] = activate(alpha * sum_k a[row, k] * b[k, col] + beta * c[row, col] + residual[row, col])`.
//!
//! Matrices are given by strides, so a transposed one is another pair of numbers.

use crate::kernel::{
    Axes, Call, Capabilities, Dispatch, Kernel, Launch, Port, collapse, dense_strides, grid,
};

/// Where the elements of a matrix lie, from its own first element on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix {
    pub port: Port,
    pub row_stride: usize,
    pub col_stride: usize,
}

/// A zero point for each row or column of an integer matrix; a stride of 0 gives all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zero {
    pub port: Port,
    pub stride: usize,
}

/// What is added to the product before the activation, without a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub matrix: Matrix,
    pub factor: f32,
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
    /// Only for floats.
    pub alpha: f32,
    pub added: Option<Added>,
    /// Of the layout of y.
    pub residual: Option<Port>,
    /// `fn activate(x: f32) -> f32`, for floats.
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

impl Product {
    /// a: [.., m, k], b: [.., k, n] -> a dense y [.., m, n], the leading axes broadcast.
    pub fn new(a: (Port, &Layout), b: (Port, &Layout), y: Port) -> Product {
        let ((a, a_layout), (b, b_layout)) = (a, b);
        let (a_rank, b_rank) = (a_layout.sizes.len(), b_layout.sizes.len());
        let batch_rank = a_rank.max(b_rank) - 2;
        let mut sizes = vec![1; batch_rank];
        for layout in [a_layout, b_layout] {
            let own = layout.sizes.len() - 2;
            for (size, &other) in sizes[batch_rank - own..].iter_mut().zip(&layout.sizes) {
                if *size == 1 {
                    *size = other;
                }
            }
        }
        let (m, k) = (a_layout.sizes[a_rank - 2], a_layout.sizes[a_rank - 1]);
        let n = b_layout.sizes[b_rank - 1];
        let mut y_sizes = sizes.clone();
        y_sizes.extend([m, n]);
        let y_layout = Layout::dense(&y_sizes);
        Product::strided((a, a_layout), (b, b_layout), (y, &y_layout), &sizes, k)
    }

    /// The same with a layout for y; `batch` is what the leading axes are stretched to.
    pub fn strided(
        a: (Port, &Layout),
        b: (Port, &Layout),
        y: (Port, &Layout),
        batch: &[usize],
        k: usize,
    ) -> Product {
        let strides = [a.1, b.1, y.1].map(|layout| layout.batch_strides(batch));
        let y_rank = y.1.sizes.len();
        Product {
            m: y.1.sizes[y_rank - 2],
            n: y.1.sizes[y_rank - 1],
            k,
            batch: collapse(batch, &strides),
            a: a.1.matrix(a.0),
            b: b.1.matrix(b.0),
            y: y.1.matrix(y.0),
            zero_a: None,
            zero_b: None,
            alpha: 1.0,
            added: None,
            residual: None,
            activation: None,
        }
    }

    /// Takes the batch of a for rows where all of it meets the same b.
    fn fold_batch(&mut self) {
        let per_row = |zero: &Option<Zero>| zero.is_some_and(|zero| zero.stride != 0);
        let strides: Vec<usize> = self.batch.strides.iter().map(|all| all[0]).collect();
        let follows = |matrix: &Matrix, stride: usize| stride == self.m * matrix.row_stride;
        let added = self.added.is_none_or(|added| added.matrix.row_stride == 0);
        if self.batch.rank() == 1
            && self.batch.sizes[0] > 1
            && strides[1] == 0
            && (self.m == 1 || follows(&self.a, strides[0]) && follows(&self.y, strides[2]))
            && added
            && !per_row(&self.zero_a)
        {
            if self.m == 1 {
                (self.a.row_stride, self.y.row_stride) = (strides[0], strides[2]);
            }
            self.m *= self.batch.sizes[0];
            self.batch = collapse(&[], &[vec![], vec![], vec![]]);
        }
    }

    pub fn dispatch(self, call: &Call) -> Dispatch {
        let mut dispatch = Dispatch::default();
        self.append(&mut dispatch, call);
        dispatch
    }

    /// Adds the launches to those before.
    pub fn append(mut self, dispatch: &mut Dispatch, call: &Call) {
        self.fold_batch();
        dispatch.launches.push(self.lane(call.caps));
    }

    /// Each invocation computes 4 rows and 4 columns from single elements.
    fn lane(&self, caps: &Capabilities) -> Launch {
        let n_matrices: usize = self.batch.sizes.iter().product();
        let (row_blocks, col_blocks) = (self.m.div_ceil(4), self.n.div_ceil(4));
        let kernel = Kernel::new("matmul_lane", include_str!("matmul_lane.wgsl"))
            .param("n_matrices", n_matrices)
            .param("row_blocks", row_blocks)
            .param("col_blocks", col_blocks)
            .read("a", self.a.port)
            .read("b", self.b.port);
        let n_invocations = n_matrices * row_blocks * col_blocks;
        self.epilogue(self.loads(kernel))
            .write("y", self.y.port)
            .launch(grid(n_invocations.div_ceil(64), caps))
    }

    /// Adds `fn left(i: u32, row: u32) -> acc` and `fn right(i: u32, col: u32) -> acc`, the numbers
    /// in the elements of a and b, and the sizes and strides.
    fn loads(&self, kernel: Kernel) -> Kernel {
        let mut kernel = kernel
            .param("m", self.m)
            .param("n", self.n)
            .param("k", self.k)
            .param("a_row", self.a.row_stride)
            .param("a_col", self.a.col_stride)
            .param("b_row", self.b.row_stride)
            .param("b_col", self.b.col_stride)
            .param("y_row", self.y.row_stride)
            .param("y_col", self.y.col_stride)
            .snippet("alias acc = y_value;");
        let sides = [
            ("left", "a", "row", self.zero_a),
            ("right", "b", "col", self.zero_b),
        ];
        for (side, name, place, zero) in sides {
            let mut number = format!("acc(load_{name}(i))");
            if let Some(zero) = zero {
                kernel = kernel
                    .param(&format!("zero_{name}_stride"), zero.stride)
                    .read(&format!("zero_{name}"), zero.port);
                number.push_str(&format!(
                    " - acc(load_zero_{name}({place} * params.zero_{name}_stride))"
                ));
            }
            kernel = kernel.snippet(&format!(
                "fn {side}(i: u32, {place}: u32) -> acc {{ return {number}; }}"
            ));
        }
        self.batch.declare(kernel)
    }

    /// Adds `fn finish(sum: acc, i: u32, row: u32, col: u32) -> acc`, which makes element `i` of y
    /// from a sum of products.
    fn epilogue(&self, mut kernel: Kernel) -> Kernel {
        let mut text = String::from(
            "fn finish(sum: acc, i: u32, row: u32, col: u32) -> acc {\n  var total = sum;\n",
        );
        if self.y.port.storage.is_float() {
            kernel = kernel.param_f32("alpha", self.alpha);
            text.push_str("  total *= params.alpha;\n");
        }
        if let Some(added) = &self.added {
            kernel = kernel
                .param("added_row", added.matrix.row_stride)
                .param("added_col", added.matrix.col_stride)
                .read("added", added.matrix.port);
            let element = "load_added(row * params.added_row + col * params.added_col)";
            if self.y.port.storage.is_float() {
                kernel = kernel.param_f32("beta", added.factor);
                text.push_str(&format!("  total += params.beta * {element};\n"));
            } else {
                text.push_str(&format!("  total += {element};\n"));
            }
        }
        if let Some(residual) = self.residual {
            kernel = kernel.read("residual", residual);
            text.push_str("  total += load_residual(i);\n");
        }
        match &self.activation {
            Some(activation) => {
                kernel = kernel.snippet(activation);
                text.push_str("  return activate(total);\n}");
            }
            None => text.push_str("  return total;\n}"),
        }
        kernel.snippet(&text)
    }
}
