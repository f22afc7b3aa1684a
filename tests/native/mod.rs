//! Models on a backend of this machine.

use std::collections::HashMap;

use sentinel_inference::backend::wonnx::WonnxSession;
use sentinel_inference::error::{Error, Result};
use sentinel_inference::graph::Graph;
use sentinel_inference::session::{Adapter, Options, Plan, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// Runs a graph on one provider, which must take it: the outputs in the order of the graph.
/// `inputs` are in the order of the graph's.
pub fn run(graph: Graph, inputs: Vec<Tensor>, provider: Provider) -> Result<Vec<Tensor>> {
    let options = Options {
        providers: Some(vec![provider]),
        strict: true,
        // A run without an adapter fails when the device is opened.
        adapter: Adapter {
            present: true,
            ..Adapter::default()
        },
        ..Options::default()
    };
    let session = Session::create(graph, &options)?;
    let names = session.inputs().iter().map(|port| port.name.clone());
    let feeds: Vec<(String, Tensor)> = names.zip(inputs).collect();
    let fetches: Vec<&str> = session
        .outputs()
        .iter()
        .map(|port| port.name.as_str())
        .collect();
    let feeds = session.check_feeds(feeds)?;
    let sizes: HashMap<String, Vec<usize>> = feeds
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()))
        .collect();
    let model = match session.plan(&sizes)? {
        Plan::Cpu => return session.run(feeds, &fetches),
        Plan::Wonnx { model } => model,
    };
    let mut outputs: HashMap<String, Tensor> = pollster::block_on(async {
        let session = WonnxSession::create(&model).await?;
        session.run(feeds).await
    })?
    .into_iter()
    .collect();
    let take = |name: &&str| {
        let missing = || Error::internal(*name, "the backend gave no such output");
        outputs.remove(*name).ok_or_else(missing)
    };
    fetches.iter().map(take).collect()
}

/// Why nothing runs on wonnx here; `None` when there is an adapter.
pub fn no_adapter() -> Option<String> {
    let choice = wgpu::compat::AdapterChoice::from_env();
    let opened = pollster::block_on(wgpu::compat::open(&choice));
    opened.err().map(|failure| failure.to_string())
}
