//! Launches that compute each element from one element of each operand, which broadcast.

use crate::kernel::{Axes, Capabilities, Kernel, Launch, Map, Port};

/// An operand or an output with its sizes.
pub(super) type Operand = (Port, Vec<usize>);

/// `y[i] = apply(a[..], b[..], ..)`, four elements at a time where they lie side by side.
///
/// The text of the kernel has `fn apply(a: in0, b: in1, ..) -> out`, right for these aliases of
/// vectors of four as well as for single values.
pub(super) fn pointwise(
    kernel: Kernel,
    operands: &[Operand],
    y: Operand,
    caps: &Capabilities,
) -> Launch {
    launch(kernel, operands, y, caps, true)
}

/// The same where `apply` is right for single values only.
pub(super) fn pointwise_single(
    kernel: Kernel,
    operands: &[Operand],
    y: Operand,
    caps: &Capabilities,
) -> Launch {
    launch(kernel, operands, y, caps, false)
}

fn launch(
    mut kernel: Kernel,
    operands: &[Operand],
    (y, y_sizes): Operand,
    caps: &Capabilities,
    takes_vectors: bool,
) -> Launch {
    let n_elems: usize = y_sizes.iter().product();
    let shapes: Vec<&[usize]> = operands.iter().map(|(_, sizes)| &**sizes).collect();
    let n_of = |sizes: &[usize]| sizes.iter().product::<usize>();
    // Where each operand is either as large as the output or a single element there are no
    // offsets to compute, and the padding of buffers completes the last vector.
    let is_flat = shapes
        .iter()
        .all(|sizes| [1, n_elems].contains(&n_of(sizes)));
    let axes = Axes::broadcast(&y_sizes, &shapes);
    // A run that is a multiple of 4 starts every operand at a multiple of 4 too.
    let is_even = axes.sizes.last().is_some_and(|size| size % 4 == 0);
    let is_vector = takes_vectors && (is_flat || is_even);

    let mut arguments = Vec::new();
    for (idx, (port, sizes)) in operands.iter().enumerate() {
        let name = format!("a{idx}");
        let strides_on = axes.strides[idx].last() == Some(&1);
        let moves = if is_flat {
            n_of(sizes) == n_elems
        } else {
            strides_on
        };
        let at = match (is_flat, moves, is_vector) {
            (true, false, _) => "0u".to_owned(),
            (true, true, _) => "i".to_owned(),
            (false, true, true) => format!("at[{idx}] / 4u"),
            _ => format!("at[{idx}]"),
        };
        let value = port.storage.value();
        kernel = if is_vector && moves {
            kernel.read_vec4(&name, *port)
        } else {
            kernel.read(&name, *port)
        };
        kernel = kernel.snippet(&alias(&format!("in{idx}"), value, is_vector));
        arguments.push(format!("in{idx}(load_{name}({at}))"));
    }
    let offsets = match (is_flat, is_vector) {
        (true, _) => "",
        (false, true) => "  let at = offsets(i * 4u);\n",
        (false, false) => "  let at = offsets(i);\n",
    };
    if !is_flat {
        kernel = axes.declare(kernel);
    }
    let kernel = kernel
        .snippet(&alias("out", y.storage.value(), is_vector))
        .snippet(&format!(
            "fn element(i: u32) -> out {{\n{offsets}  return apply({});\n}}",
            arguments.join(", ")
        ));
    if is_vector {
        Map::launch_vec4(kernel, y, n_elems, caps)
    } else {
        Map::launch(kernel, y, n_elems, caps)
    }
}

fn alias(name: &str, value: &str, is_vector: bool) -> String {
    if is_vector {
        return format!("alias {name} = vec4<{value}>;");
    }
    format!("alias {name} = {value};")
}
