//! Runs of joined rows against runs of each alone, on the CPU.

use sentinel_inference::backend::cpu::evaluate;
use sentinel_inference::error::Result;
use sentinel_inference::graph::{Graph, specialize};
use sentinel_inference::passes::{self, Rows};
use sentinel_inference::session::{Joining, Options, Provider, Session};
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
    let joining = Joining::of(rows);
    let named = |item: &Vec<Tensor>| {
        let names = rows.inputs.iter().map(|(name, _)| name.clone());
        names.zip(item.iter().cloned()).collect::<Vec<_>>()
    };
    let parts: Vec<_> = items.iter().map(named).collect();
    let inputs = joining.join(&parts)?.into_iter().map(|(_, tensor)| tensor);
    let outputs = run(joined.clone(), &inputs.collect::<Vec<_>>())?;
    let names = rows.outputs.iter().map(|(name, _)| name.clone());
    let carried = rows.inputs.iter().position(|(_, axis)| axis.is_some());
    let n_rows = items.iter().map(|item| {
        let at = carried.expect("an input carries rows");
        item[at].sizes()[rows.inputs[at].1.expect("it carries rows")]
    });
    let split = joining.split(names.zip(outputs).collect(), &n_rows.collect::<Vec<_>>())?;
    let mut pairs = Vec::new();
    for (item, part) in items.iter().zip(split) {
        let outputs = run(alone.clone(), item)?;
        pairs.extend(outputs.into_iter().zip(part.into_iter().map(|(_, x)| x)));
    }
    Ok(pairs)
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
