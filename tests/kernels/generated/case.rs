//! A graph under construction, with the tensors that it is run on.

use std::collections::HashMap;
use std::fmt::Write as _;

use half::f16;
use sentinel_inference::backend::cpu;
use sentinel_inference::error::Result;
use sentinel_inference::graph::{Graph, Source, text};
use sentinel_inference::passes;
use sentinel_inference::tensor::{DType, Fact, Tensor};

use crate::random::Random;

/// Around the sizes of tiles and workgroups.
const SIZES: &[usize] = &[
    1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 11, 13, 16, 17, 31, 32, 33, 64, 65, 70, 127, 129, 257,
];

pub struct Case {
    pub random: Random,
    text: String,
    n_values: usize,
    tensors: Vec<(String, Tensor, bool)>,
    outputs: Vec<String>,
    /// What a loop in the test finds for the first output, where no other backend computes it.
    pub wanted: Option<Tensor>,
    /// The first output and the second are the same thing computed in two ways.
    pub is_pair: bool,
    /// Roundings of halves may come to more than those of the result.
    pub is_rough: bool,
}

impl Case {
    pub fn new(random: Random) -> Case {
        Case {
            random,
            text: String::new(),
            n_values: 0,
            tensors: Vec::new(),
            outputs: Vec::new(),
            wanted: None,
            is_pair: false,
            is_rough: false,
        }
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.random.chance(one_in)
    }

    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        self.random.pick(items)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.random.below((high - low + 1) as usize) as i64
    }

    pub fn size(&mut self, most: usize) -> usize {
        loop {
            let size = self.pick(SIZES);
            if size <= most {
                return size;
            }
        }
    }

    /// So many sizes for at most `most` elements in all.
    pub fn sizes(&mut self, rank: usize, most: usize) -> Vec<usize> {
        let mut left = most;
        let mut sizes: Vec<usize> = (0..rank)
            .map(|_| {
                let size = self.size(left.max(1));
                left /= size;
                size
            })
            .collect();
        for idx in (1..rank).rev() {
            let other = self.random.below(idx + 1);
            sizes.swap(idx, other);
        }
        sizes
    }

    /// As [`Case::sizes`], now and then with an axis of nothing.
    pub fn sizes_or_none(&mut self, rank: usize, most: usize) -> Vec<usize> {
        let mut sizes = self.sizes(rank, most);
        if rank > 0 && self.chance(25) {
            let axis = self.random.below(rank);
            sizes[axis] = 0;
        }
        sizes
    }

    /// An axis as a number from either end.
    pub fn either(&mut self, axis: usize, rank: usize) -> i64 {
        if self.chance(2) {
            axis as i64
        } else {
            axis as i64 - rank as i64
        }
    }

    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for idx in (1..n).rev() {
            let other = self.random.below(idx + 1);
            order.swap(idx, other);
        }
        order
    }

    pub fn float_type(&mut self) -> DType {
        self.pick(&[DType::F32, DType::F32, DType::F16])
    }

    pub fn any_type(&mut self) -> DType {
        use DType::{Bool, F16, F32, I8, I32, I64, U8};
        self.pick(&[F32, F32, F16, I32, I64, I8, U8, Bool])
    }

    /// Elements of eighths from -2 to 2, or small whole numbers: sums of products are exact.
    pub fn tensor(&mut self, dtype: DType, sizes: &[usize]) -> Tensor {
        let (low, high) = match dtype {
            DType::Bool => (0, 1),
            DType::U8 | DType::U32 | DType::U64 => (0, 19),
            DType::I8 | DType::I32 | DType::I64 => (-9, 9),
            _ => (-16, 16),
        };
        let unit = if dtype.is_float() { 8.0 } else { 1.0 };
        self.tensor_of(dtype, sizes, (low, high), unit)
    }

    /// Elements of `low / unit` to `high / unit`.
    pub fn tensor_of(
        &mut self,
        dtype: DType,
        sizes: &[usize],
        (low, high): (i64, i64),
        unit: f64,
    ) -> Tensor {
        let n: usize = sizes.iter().product();
        let numbers: Vec<f64> = (0..n)
            .map(|_| self.between(low, high) as f64 / unit)
            .collect();
        tensor_from(dtype, sizes, &numbers)
    }

    /// A value of the graph with these elements: mostly an input.
    pub fn value(&mut self, tensor: Tensor) -> String {
        let is_constant = self.chance(5);
        self.add(tensor, is_constant)
    }

    /// A weight: mostly a constant.
    pub fn weight(&mut self, tensor: Tensor) -> String {
        let is_constant = !self.chance(4);
        self.add(tensor, is_constant)
    }

    pub fn constant(&mut self, tensor: Tensor) -> String {
        self.add(tensor, true)
    }

    pub fn input(&mut self, tensor: Tensor) -> String {
        self.add(tensor, false)
    }

    fn add(&mut self, tensor: Tensor, is_constant: bool) -> String {
        let name = self.fresh("x");
        let sizes: Vec<String> = tensor.sizes().iter().map(usize::to_string).collect();
        writeln!(
            self.text,
            "input {name}: {}[{}]",
            tensor.dtype(),
            sizes.join(", ")
        )
        .expect("strings grow");
        self.tensors.push((name.clone(), tensor, is_constant));
        name
    }

    pub fn of(&mut self, dtype: DType, sizes: &[usize]) -> String {
        let tensor = self.tensor(dtype, sizes);
        self.value(tensor)
    }

    pub fn weight_of(&mut self, dtype: DType, sizes: &[usize]) -> String {
        let tensor = self.tensor(dtype, sizes);
        self.weight(tensor)
    }

    /// A constant list of numbers.
    pub fn ints(&mut self, numbers: &[i64]) -> String {
        self.constant(Tensor::vector(numbers))
    }

    pub fn floats(&mut self, numbers: &[f32]) -> String {
        self.constant(Tensor::vector(numbers))
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], attrs: &[String]) -> String {
        self.nodes(op, inputs, attrs, 1).remove(0)
    }

    pub fn nodes(&mut self, op: &str, inputs: &[&str], attrs: &[String], n: usize) -> Vec<String> {
        let names: Vec<String> = (0..n).map(|_| self.fresh("y")).collect();
        let (outputs, inputs, attrs) = (names.join(", "), inputs.join(", "), attrs.join(", "));
        writeln!(self.text, "{outputs} = {op}({inputs}) {{{attrs}}}").expect("strings grow");
        names
    }

    pub fn output(&mut self, name: &str) {
        if self.outputs.iter().all(|output| output != name) {
            self.outputs.push(name.to_owned());
        }
    }

    /// Outputs that are the same thing.
    pub fn same(&mut self, one: &str, other: &str) {
        self.outputs.retain(|name| name != one && name != other);
        self.outputs
            .splice(0..0, [one.to_owned(), other.to_owned()]);
        self.is_pair = true;
    }

    /// One node whose outputs are those of the graph.
    pub fn whole(&mut self, op: &str, inputs: &[&str], attrs: &[String]) {
        let y = self.node(op, inputs, attrs);
        self.output(&y);
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.n_values += 1;
        format!("{stem}{}", self.n_values)
    }

    pub fn text(&self) -> String {
        let constants = self
            .tensors
            .iter()
            .filter(|(_, _, is_constant)| *is_constant);
        let constants = constants.map(|(name, tensor, _)| {
            let shown = tensor.to_f64s().unwrap_or_default();
            let shown = shown.get(..12).unwrap_or(&shown).to_vec();
            format!("# {name} is constant: {shown:?}\n")
        });
        let outputs = self.outputs.iter().map(|name| format!("output {name}\n"));
        self.text.clone() + &outputs.collect::<String>() + &constants.collect::<String>()
    }

    /// The graph as it was written, prepared.
    pub fn graph(&self) -> Result<Graph> {
        let outputs = self.outputs.iter().map(|name| format!("output {name}\n"));
        let text = self.text.clone() + &outputs.collect::<String>();
        let mut graph = text::parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        for (name, tensor, is_constant) in &self.tensors {
            let id = graph.find(name).expect("it was declared");
            if *is_constant {
                graph.inputs.retain(|&input| input != id);
                let value = graph.value_mut(id);
                value.fact = Fact::of(tensor);
                value.source = Source::Constant(tensor.clone());
            }
        }
        passes::prepare(&mut graph, &cpu::evaluate)?;
        Ok(graph)
    }

    pub fn feeds(&self) -> HashMap<String, Tensor> {
        let inputs = self
            .tensors
            .iter()
            .filter(|(_, _, is_constant)| !is_constant);
        inputs
            .map(|(name, tensor, _)| (name.clone(), tensor.clone()))
            .collect()
    }
}

/// Elements of any type from numbers that it has.
pub fn tensor_from(dtype: DType, sizes: &[usize], numbers: &[f64]) -> Tensor {
    fn all<T>(numbers: &[f64], of: impl Fn(f64) -> T) -> Vec<T> {
        numbers.iter().map(|&number| of(number)).collect()
    }
    let made = match dtype {
        DType::F32 => Tensor::from_vec(sizes, all(numbers, |n| n as f32)),
        DType::F16 => Tensor::from_vec(sizes, all(numbers, f16::from_f64)),
        DType::I64 => Tensor::from_vec(sizes, all(numbers, |n| n as i64)),
        DType::I32 => Tensor::from_vec(sizes, all(numbers, |n| n as i32)),
        DType::U32 => Tensor::from_vec(sizes, all(numbers, |n| n as u32)),
        DType::U64 => Tensor::from_vec(sizes, all(numbers, |n| n as u64)),
        DType::I8 => Tensor::from_vec(sizes, all(numbers, |n| n as i8)),
        DType::U8 => Tensor::from_vec(sizes, all(numbers, |n| n as u8)),
        DType::Bool => Tensor::from_bytes(dtype, sizes, all(numbers, |n| u8::from(n != 0.0))),
        _ => panic!("no test has {dtype}"),
    };
    made.expect("there is one element for each place")
}

pub fn attr(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name} = {value}")
}

pub fn list<T: std::fmt::Debug>(name: &str, values: &[T]) -> String {
    format!("{name} = {values:?}")
}

pub fn word(name: &str, value: &str) -> String {
    format!("{name} = {value:?}")
}

pub fn real(name: &str, value: f32) -> String {
    format!("{name} = {value:?}")
}

/// The elements of any type of numbers.
pub fn numbers_of(tensor: &Tensor) -> Vec<f64> {
    let ints = || {
        let ints = tensor.to_i64s()?;
        Some(ints.into_iter().map(|n| n as f64).collect())
    };
    tensor
        .to_f64s()
        .or_else(ints)
        .expect("tensors are of numbers")
}
