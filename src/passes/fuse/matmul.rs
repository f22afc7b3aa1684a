//! What stands before and behind products of matrices, as `sentinel::FusedMatMul`:
//! `activation(alpha * a' b' + bias + residual)`, where `'` may swap the last two axes.

use super::{Build, Formula, Skip, activation, views};
use crate::graph::{Node, ValueId};
use crate::ops::{Attr, Attrs};
use crate::tensor::DType;

const FUSED: &str = "sentinel::FusedMatMul";

/// A product with what is fused to it so far.
struct Product {
    a: ValueId,
    b: ValueId,
    /// One number for each column.
    bias: Option<ValueId>,
    /// Of the shape of the result.
    residual: Option<ValueId>,
    attrs: Attrs,
}

impl Product {
    /// Reads a float product of matrices in any of its forms.
    fn of(b: &Build, node: &Node) -> Result<Product, Skip> {
        let (Some(left), Some(right)) = (node.input(0), node.input(1)) else {
            return Err(Skip::NoMatch);
        };
        let mut product = Product {
            a: left,
            b: right,
            bias: None,
            residual: None,
            attrs: Attrs::default(),
        };
        match &*node.op.to_string() {
            "MatMul" => (),
            "Gemm" => product.take_gemm(b, node)?,
            FUSED => {
                product.bias = node.input(2);
                product.residual = node.input(3);
                product.attrs = node.attrs.clone();
            }
            _ => return Err(Skip::NoMatch),
        }
        if !matches!(b.dtype(left)?, DType::F32 | DType::F16) {
            return Err(Skip::Refused("it is neither f32 nor f16"));
        }
        if b.rank(left)? < 2 || b.rank(right)? < 2 {
            return Err(Skip::Refused("a vector is multiplied"));
        }
        Ok(product)
    }

    fn take_gemm(&mut self, b: &Build, node: &Node) -> Result<(), Skip> {
        for (old, new) in [
            ("transA", "trans_a"),
            ("transB", "trans_b"),
            ("alpha", "alpha"),
        ] {
            if let Some(attr) = node.attrs.get(old) {
                self.attrs.set(new, attr.clone());
            }
        }
        let Some(c) = node.input(2) else {
            return Ok(());
        };
        if node.attrs.float("beta").is_some_and(|beta| beta != 1.0) {
            return Err(Skip::Refused("the bias has a factor"));
        }
        let c = self.as_bias(b, c)?;
        self.bias = Some(c);
        Ok(())
    }

    /// The product that makes a value and that nothing else reads, without an activation.
    fn behind(b: &Build, value: ValueId) -> Result<Product, Skip> {
        let product = Product::of(b, b.sole_maker(value)?)?;
        if product.attrs.get("activation").is_some() {
            return Err(Skip::NoMatch);
        }
        Ok(product)
    }

    fn operand(&mut self, is_left: bool) -> &mut ValueId {
        if is_left { &mut self.a } else { &mut self.b }
    }

    fn is_turned(&self, name: &str) -> bool {
        self.attrs.int(name).unwrap_or(0) != 0
    }

    /// A value with one number for each column, as a vector.
    fn as_bias(&self, b: &Build, value: ValueId) -> Formula {
        let right = b.shape(self.b)?;
        let from_last = if self.is_turned("trans_b") { 2 } else { 1 };
        let columns = right[right.rank() - from_last].value();
        let columns = columns.ok_or(Skip::Refused("a size is unknown"))?;
        match b.sizes(value)?.as_slice() {
            [n] if *n == columns => Ok(value),
            [leading @ .., n] if *n == columns && leading.iter().all(|&size| size == 1) => {
                Ok(b.reshape(value, &[columns]))
            }
            _ => Err(Skip::Refused("it is not one number for each column")),
        }
    }

    fn scale(&mut self, factor: f64) {
        let alpha = self.attrs.float("alpha").unwrap_or(1.0);
        let alpha = (f64::from(alpha) * factor) as f32;
        self.attrs.set("alpha", Attr::Float(alpha));
    }

    fn build(self, b: &Build) -> Formula {
        let inputs = [Some(self.a), Some(self.b), self.bias, self.residual];
        Ok(b.op_attrs(FUSED, &inputs, self.attrs))
    }
}

/// A factor, or the inverse of a divisor, that one number is.
fn factor(b: &Build, node: &Node) -> Result<(ValueId, f64), Skip> {
    let (Some(x), Some(y)) = (node.input(0), node.input(1)) else {
        return Err(Skip::NoMatch);
    };
    let (x, number, one) = match (b.number(x), b.number(y)) {
        (_, Some(number)) if node.op.is("Mul") => (x, number, y),
        (_, Some(number)) if node.op.is("Div") && number != 0.0 => (x, 1.0 / number, y),
        (Some(number), _) if node.op.is("Mul") => (y, number, x),
        _ => return Err(Skip::NoMatch),
    };
    if b.rank(one)? > b.rank(x)? {
        return Err(Skip::Refused("a constant changes the rank"));
    }
    Ok((x, number))
}

// (a b) * k -> product with alpha = k
pub(super) fn scaled(b: &Build) -> Formula {
    let (x, factor) = factor(b, b.node)?;
    let mut product = Product::behind(b, x)?;
    if product.bias.is_some() || product.residual.is_some() {
        return Err(Skip::Refused("the product has a bias"));
    }
    product.scale(factor);
    product.build(b)
}

// (a * k) b -> product with alpha = k
pub(super) fn of_scaled(b: &Build) -> Formula {
    let mut product = Product::of(b, b.node)?;
    let mut found = false;
    for is_left in [true, false] {
        let operand = product.operand(is_left);
        let scaled = b.sole_maker(*operand).and_then(|node| factor(b, node));
        if let Ok((x, factor)) = scaled {
            *operand = x;
            product.scale(factor);
            found = true;
        }
    }
    if found {
        product.build(b)
    } else {
        Err(Skip::NoMatch)
    }
}

// a transpose(b) -> product with trans_b, where that moves the last two axes
pub(super) fn turned(b: &Build) -> Formula {
    let mut product = Product::of(b, b.node)?;
    let mut found = false;
    for (is_left, name) in [(true, "trans_a"), (false, "trans_b")] {
        let turned = b.sole_maker(*product.operand(is_left));
        let Some(node) = turned.ok().filter(|node| node.op.is("Transpose")) else {
            continue;
        };
        let x = node.input(0).ok_or(Skip::NoMatch)?;
        let mut perm = views::perm(node.attrs.ints("perm"), b.rank(x)?);
        let rank = perm.len();
        // The rows are what lay side by side before: as columns they do again.
        if rank < 2 || perm[rank - 2] != rank as i64 - 1 {
            continue;
        }
        perm.swap(rank - 2, rank - 1);
        *product.operand(is_left) = if perm.is_sorted() {
            x
        } else {
            b.transpose(x, &perm)
        };
        let is_turned = i64::from(!product.is_turned(name));
        product.attrs.set(name, Attr::Int(is_turned));
        found = true;
    }
    if found {
        product.build(b)
    } else {
        Err(Skip::NoMatch)
    }
}

// a b + k -> product with a bias, for one number for each column, or with a residual
pub(super) fn added(b: &Build) -> Formula {
    if !b.node.op.is("Add") {
        return Err(Skip::NoMatch);
    }
    let (x, y) = (b.x()?, b.input(1)?);
    // The sum is the only reader of the product, so that k cannot come from it.
    for (sum, k) in [(x, y), (y, x)] {
        let Ok(mut product) = Product::behind(b, sum) else {
            continue;
        };
        let is_wider = b.rank(k)? > b.rank(sum)?;
        match product.as_bias(b, k) {
            Ok(bias) if product.bias.is_none() && !is_wider => product.bias = Some(bias),
            _ if product.residual.is_none() && b.same_shape(k, sum) => {
                product.residual = Some(k);
            }
            _ => continue,
        }
        return product.build(b);
    }
    Err(Skip::NoMatch)
}

// f(a b) -> product with f
pub(super) fn activated(b: &Build) -> Formula {
    let extra = activation::attributes(b)?;
    let mut product = Product::behind(b, b.x()?)?;
    extra
        .iter()
        .for_each(|(name, attr)| product.attrs.set(name, attr.clone()));
    product.build(b)
}

// f(reshape(a b)) -> reshape(f(a b)), and with a residual, so that the other rules see f
pub(super) fn reshaped(b: &Build) -> Formula {
    let is_sum = b.node.op.is("Add");
    if !is_sum {
        activation::attributes(b)?;
    }
    let n_operands = if is_sum { 2 } else { 1 };
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    for idx in 0..n_operands {
        let view = b.input(idx)?;
        let Ok(reshape) = b.sole_maker(view) else {
            continue;
        };
        let product = reshape.input(0).filter(|_| views::is_view(reshape));
        let Some(product) = product.filter(|&value| Product::behind(b, value).is_ok()) else {
            continue;
        };
        let (before, after) = (b.sizes(product)?, b.sizes(view)?);
        if b.sizes(output)? != after {
            return Err(Skip::Refused("the result is stretched"));
        }
        let mut inputs = b.node.inputs.clone();
        inputs[idx] = Some(product);
        if is_sum {
            let k = b.input(1 - idx)?;
            let sizes = b.sizes(k)?;
            inputs[1 - idx] = match sizes.as_slice() {
                _ if sizes == after => Some(b.reshape(k, &before)),
                [_] if sizes.last() == before.last() && sizes.last() == after.last() => Some(k),
                _ => continue,
            };
        }
        let y = b.op_attrs(&b.node.op.to_string(), &inputs, b.node.attrs.clone());
        return Ok(b.reshape(y, &after));
    }
    Err(Skip::NoMatch)
}
