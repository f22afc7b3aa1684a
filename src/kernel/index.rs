//! Offsets into tensors from the number of an output element.

use super::Kernel;

/// The axes that a kernel walks: sizes of the output and, for each operand, the strides that lead
/// to its element. Numbers stay in uniforms, so that one text serves every shape of one rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes {
    pub sizes: Vec<usize>,
    /// Of each operand, in elements; 0 where it is broadcast.
    pub strides: Vec<Vec<usize>>,
}

/// Strides of a dense row-major tensor, in elements.
pub fn dense_strides(sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    strides
}

/// Merges neighbouring axes that every operand walks in one step, and drops those of size 1.
pub fn collapse(sizes: &[usize], strides: &[Vec<usize>]) -> Axes {
    let mut axes = Axes {
        sizes: Vec::new(),
        strides: vec![Vec::new(); strides.len()],
    };
    for (axis, &size) in sizes.iter().enumerate() {
        if size == 1 {
            continue;
        }
        let merges = !axes.sizes.is_empty()
            && axes
                .strides
                .iter()
                .zip(strides)
                .all(|(merged, all)| merged.last() == Some(&(all[axis] * size)));
        if merges {
            *axes.sizes.last_mut().expect("there is one to merge with") *= size;
        } else {
            axes.sizes.push(size);
        }
        for (merged, all) in axes.strides.iter_mut().zip(strides) {
            if merges {
                merged.pop();
            }
            merged.push(all[axis]);
        }
    }
    if axes.sizes.is_empty() {
        axes.sizes.push(1);
        for merged in &mut axes.strides {
            merged.push(0);
        }
    }
    axes
}

impl Axes {
    /// Operands broadcast to `sizes` as in ONNX: aligned at the last axis.
    pub fn broadcast(sizes: &[usize], operands: &[&[usize]]) -> Axes {
        let strides = operands.iter().map(|operand| {
            let missing = sizes.len() - operand.len();
            let dense = dense_strides(operand);
            let stride = |axis: usize| {
                let own = axis.checked_sub(missing)?;
                (operand[own] != 1).then_some(dense[own])
            };
            (0..sizes.len())
                .map(|axis| stride(axis).unwrap_or(0))
                .collect()
        });
        collapse(sizes, &strides.collect::<Vec<Vec<usize>>>())
    }

    pub fn rank(&self) -> usize {
        self.sizes.len()
    }

    /// Adds `fn offsets(i: u32) -> array<u32, N>`: where each operand's element for output element
    /// `i` is, and the uniforms that it reads.
    pub fn declare(&self, kernel: Kernel) -> Kernel {
        self.declare_as("", kernel)
    }

    /// [`Axes::declare`] for kernels that walk several sets of axes: the function is
    /// `{prefix}offsets`.
    pub fn declare_as(&self, prefix: &str, kernel: Kernel) -> Kernel {
        let n = self.strides.len();
        let mut text =
            format!("fn {prefix}offsets(i: u32) -> array<u32, {n}> {{\n  var rest = i;\n");
        for operand in 0..n {
            text.push_str(&format!("  var at{operand} = 0u;\n"));
        }
        for axis in (0..self.rank()).rev() {
            let coordinate = if axis == 0 {
                "rest".to_owned()
            } else {
                format!("rest % params.{prefix}size{axis}")
            };
            text.push_str(&format!("  let c{axis} = {coordinate};\n"));
            if axis > 0 {
                text.push_str(&format!("  rest /= params.{prefix}size{axis};\n"));
            }
            for operand in 0..n {
                text.push_str(&format!(
                    "  at{operand} += c{axis} * params.{prefix}stride{operand}_{axis};\n"
                ));
            }
        }
        let all: Vec<String> = (0..n).map(|operand| format!("at{operand}")).collect();
        text.push_str(&format!(
            "  return array<u32, {n}>({});\n}}",
            all.join(", ")
        ));
        let mut kernel = kernel.params(&format!("{prefix}size"), &self.sizes);
        for (operand, strides) in self.strides.iter().enumerate() {
            kernel = kernel.params(&format!("{prefix}stride{operand}_"), strides);
        }
        kernel.snippet(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shapes_are_one_axis() {
        let axes = Axes::broadcast(&[2, 3, 4], &[&[2, 3, 4], &[2, 3, 4]]);
        assert_eq!(axes.sizes, [24]);
        assert_eq!(axes.strides, [[1], [1]]);
    }

    #[test]
    fn broadcast_axes_stay_apart() {
        let axes = Axes::broadcast(&[2, 3, 4, 5], &[&[2, 3, 4, 5], &[3, 1, 1]]);
        assert_eq!(axes.sizes, [2, 3, 20]);
        assert_eq!(axes.strides, [[60, 20, 1], [0, 1, 0]]);
    }

    #[test]
    fn scalars_have_one_axis() {
        let axes = Axes::broadcast(&[], &[&[]]);
        assert_eq!(axes.sizes, [1]);
        assert_eq!(axes.strides, [[0]]);
    }
}
