//! Models on a backend of this machine.

use std::io::Write;

use sentinel_inference::error::Result;
use sentinel_inference::graph::Graph;
use sentinel_inference::session::{Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// Runs a graph on one provider, which must take it: the outputs in the order of the graph.
/// `inputs` are in the order of the graph's.
pub fn run(graph: Graph, inputs: Vec<Tensor>, provider: Provider) -> Result<Vec<Tensor>> {
    let session = Session::create(graph, &Options::only(provider))?;
    let names = session.inputs().iter().map(|port| port.name.clone());
    let outputs = pollster::block_on(session.run_once(names.zip(inputs).collect()))?;
    Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
}

/// Says what is not tested. Straight to the terminal: what passes is otherwise kept silent.
pub fn say_skipped(what: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED: {what}").expect("standard error is open");
}

/// Why nothing runs on wonnx here; `None` when there is an adapter.
pub fn no_adapter() -> Option<String> {
    let choice = wgpu::compat::AdapterChoice::from_env();
    let opened = pollster::block_on(wgpu::compat::open(&choice));
    opened.err().map(|failure| failure.to_string())
}
