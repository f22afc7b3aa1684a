//! Dimensions and shapes that may be symbolic.
//!
//! The same type carries the elements of small integer tensors, so that a shape which a graph
//! computes (`Shape` -> `Gather` -> `Mul` -> `Concat` -> `Reshape`) stays known.

use std::fmt;
use std::sync::Arc;

/// Expressions deeper than this are forgotten: they cost more than they tell.
const MAX_DEPTH: u8 = 12;

/// A dimension, or an element of a shape-like tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number. Dimensions are not negative; elements of shape-like tensors may be.
    Size(i64),
    /// A name that stands for one size throughout a graph.
    Symbol(Arc<str>),
    Expr(Arc<Expr>),
    Unknown,
}

/// `left op right`, not both known.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Expr {
    op: DimOp,
    left: Dim,
    right: Dim,
    depth: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum DimOp {
    Add,
    Sub,
    Mul,
    /// Rounds towards minus infinity.
    FloorDiv,
    Max,
    Min,
}

impl DimOp {
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            DimOp::Add => a.checked_add(b),
            DimOp::Sub => a.checked_sub(b),
            DimOp::Mul => a.checked_mul(b),
            DimOp::FloorDiv if b == 0 => None,
            DimOp::FloorDiv => {
                let quotient = a.checked_div(b)?;
                let inexact = a.checked_rem(b)? != 0;
                Some(quotient - i64::from(inexact && (a < 0) != (b < 0)))
            }
            DimOp::Max => Some(a.max(b)),
            DimOp::Min => Some(a.min(b)),
        }
    }
}

impl Dim {
    pub fn symbol(name: &str) -> Dim {
        Dim::Symbol(name.into())
    }

    /// The size if it is a number; negative ones are no sizes.
    pub fn size(&self) -> Option<usize> {
        match self {
            Dim::Size(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub fn value(&self) -> Option<i64> {
        match self {
            Dim::Size(n) => Some(*n),
            _ => None,
        }
    }

    pub fn is_known(&self) -> bool {
        matches!(self, Dim::Size(_))
    }

    fn depth(&self) -> u8 {
        match self {
            Dim::Expr(expr) => expr.depth,
            _ => 0,
        }
    }

    fn binary(op: DimOp, left: &Dim, right: &Dim) -> Dim {
        use Dim::{Size, Unknown};
        match (op, left, right) {
            (_, Unknown, _) | (_, _, Unknown) => Unknown,
            (_, Size(a), Size(b)) => op.apply(*a, *b).map_or(Unknown, Size),
            (DimOp::Add, Size(0), x) | (DimOp::Add | DimOp::Sub, x, Size(0)) => x.clone(),
            (DimOp::Mul, Size(1), x) | (DimOp::Mul | DimOp::FloorDiv, x, Size(1)) => x.clone(),
            (DimOp::Mul, Size(0), _) | (DimOp::Mul, _, Size(0)) => Size(0),
            (DimOp::Sub, x, y) if x == y => Size(0),
            (DimOp::Max | DimOp::Min, x, y) if x == y => x.clone(),
            (DimOp::Max, x, Size(n)) if *n <= 0 && x.never_negative() => x.clone(),
            (DimOp::Min, x, Size(n)) if *n <= 0 && x.never_negative() => Size(*n),
            // (x + a) + b -> x + (a + b), and the same with minus: stride arithmetic piles these up.
            (DimOp::Add | DimOp::Sub, Dim::Expr(inner), Size(b))
                if matches!(inner.op, DimOp::Add | DimOp::Sub) && inner.right.is_known() =>
            {
                let a = inner.right.value().expect("the guard has seen a number");
                let a = if inner.op == DimOp::Sub {
                    a.checked_neg()
                } else {
                    Some(a)
                };
                let b = if op == DimOp::Sub {
                    b.checked_neg()
                } else {
                    Some(*b)
                };
                let sum = a.zip(b).and_then(|(a, b)| a.checked_add(b));
                sum.map_or(Unknown, |n| Dim::binary(DimOp::Add, &inner.left, &Size(n)))
            }
            // x + -a -> x - a, and the same with minus.
            (DimOp::Add | DimOp::Sub, x, Size(b)) if *b < 0 => {
                let opposite = if op == DimOp::Add {
                    DimOp::Sub
                } else {
                    DimOp::Add
                };
                let negated = b.checked_neg();
                negated.map_or(Unknown, |b| Dim::binary(opposite, x, &Size(b)))
            }
            // (x * a) / b -> x * (a / b), where the numbers divide
            (DimOp::FloorDiv, Dim::Expr(inner), Size(b))
                if inner.op == DimOp::Mul
                    && let Size(a) = inner.right
                    && a.checked_rem(*b) == Some(0) =>
            {
                Dim::binary(DimOp::Mul, &inner.left, &Size(a / b))
            }
            // (x * a) * y -> (x * y) * a: products keep one number, outermost.
            (DimOp::Mul, Dim::Expr(inner), y) | (DimOp::Mul, y, Dim::Expr(inner))
                if inner.op == DimOp::Mul && inner.right.is_known() =>
            {
                let rest = match y {
                    Size(_) => {
                        return Dim::binary(op, &inner.left, &Dim::binary(op, &inner.right, y));
                    }
                    y => Dim::binary(op, &inner.left, y),
                };
                Dim::binary(op, &rest, &inner.right)
            }
            // Numbers stand on the right, so that equal expressions look equal.
            (DimOp::Add | DimOp::Mul | DimOp::Max | DimOp::Min, Size(_), x) => {
                Dim::binary(op, x, left)
            }
            _ => {
                let depth = left.depth().max(right.depth()) + 1;
                if depth > MAX_DEPTH {
                    return Unknown;
                }
                Dim::Expr(Arc::new(Expr {
                    op,
                    left: left.clone(),
                    right: right.clone(),
                    depth,
                }))
            }
        }
    }

    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        Dim::binary(DimOp::FloorDiv, self, divisor)
    }

    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        let one = Dim::Size(1);
        Dim::binary(
            DimOp::FloorDiv,
            &Dim::binary(DimOp::Add, self, &Dim::binary(DimOp::Sub, divisor, &one)),
            divisor,
        )
    }

    pub fn max(&self, other: &Dim) -> Dim {
        Dim::binary(DimOp::Max, self, other)
    }

    pub fn min(&self, other: &Dim) -> Dim {
        Dim::binary(DimOp::Min, self, other)
    }

    /// True when this cannot be below zero, whatever its symbols stand for.
    pub fn never_negative(&self) -> bool {
        match self {
            Dim::Size(n) => *n >= 0,
            Dim::Symbol(_) => true,
            Dim::Unknown => false,
            Dim::Expr(expr) => {
                let (left, right) = (expr.left.never_negative(), expr.right.never_negative());
                match expr.op {
                    DimOp::Sub => false,
                    DimOp::Max => left || right,
                    DimOp::Add | DimOp::Mul | DimOp::FloorDiv | DimOp::Min => left && right,
                }
            }
        }
    }

    /// What this is a product of: `(n * 2)` gives `n` and `2`, anything else itself.
    pub fn factors(&self) -> Vec<Dim> {
        match self {
            Dim::Expr(expr) if expr.op == DimOp::Mul => {
                let mut factors = expr.left.factors();
                factors.extend(expr.right.factors());
                factors
            }
            _ => vec![self.clone()],
        }
    }

    /// The same with every symbol that `lookup` knows put in.
    pub fn bind(&self, lookup: &impl Fn(&str) -> Option<i64>) -> Dim {
        match self {
            Dim::Size(_) | Dim::Unknown => self.clone(),
            Dim::Symbol(name) => lookup(name).map_or_else(|| self.clone(), Dim::Size),
            Dim::Expr(expr) => {
                Dim::binary(expr.op, &expr.left.bind(lookup), &expr.right.bind(lookup))
            }
        }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $op:ident)*) => {$(
        impl std::ops::$trait<&Dim> for &Dim {
            type Output = Dim;
            fn $method(self, other: &Dim) -> Dim {
                Dim::binary(DimOp::$op, self, other)
            }
        }
        impl std::ops::$trait<i64> for &Dim {
            type Output = Dim;
            fn $method(self, other: i64) -> Dim {
                Dim::binary(DimOp::$op, self, &Dim::Size(other))
            }
        }
    )*};
}
arithmetic!(Add add Add  Sub sub Sub  Mul mul Mul);

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::Size(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        i64::try_from(n).map_or(Dim::Unknown, Dim::Size)
    }
}

impl fmt::Display for Dim {
    /// `3`, `batch`, `(batch * 2)`, `?`. Symbols with unusual characters are put in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Size(n) => write!(f, "{n}"),
            Dim::Unknown => f.write_str("?"),
            Dim::Symbol(name) => {
                let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if plain {
                    f.write_str(name)
                } else {
                    write!(f, "{name:?}")
                }
            }
            Dim::Expr(expr) => {
                let Expr {
                    op, left, right, ..
                } = &**expr;
                match op {
                    DimOp::Add => write!(f, "({left} + {right})"),
                    DimOp::Sub => write!(f, "({left} - {right})"),
                    DimOp::Mul => write!(f, "({left} * {right})"),
                    DimOp::FloorDiv => write!(f, "({left} / {right})"),
                    DimOp::Max => write!(f, "max({left}, {right})"),
                    DimOp::Min => write!(f, "min({left}, {right})"),
                }
            }
        }
    }
}

/// A shape of known rank: dimensions from the slowest to the fastest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    pub fn scalar() -> Shape {
        Shape(Vec::new())
    }

    pub fn known(sizes: &[usize]) -> Shape {
        sizes.iter().copied().collect()
    }

    pub fn unknown(rank: usize) -> Shape {
        Shape(vec![Dim::Unknown; rank])
    }

    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// All sizes as numbers, or `None` if one is symbolic.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::size).collect()
    }

    /// The product of all dimensions.
    pub fn elements(&self) -> Dim {
        self.0
            .iter()
            .fold(Dim::Size(1), |product, dim| &product * dim)
    }

    /// Maps an ONNX axis, `-rank..rank`, to `0..rank`.
    pub fn axis(&self, axis: i64) -> Option<usize> {
        let rank = i64::try_from(self.rank()).ok()?;
        let axis = if axis < 0 {
            axis.checked_add(rank)?
        } else {
            axis
        };
        usize::try_from(axis)
            .ok()
            .filter(|&axis| axis < self.rank())
    }

    pub fn bind(&self, lookup: &impl Fn(&str) -> Option<i64>) -> Shape {
        self.0.iter().map(|dim| dim.bind(lookup)).collect()
    }
}

impl<D: Into<Dim>> FromIterator<D> for Shape {
    fn from_iter<I: IntoIterator<Item = D>>(dims: I) -> Shape {
        Shape(dims.into_iter().map(Into::into).collect())
    }
}

impl std::ops::Deref for Shape {
    type Target = [Dim];
    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (idx, dim) in self.0.iter().enumerate() {
            if idx > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_on_numbers_gives_numbers() {
        let seven = Dim::Size(7);
        assert_eq!(seven.floor_div(&Dim::Size(2)), Dim::Size(3));
        assert_eq!(seven.ceil_div(&Dim::Size(2)), Dim::Size(4));
        assert_eq!(Dim::Size(-7).floor_div(&Dim::Size(2)), Dim::Size(-4));
        assert_eq!(seven.floor_div(&Dim::Size(0)), Dim::Unknown);
        assert_eq!(&Dim::Size(i64::MAX) + 1, Dim::Unknown);
    }

    #[test]
    fn symbols_survive_arithmetic_and_bind_later() {
        let n = Dim::symbol("n");
        let out = (&(&n + 2) - 3).floor_div(&Dim::Size(2));
        assert_eq!(out.to_string(), "((n - 1) / 2)");
        assert_eq!(out.bind(&|_| Some(9)), Dim::Size(4));
        assert_eq!((&n * 4).floor_div(&Dim::Size(4)), n);
        assert_eq!((&n * 12).floor_div(&Dim::Size(4)), &n * 3);
        assert_eq!(&(&n * 3) * 4, &n * 12);
        assert_eq!((&(&n * 3) * &Dim::symbol("m")).to_string(), "((n * m) * 3)");
        assert_eq!((&Dim::symbol("m") * &(&n * 3)).to_string(), "((n * m) * 3)");
        assert_eq!(&n - &n, Dim::Size(0));
        assert_eq!(&Dim::Size(2) * &n, &n * 2);
        assert_eq!((&n + -3).to_string(), "(n - 3)");
        assert_eq!(&(&n - 1) + (i64::MIN + 1), Dim::Unknown);
    }

    #[test]
    fn products_come_apart_and_differences_may_be_negative() {
        let n = Dim::symbol("n");
        assert_eq!((&(&n * 2) * 3).factors(), [n.clone(), Dim::Size(6)]);
        assert!((&(&n * 2) + 1).never_negative());
        assert!(!(&n - 1).never_negative());
        assert!((&n - 1).max(&Dim::Size(0)).never_negative());
        assert!(!Dim::Unknown.never_negative());
        assert_eq!(Dim::Size(0).max(&n), n);
        assert_eq!(n.min(&Dim::Size(0)), Dim::Size(0));
    }

    #[test]
    fn expressions_stay_bounded() {
        let mut dim = Dim::symbol("n");
        for _ in 0..100 {
            dim = (&dim * 3).max(&Dim::symbol("m"));
        }
        assert_eq!(dim, Dim::Unknown);
    }

    #[test]
    fn axes_count_from_either_end() {
        let shape = Shape::known(&[2, 3, 4]);
        assert_eq!(shape.axis(-1), Some(2));
        assert_eq!(shape.axis(0), Some(0));
        assert_eq!(shape.axis(3), None);
        assert_eq!(shape.axis(-4), None);
        assert_eq!(shape.axis(i64::MIN), None);
    }
}
