//! Runs of joined rows against runs of each alone, on the CPU.

use sentinel_inference::backend::cpu::evaluate;
use sentinel_inference::error::{Error, Result};
use sentinel_inference::graph::{Graph, specialize};
use sentinel_inference::passes::{self, Rows};
use sentinel_inference::session::{Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// The graph as it runs with joined rows, and what the analysis says of it.
pub fn rebatched(mut graph: Graph, axis: usize) -> Result<(Graph, Rows)> {
    let rows = passes::rebatch(&mut graph, axis, &evaluate)?;
    Ok((graph, rows))
}

/// The graph for one number of rows; the CPU has fewer operators for sizes that are unknown.
pub fn bound(graph: &Graph, n_rows: usize) -> Graph {
    let mut graph = graph.clone();
    specialize(&mut graph, &|_| i64::try_from(n_rows).ok());
    graph
}

pub fn run(graph: Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let session = Session::create(graph, &Options::only(Provider::Cpu))?;
    let names = session.inputs().iter().map(|port| port.name.clone());
    let feeds = names.zip(inputs.iter().cloned()).collect();
    let fetches: Vec<String> = session
        .outputs()
        .iter()
        .map(|port| port.name.clone())
        .collect();
    let fetches: Vec<&str> = fetches.iter().map(String::as_str).collect();
    session.run(feeds, &fetches)
}

/// Runs several items alone and joined; gives, for each output and item, what came alone and the
/// item's part of what came joined. `items` hold the inputs in order; what is shared is taken from
/// the first.
pub fn alone_and_joined(
    alone: &Graph,
    joined: &Graph,
    rows: &Rows,
    items: &[Vec<Tensor>],
) -> Result<Vec<(Tensor, Tensor)>> {
    alone_and_joined_by(&run, alone, joined, rows, items)
}

/// Runs a graph on its inputs in order.
pub type Run<'a> = &'a dyn Fn(Graph, &[Tensor]) -> Result<Vec<Tensor>>;

/// As [`alone_and_joined`], on another backend.
pub fn alone_and_joined_by(
    run: Run,
    alone: &Graph,
    joined: &Graph,
    rows: &Rows,
    items: &[Vec<Tensor>],
) -> Result<Vec<(Tensor, Tensor)>> {
    let inputs = rows.inputs.iter().enumerate().map(|(idx, (_, axis))| {
        let parts: Vec<&Tensor> = items.iter().map(|item| &item[idx]).collect();
        axis.map_or_else(|| Ok(parts[0].clone()), |axis| join(&parts, axis))
    });
    let joined = run(joined.clone(), &inputs.collect::<Result<Vec<_>>>()?)?;
    let mut pairs = Vec::new();
    for (item_idx, item) in items.iter().enumerate() {
        let outputs = run(alone.clone(), item)?;
        for ((alone, joined), (name, axis)) in outputs.into_iter().zip(&joined).zip(&rows.outputs) {
            let part = match axis {
                None => joined.clone(),
                Some(axis) => part(joined, *axis, item_idx, items.len())
                    .ok_or_else(|| Error::shape(name, "it does not split into the items"))?,
            };
            pairs.push((alone, part));
        }
    }
    Ok(pairs)
}

fn join(parts: &[&Tensor], axis: usize) -> Result<Tensor> {
    let mut sizes = parts[0].sizes().to_vec();
    let n_before: usize = sizes[..axis].iter().product();
    sizes[axis] = parts.iter().map(|part| part.sizes()[axis]).sum();
    let mut bytes = Vec::new();
    for before in 0..n_before {
        for part in parts {
            let stride = part.bytes().len() / n_before;
            bytes.extend(&part.bytes()[before * stride..(before + 1) * stride]);
        }
    }
    Tensor::from_bytes(parts[0].dtype(), &sizes, bytes)
}

fn part(joined: &Tensor, axis: usize, idx: usize, n_parts: usize) -> Option<Tensor> {
    let mut sizes = joined.sizes().to_vec();
    if *sizes.get(axis)? % n_parts != 0 {
        return None;
    }
    let n_before: usize = sizes[..axis].iter().product();
    sizes[axis] /= n_parts;
    let stride = joined.bytes().len() / n_before.max(1);
    let own = stride / n_parts;
    let mut bytes = Vec::new();
    for before in 0..n_before {
        let start = before * stride + idx * own;
        bytes.extend(&joined.bytes()[start..start + own]);
    }
    Tensor::from_bytes(joined.dtype(), &sizes, bytes).ok()
}

/// Numbers without end that follow from a seed.
pub fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        state >> 33
    }
}

/// Random elements like those of a tensor: floats nearby, whole numbers in another order.
pub fn perturbed(tensor: &Tensor, next: &mut impl FnMut() -> u64) -> Tensor {
    let sizes = tensor.sizes();
    if let Some(elements) = tensor.elements::<f32>()
        && elements.iter().any(|x| x.fract() != 0.0)
    {
        let mut noise = || (next() % 2001) as f32 / 1000.0 - 1.0;
        let scale = elements.iter().fold(0.0_f32, |most, x| most.max(x.abs())) * 0.2;
        let moved = elements.iter().map(|x| x + scale * noise()).collect();
        return Tensor::from_vec(sizes, moved).expect("as many elements");
    }
    let size = tensor.dtype().size_bytes(1).expect("numbers");
    let mut elements: Vec<&[u8]> = tensor.bytes().chunks(size).collect();
    for idx in (1..elements.len()).rev() {
        elements.swap(idx, (next() % (idx as u64 + 1)) as usize);
    }
    Tensor::from_bytes(tensor.dtype(), sizes, elements.concat()).expect("as many bytes")
}
