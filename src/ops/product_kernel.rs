//! The text of the kernels of matrix products.
//!
//! All but [`Variant::Lane`] read a as vectors of four elements along k and b as blocks of four by
//! four, by functions that hide how the matrices lie.

use super::product::{Blocks, Matrix, Product, Variant};
use crate::kernel::{Capabilities, Kernel, Launch, grid};

/// The elements that lie together in whole vectors of four.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Along {
    /// Of a column of b, or of a row of a.
    K,
    /// Of a row of b.
    N,
    /// None, or not in whole vectors.
    Single,
}

/// How the elements of a and b lie.
pub(super) fn along(product: &Product) -> (Along, Along) {
    let whole = |matrix: &Matrix, operand: usize, along_row: bool| {
        let (unit, far) = match along_row {
            true => (matrix.col_stride, matrix.row_stride),
            false => (matrix.row_stride, matrix.col_stride),
        };
        let batch = &product.batch.strides[operand];
        unit == 1 && far % 4 == 0 && batch.iter().all(|stride| stride % 4 == 0)
    };
    let whole_k = product.k.is_multiple_of(4);
    let a = match whole_k && whole(&product.a, 0, true) {
        true => Along::K,
        false => Along::Single,
    };
    if product.blocks_b.is_some() {
        return (a, Along::K);
    }
    // A packed b has columns beyond n and rows beyond k.
    let b = if whole(&product.b, 1, true) && product.b.row_stride >= product.n.next_multiple_of(4) {
        Along::N
    } else if whole_k && whole(&product.b, 1, false) {
        Along::K
    } else {
        Along::Single
    };
    (a, b)
}

pub(super) fn launch(product: &Product, variant: Variant, caps: &Capabilities) -> Launch {
    let (m, n, n_matrices) = (product.m, product.n, product.n_matrices());
    let begin = |name, body, tile_rows: usize, tile_cols: usize| {
        let (row_tiles, col_tiles) = (m.div_ceil(tile_rows), n.div_ceil(tile_cols));
        let kernel = Kernel::new(name, body)
            .param("n_matrices", n_matrices)
            .param("row_tiles", row_tiles)
            .param("col_tiles", col_tiles);
        (sizes(kernel, product), n_matrices * row_tiles * col_tiles)
    };
    match variant {
        Variant::Lane => {
            let body = include_str!("product_lane.wgsl");
            let (kernel, n_blocks) = begin("product_lane", body, 4, 4);
            epilogue(product, elements(product, kernel)).launch(grid(n_blocks.div_ceil(64), caps))
        }
        Variant::Block => {
            let body = include_str!("product_block.wgsl");
            let (kernel, n_blocks) = begin("product_block", body, 4, 8);
            epilogue(product, vectors(product, kernel, along(product)))
                .launch(grid(n_blocks.div_ceil(64), caps))
        }
        Variant::Row => {
            let body = include_str!("product_row.wgsl");
            let (kernel, n_blocks) = begin("product_row", body, 1, 4);
            epilogue(product, vectors(product, kernel, along(product)))
                .launch(grid(n_blocks.div_ceil(64), caps))
        }
        Variant::Split { rows } => {
            // Neighbours read what lies together: along a row of b, or down a column.
            let along = along(product);
            let (cols, first, next) = match along.1 {
                Along::K => (2, "lane / STEPS", "lane % STEPS"),
                _ => (8, "lane % COLS", "lane / COLS"),
            };
            let body = include_str!("product_split.wgsl");
            let (kernel, n_groups) = begin("product_split", body, rows, cols * 4);
            let kernel = vectors(product, kernel, along)
                .constant("ROWS", rows)
                .constant("COLS", cols)
                .constant("STEPS", 256 / cols)
                .snippet(&format!(
                    "fn col_of(lane: u32) -> u32 {{ return {first}; }}
fn step_of(lane: u32) -> u32 {{ return {next}; }}"
                ));
            epilogue(product, kernel).launch(grid(n_groups, caps))
        }
        Variant::Tile { rows } => {
            let body = include_str!("product_tile.wgsl");
            let (kernel, n_groups) = begin("product_tile", body, rows * 16, 64);
            // A tile takes rows of b: from columns, one element of each.
            let along = match along(product) {
                (a, Along::K) if product.blocks_b.is_none() => (a, Along::Single),
                along => along,
            };
            let kernel = vectors(product, kernel, along).constant("ROWS", rows);
            epilogue(product, kernel).launch(grid(n_groups, caps))
        }
    }
}

/// Adds sizes and strides, and where the matrices begin.
fn sizes(kernel: Kernel, product: &Product) -> Kernel {
    let kernel = kernel
        .param("m", product.m)
        .param("n", product.n)
        .param("k", product.k)
        .param("a_row", product.a.row_stride)
        .param("a_col", product.a.col_stride)
        .param("b_row", product.b.row_stride)
        .param("b_col", product.b.col_stride)
        .param("y_row", product.y.row_stride)
        .param("y_col", product.y.col_stride)
        .snippet("alias acc = y_value;");
    product.batch.declare(kernel)
}

/// Adds `fn left(i: u32, row: u32) -> acc` and `fn right(i: u32, col: u32) -> acc`, the numbers in
/// the elements of a and b.
fn elements(product: &Product, kernel: Kernel) -> Kernel {
    let mut kernel = kernel.read("a", product.a.port).read("b", product.b.port);
    let sides = [
        ("left", "a", "row", product.zero_a),
        ("right", "b", "col", product.zero_b),
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
    kernel
}

/// Adds, for the matrices that begin at `first`, with rows and columns within their bounds:
/// - `fn left4(first: u32, row: u32, k: u32) -> vec4<f32>`, four elements of a row of a,
/// - `fn right_row(first: u32, k: u32, col: u32) -> vec4<f32>`, four elements of a row of b,
/// - `fn right4(first: u32, k: u32, col: u32) -> mat4x4<f32>`, four of these rows.
///
/// Elements beyond k are 0; columns beyond n are any of the matrix.
fn vectors(product: &Product, kernel: Kernel, (a, b): (Along, Along)) -> Kernel {
    let kernel = match a {
        Along::Single => kernel.read("a", product.a.port).snippet(
            "fn left(at: u32, k: u32) -> f32 {
  return select(0.0, load_a(at + min(k, params.k - 1u) * params.a_col), k < params.k);
}
fn left4(first: u32, row: u32, k: u32) -> vec4<f32> {
  let at = first + row * params.a_row;
  return vec4<f32>(left(at, k), left(at, k + 1u), left(at, k + 2u), left(at, k + 3u));
}",
        ),
        _ => kernel.read_vec4("a", product.a.port).snippet(
            "fn left4(first: u32, row: u32, k: u32) -> vec4<f32> {
  return load_a((first + row * params.a_row + k) / 4u);
}",
        ),
    };
    let rows = "fn right4(first: u32, k: u32, col: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    right_row(first, k, col), right_row(first, k + 1u, col),
    right_row(first, k + 2u, col), right_row(first, k + 3u, col),
  );
}";
    match b {
        Along::N if product.k.is_multiple_of(4) => kernel.read_vec4("b", product.b.port).snippet(
            "fn right_row(first: u32, k: u32, col: u32) -> vec4<f32> {
  return load_b((first + k * params.b_row + col) / 4u);
}
fn right4(first: u32, k: u32, col: u32) -> mat4x4<f32> {
  let at = (first + k * params.b_row + col) / 4u;
  let step = params.b_row / 4u;
  return mat4x4<f32>(
    load_b(at), load_b(at + step), load_b(at + 2u * step), load_b(at + 3u * step),
  );
}",
        ),
        Along::N => kernel
            .read_vec4("b", product.b.port)
            .snippet(
                "fn right_row(first: u32, k: u32, col: u32) -> vec4<f32> {
  let row = load_b((first + min(k, params.k - 1u) * params.b_row + col) / 4u);
  return select(vec4<f32>(), row, k < params.k);
}",
            )
            .snippet(rows),
        Along::K => column(product, kernel).snippet(
            "fn right_row(first: u32, k: u32, col: u32) -> vec4<f32> {
  let part = k % 4u;
  let whole = k - part;
  return vec4<f32>(
    column(first, whole, col)[part], column(first, whole, col + 1u)[part],
    column(first, whole, col + 2u)[part], column(first, whole, col + 3u)[part],
  );
}
fn right4(first: u32, k: u32, col: u32) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(
    column(first, k, col), column(first, k, col + 1u),
    column(first, k, col + 2u), column(first, k, col + 3u),
  ));
}",
        ),
        Along::Single => kernel
            .read("b", product.b.port)
            .snippet(
                "fn right_row(first: u32, k: u32, col: u32) -> vec4<f32> {
  let cols = min(vec4<u32>(col) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1u));
  let at = first + min(k, params.k - 1u) * params.b_row + cols * params.b_col;
  let row = vec4<f32>(load_b(at.x), load_b(at.y), load_b(at.z), load_b(at.w));
  return select(vec4<f32>(), row, k < params.k);
}",
            )
            .snippet(rows),
    }
}

/// Adds `fn column(first: u32, k: u32, col: u32) -> vec4<f32>`, four elements of a column of b.
fn column(product: &Product, kernel: Kernel) -> Kernel {
    let Some(Blocks {
        scales,
        zeros,
        bits,
        size,
    }) = product.blocks_b
    else {
        return kernel.read_vec4("b", product.b.port).snippet(
            "fn column(first: u32, k: u32, col: u32) -> vec4<f32> {
  return load_b((first + min(col, params.n - 1u) * params.b_col + k) / 4u);
}",
        );
    };
    let n_blocks = product.k.div_ceil(size);
    let zero = match zeros {
        None => "f32(1u << (BITS - 1u))",
        Some(_) => "f32(extractBits(load_zeros(at / PER_BYTE), at % PER_BYTE * BITS, BITS))",
    };
    let mut kernel = kernel
        .param("n_blocks", n_blocks)
        .param("block_size", size)
        .param("zeros_col", n_blocks.next_multiple_of(8 / bits))
        .constant("BITS", bits)
        .constant("PER_BYTE", 8 / bits)
        .read("b", product.b.port)
        .read("scales", scales);
    if let Some(zeros) = zeros {
        kernel = kernel.read("zeros", zeros);
    }
    kernel.snippet(&format!(
        "fn column(first: u32, k: u32, any_col: u32) -> vec4<f32> {{
  let col = min(any_col, params.n - 1u);
  let i = col * params.n_blocks * params.block_size + k;
  let word = b[i * BITS / 32u];
  let shift = i * BITS % 32u;
  let elements = vec4<u32>(
    extractBits(word, shift, BITS), extractBits(word, shift + BITS, BITS),
    extractBits(word, shift + 2u * BITS, BITS), extractBits(word, shift + 3u * BITS, BITS),
  );
  let block = k / params.block_size;
  let at = col * params.zeros_col + block;
  return (vec4<f32>(elements) - {zero}) * load_scales(col * params.n_blocks + block);
}}"
    ))
}

/// Adds `fn store_row(first: u32, row: u32, col: u32, sum: vec4<acc>)`, which makes four columns of
/// a row of y from sums of products and stores those below n.
fn epilogue(product: &Product, mut kernel: Kernel) -> Kernel {
    let mut text = String::from(
        "fn store_row(first: u32, row: u32, col: u32, sum: vec4<acc>) {
  let i = first + row * params.y_row + col * params.y_col;
  let last = params.n - 1u - col;
  var total = sum;\n",
    );
    let is_float = product.y.port.storage.is_float();
    if is_float {
        kernel = kernel.param_f32("alpha", product.alpha);
        text.push_str("  total *= params.alpha;\n");
    }
    let four = |at: &str, stride: &str, name: &str| {
        let one = |c: u32| format!("load_{name}({at} + min({c}u, last) * params.{stride})");
        format!("vec4<acc>({}, {}, {}, {})", one(0), one(1), one(2), one(3))
    };
    if let Some(added) = &product.added {
        kernel = kernel
            .param("added_row", added.matrix.row_stride)
            .param("added_col", added.matrix.col_stride)
            .read("added", added.matrix.port);
        text.push_str("  let added_at = row * params.added_row + col * params.added_col;\n");
        let elements = four("added_at", "added_col", "added");
        if is_float {
            kernel = kernel.param_f32("beta", added.factor);
            text.push_str(&format!("  total += params.beta * {elements};\n"));
        } else {
            text.push_str(&format!("  total += {elements};\n"));
        }
    }
    let y_batch = &product.batch.strides[2];
    let whole = is_float
        && product.y.col_stride == 1
        && product.n.is_multiple_of(4)
        && product.y.row_stride.is_multiple_of(4)
        && y_batch.iter().all(|stride| stride % 4 == 0);
    if let Some(residual) = product.residual {
        let elements = if whole {
            kernel = kernel.read_vec4("residual", residual);
            "load_residual(i / 4u)".to_owned()
        } else {
            kernel = kernel.read("residual", residual);
            four("i", "y_col", "residual")
        };
        text.push_str(&format!("  total += {elements};\n"));
    }
    if let Some(activation) = &product.activation {
        kernel = kernel.snippet(activation);
        text.push_str("  total = activate(total);\n");
    }
    if whole {
        text.push_str("  store_y(i / 4u, total);\n}");
        return kernel.write_vec4("y", product.y.port).snippet(&text);
    }
    text.push_str(
        "  store_y(i, total.x);
  if last >= 1u { store_y(i + params.y_col, total.y); }
  if last >= 2u { store_y(i + 2u * params.y_col, total.z); }
  if last >= 3u { store_y(i + 3u * params.y_col, total.w); }\n}",
    );
    kernel.write("y", product.y.port).snippet(&text)
}
