//! Launches that compute each element from one element of each operand, which broadcast.

use crate::kernel::{Axes, Capabilities, Kernel, Launch, Map, Port};

/// An operand or an output with its sizes.
pub(super) type Operand = (Port, Vec<usize>);

/// `y[i] = apply(a[..], b[..], ..)`, four elements at a time.
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
    let n_of = |sizes: &[usize]| sizes.iter().product::<usize>();
    // What is as large as the output or a single element needs no offsets, and the padding of
    // buffers completes its last vector.
    let moves = |sizes: &[usize]| ![1, n_elems].contains(&n_of(sizes));
    let moving: Vec<&[usize]> = operands.iter().map(|(_, sizes)| &**sizes).collect();
    let moving: Vec<&[usize]> = moving.into_iter().filter(|sizes| moves(sizes)).collect();
    let axes = Axes::broadcast(&y_sizes, &moving);
    // Where the last axis is a multiple of 4, so is the start of each vector in every operand.
    let is_even = axes.sizes.last().is_some_and(|size| size % 4 == 0);

    let mut arguments = Vec::new();
    let mut n_moving = 0;
    for (idx, (port, sizes)) in operands.iter().enumerate() {
        let name = format!("a{idx}");
        let load = |at: &str| format!("load_{name}({at})");
        let mut is_vector = false;
        let loads = if moves(sizes) {
            let nth = n_moving;
            n_moving += 1;
            let is_run = axes.strides[nth].last() == Some(&1);
            match (takes_vectors, is_even) {
                (true, true) if is_run => {
                    is_vector = true;
                    load(&format!("at0[{nth}] / 4u"))
                }
                (true, false) => {
                    let lanes = (0..4).map(|lane| load(&format!("at{lane}[{nth}]")));
                    lanes.collect::<Vec<String>>().join(", ")
                }
                _ => load(&format!("at0[{nth}]")),
            }
        } else if n_of(sizes) == n_elems {
            is_vector = takes_vectors;
            load("i")
        } else {
            load("0u")
        };
        kernel = if is_vector {
            kernel.read_vec4(&name, *port)
        } else {
            kernel.read(&name, *port)
        };
        let value = port.storage.value();
        kernel = kernel.snippet(&alias(&format!("in{idx}"), value, takes_vectors));
        arguments.push(format!("in{idx}({loads})"));
    }
    let mut offsets = String::new();
    if n_moving > 0 {
        kernel = axes
            .declare(kernel)
            .param("last", n_elems.saturating_sub(1));
        offsets = match (takes_vectors, is_even) {
            (false, _) => "  let at0 = offsets(i);\n".to_owned(),
            (true, true) => "  let at0 = offsets(i * 4u);\n".to_owned(),
            (true, false) => (0..4)
                .map(|lane| {
                    format!("  let at{lane} = offsets(min(i * 4u + {lane}u, params.last));\n")
                })
                .collect(),
        };
    }
    let kernel = kernel
        .snippet(&alias("out", y.storage.value(), takes_vectors))
        .snippet(&format!(
            "fn element(i: u32) -> out {{\n{offsets}  return apply({});\n}}",
            arguments.join(", ")
        ));
    if takes_vectors {
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
