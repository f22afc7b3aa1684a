//! Elementwise operators over floats in a row as one `sentinel::Elementwise`.

use std::collections::BTreeMap;

use super::{Build, Formula, Skip};
use crate::graph::{Node, ValueId};
use crate::ops::chain::{self, Step};
use crate::passes::TARGET_OPSET;
use crate::tensor::DType;

const CHAIN: &str = "sentinel::Elementwise";

const _: () = assert!(chain::OPSET == TARGET_OPSET);

/// With the output as many as every device binds in one launch.
const MAX_INPUTS: usize = 6;

/// A shader that grows further needs more registers than it saves launches.
const MAX_STEPS: usize = 16;

// f(g(x), y) -> both in one node, where g has the shape of f and nothing else reads it
pub(super) fn chained(b: &Build) -> Formula {
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    if !matches!(b.dtype(output)?, DType::F32 | DType::F16) {
        return Err(Skip::NoMatch);
    }
    let own = steps_of(b, b.node)?;
    let mut chain = Chain::default();
    let mut operands = Vec::new();
    let mut grows = false;
    for &input in &b.node.inputs {
        let input = input.ok_or(Skip::NoMatch)?;
        let before = b
            .maker_of_all(input)
            .and_then(|node| Ok((node, steps_of(b, node)?)));
        operands.push(match before {
            Ok((node, steps)) if b.sizes(input)? == b.sizes(output)? => {
                grows = true;
                let inner: Option<Vec<ValueId>> = node.inputs.iter().copied().collect();
                let inner = inner.ok_or(Skip::NoMatch)?;
                let from: Vec<Place> = inner.iter().map(|&value| chain.input(value)).collect();
                chain.append(input, &steps, &from)
            }
            _ => chain.input(input),
        });
    }
    if !grows {
        return Err(Skip::NoMatch);
    }
    chain.append(output, &own, &operands);
    if chain.inputs.len() > MAX_INPUTS || chain.steps.len() > MAX_STEPS {
        return Err(Skip::Refused("the chain is long"));
    }
    let steps = chain.numbered();
    Ok(b.op_attrs(CHAIN, &chain.inputs, chain::attributes(&steps)))
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
enum Place {
    Input(usize),
    Step(usize),
}

#[derive(Default)]
struct Chain {
    inputs: Vec<ValueId>,
    steps: Vec<(Step, Vec<Place>)>,
    /// Where the result of a value that was taken in is.
    taken: BTreeMap<ValueId, Place>,
}

impl Chain {
    fn input(&mut self, value: ValueId) -> Place {
        let known = self.inputs.iter().position(|&known| known == value);
        Place::Input(known.unwrap_or_else(|| {
            self.inputs.push(value);
            self.inputs.len() - 1
        }))
    }

    /// Adds the steps of a node that makes `value` from `from`; returns where the value is.
    fn append(&mut self, value: ValueId, steps: &[Step], from: &[Place]) -> Place {
        if let Some(&place) = self.taken.get(&value) {
            return place;
        }
        let first = self.steps.len();
        for step in steps {
            let places = step.operands.iter().map(|&operand| {
                let inner = operand.checked_sub(from.len());
                inner.map_or_else(|| from[operand], |idx| Place::Step(first + idx))
            });
            let places = places.collect();
            self.steps.push((step.clone(), places));
        }
        let place = Place::Step(self.steps.len() - 1);
        self.taken.insert(value, place);
        place
    }

    /// The steps with operands that count the inputs first.
    fn numbered(&self) -> Vec<Step> {
        let number = |place: &Place| match place {
            Place::Input(idx) => *idx,
            Place::Step(idx) => self.inputs.len() + idx,
        };
        let steps = self.steps.iter().map(|(step, places)| Step {
            operands: places.iter().map(number).collect(),
            ..step.clone()
        });
        steps.collect()
    }
}

/// A node as steps over its inputs.
fn steps_of(b: &Build, node: &Node) -> Result<Vec<Step>, Skip> {
    let inputs: Option<Vec<ValueId>> = node.inputs.iter().copied().collect();
    let inputs = inputs.ok_or(Skip::NoMatch)?;
    let output = node.output(0).ok_or(Skip::NoMatch)?;
    let dtype = b.dtype(output)?;
    for &input in &inputs {
        if b.dtype(input)? != dtype {
            return Err(Skip::NoMatch);
        }
    }
    if node.op.to_string() == CHAIN {
        return chain::steps(&node.attrs, inputs.len()).map_err(|_| Skip::NoMatch);
    }
    let n_operands = inputs.len();
    let is_step = node.op.domain.is_empty()
        && n_operands <= 2
        && chain::function(&node.op.name, &node.attrs, n_operands).is_some();
    if !is_step {
        return Err(Skip::NoMatch);
    }
    Ok(vec![Step {
        op: node.op.name.to_string(),
        attrs: node.attrs.clone(),
        operands: (0..n_operands).collect(),
    }])
}
