//! Tensors walked in another order than that of their elements: transposed, cut, repeated.

use super::dense_strides;

/// Element `[a, b, ..]` is at `base + a * strides[0] + b * strides[1] + ..` of the tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub sizes: Vec<usize>,
    /// In elements: 0 where an axis repeats what it has, negative where it runs backwards.
    pub strides: Vec<i64>,
    pub base: i64,
}

impl View {
    /// All of a tensor in its own order.
    pub fn dense(sizes: &[usize]) -> View {
        View {
            sizes: sizes.to_vec(),
            strides: dense_strides(sizes).into_iter().map(signed).collect(),
            base: 0,
        }
    }

    /// Axis i is axis `perm[i]` of before.
    pub fn permuted(self, perm: &[usize]) -> View {
        View {
            sizes: perm.iter().map(|&axis| self.sizes[axis]).collect(),
            strides: perm.iter().map(|&axis| self.strides[axis]).collect(),
            base: self.base,
        }
    }

    /// Of one axis `len` places: `start`, `start + step`, ..
    pub fn sliced(mut self, axis: usize, start: usize, step: i64, len: usize) -> View {
        if len > 0 {
            self.base += self.strides[axis] * signed(start);
        }
        // The step of a single place may be any number.
        self.strides[axis] *= if len > 1 { step } else { 0 };
        self.sizes[axis] = len;
        self
    }

    /// Broadcast to `sizes`, aligned at the last axis.
    pub fn expanded(self, sizes: &[usize]) -> View {
        let missing = sizes.len() - self.sizes.len();
        let stride = |axis: usize| {
            let own = axis.checked_sub(missing)?;
            (self.sizes[own] == sizes[axis]).then_some(self.strides[own])
        };
        View {
            strides: (0..sizes.len())
                .map(|axis| stride(axis).unwrap_or(0))
                .collect(),
            sizes: sizes.to_vec(),
            base: self.base,
        }
    }

    /// A new axis in front of `axis` that repeats all behind it.
    pub fn repeated(mut self, axis: usize, times: usize) -> View {
        self.sizes.insert(axis, times);
        self.strides.insert(axis, 0);
        self
    }

    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True where the order is that of a tensor of these sizes.
    pub fn is_dense(&self) -> bool {
        let dense = dense_strides(&self.sizes);
        let mut axes = self.sizes.iter().zip(self.strides.iter().zip(dense));
        self.base == 0
            && (self.is_empty()
                || axes.all(|(&size, (&stride, dense))| size == 1 || stride == signed(dense)))
    }
}

/// Two views of equal sizes on the fewest axes that walk both.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub sizes: Vec<usize>,
    /// Of either view.
    pub strides: Vec<[i64; 2]>,
    pub bases: [i64; 2],
}

impl Pair {
    pub fn of(x: &View, y: &View) -> Pair {
        assert_eq!(x.sizes, y.sizes, "two views are copied place by place");
        let mut pair = Pair {
            sizes: Vec::new(),
            strides: Vec::new(),
            bases: [x.base, y.base],
        };
        for (axis, &size) in x.sizes.iter().enumerate() {
            let strides = [x.strides[axis], y.strides[axis]];
            let whole = strides.map(|stride| stride * signed(size));
            match pair.strides.last_mut() {
                _ if size == 1 => {}
                Some(last) if *last == whole => {
                    *last = strides;
                    *pair
                        .sizes
                        .last_mut()
                        .expect("sizes and strides go together") *= size;
                }
                _ => {
                    pair.sizes.push(size);
                    pair.strides.push(strides);
                }
            }
        }
        if pair.sizes.is_empty() {
            pair.sizes.push(1);
            pair.strides.push([1, 1]);
        }
        pair
    }
}

fn signed(n_elems: usize) -> i64 {
    i64::try_from(n_elems).expect("the plan refuses tensors of 2^31 elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_views_add_up() {
        let view = View::dense(&[4, 5, 6]).permuted(&[2, 0, 1]);
        let view = view.sliced(0, 5, -2, 3).sliced(2, 1, 1, 3);
        assert_eq!(view.sizes, [3, 4, 3]);
        assert_eq!(view.strides, [-2, 30, 6]);
        assert_eq!(view.base, 5 + 6);
    }

    #[test]
    fn a_single_place_takes_any_step() {
        let view = View::dense(&[4, 5]).sliced(1, 3, i64::MAX, 1);
        assert_eq!((view.strides, view.base), (vec![5, 0], 3));
    }

    #[test]
    fn moving_sizes_of_one_keeps_the_order() {
        let view = View::dense(&[4, 1, 5]);
        assert!(view.clone().permuted(&[1, 0, 2]).is_dense());
        assert!(!view.permuted(&[2, 1, 0]).is_dense());
    }

    #[test]
    fn axes_merge_where_both_walk_on() {
        let x = View::dense(&[2, 3, 4, 5]).permuted(&[0, 1, 3, 2]);
        let y = View::dense(&[2, 3, 5, 4]);
        let pair = Pair::of(&x, &y);
        assert_eq!(pair.sizes, [6, 5, 4]);
        assert_eq!(pair.strides, [[20, 20], [1, 4], [5, 1]]);
        let backwards = View::dense(&[2, 3]).sliced(0, 1, -1, 2).sliced(1, 2, -1, 3);
        let pair = Pair::of(&backwards, &View::dense(&[2, 3]));
        assert_eq!((pair.sizes, pair.strides), (vec![6], vec![[-1, 1]]));
    }
}
