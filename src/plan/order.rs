//! The order of nodes that changes backend as rarely as possible.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::graph::{Graph, NodeId};

/// Runs of nodes of one kind, in an order in which every input comes before its reader.
pub(super) fn runs(graph: &Graph, on_gpu: &dyn Fn(NodeId) -> bool) -> Result<Vec<Vec<NodeId>>> {
    let order = graph.order()?;
    // Which kind starts can decide the number of runs; everything else follows.
    let first_gpu = group(graph, &order, on_gpu, true);
    let first_cpu = group(graph, &order, on_gpu, false);
    Ok(if first_cpu.len() < first_gpu.len() {
        first_cpu
    } else {
        first_gpu
    })
}

fn group(
    graph: &Graph,
    order: &[NodeId],
    on_gpu: &dyn Fn(NodeId) -> bool,
    starts_on_gpu: bool,
) -> Vec<Vec<NodeId>> {
    let readers = graph.readers();
    let outputs = |id: NodeId| graph.node(id).outputs.iter().flatten();
    let n_nodes = order.iter().map(|id| id.idx() + 1).max().unwrap_or(0);
    let mut missing = vec![0_usize; n_nodes];
    for &id in order {
        for value in outputs(id) {
            for reader in &readers[value.idx()] {
                missing[reader.idx()] += 1;
            }
        }
    }
    // Positions in the given order keep nodes where they were when there is a choice.
    let mut position = vec![0; n_nodes];
    for (place, id) in order.iter().enumerate() {
        position[id.idx()] = place;
    }
    let mut ready = [BTreeSet::new(), BTreeSet::new()];
    for (place, &id) in order.iter().enumerate() {
        if missing[id.idx()] == 0 {
            ready[usize::from(on_gpu(id))].insert(place);
        }
    }
    let mut runs = Vec::new();
    let mut kind = usize::from(starts_on_gpu);
    while ready.iter().any(|places| !places.is_empty()) {
        let mut run = Vec::new();
        while let Some(place) = ready[kind].pop_first() {
            let id = order[place];
            run.push(id);
            for value in outputs(id) {
                for reader in &readers[value.idx()] {
                    missing[reader.idx()] -= 1;
                    if missing[reader.idx()] == 0 {
                        ready[usize::from(on_gpu(*reader))].insert(position[reader.idx()]);
                    }
                }
            }
        }
        if !run.is_empty() {
            runs.push(run);
        }
        kind = 1 - kind;
    }
    runs
}
