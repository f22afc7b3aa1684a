//! Models on a backend of this machine.

use std::io::Write;
use std::rc::Rc;

use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Feed, Gpu};
use sentinel_inference::error::Result;
use sentinel_inference::graph::Graph;
use sentinel_inference::plan::Placement;
use sentinel_inference::session::{GpuSession, Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// Runs a graph on one provider, which must take it: the outputs in the order of the graph.
/// `inputs` are in the order of the graph's.
pub fn run(graph: Graph, inputs: Vec<Tensor>, provider: Provider) -> Result<Vec<Tensor>> {
    let session = Session::create(graph, &Options::only(provider))?;
    let names = session.inputs().iter().map(|port| port.name.clone());
    let outputs = pollster::block_on(session.run_once(names.zip(inputs).collect()))?;
    Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
}

/// Runs a graph on the engine's own kernels, what has none on the CPU: the outputs in the order of
/// the graph, and where each node ran.
pub fn run_on_webgpu(
    gpu: &Rc<Gpu<NativeDevice>>,
    graph: Graph,
    inputs: Vec<Tensor>,
) -> Result<(Vec<Tensor>, Vec<Placement>)> {
    let options = Options {
        strict: false,
        ..Options::only(Provider::Webgpu)
    };
    let session = Session::create(graph, &options)?;
    let names = session.inputs().iter().map(|port| port.name.clone());
    let feeds = session.check_feeds(names.zip(inputs).collect())?;
    let feeds = feeds.into_iter().map(|(name, x)| (name, Feed::Host(x)));
    let fetches: Vec<&str> = session.outputs().iter().map(|port| &*port.name).collect();
    let gpu = GpuSession::new(&session, gpu.clone())?;
    let outputs = pollster::block_on(gpu.run_on_host(feeds.collect(), &fetches))?;
    Ok((outputs, gpu.placement()))
}

/// A device for [`run_on_webgpu`]. With `as_hardware` the kernels are those for a GPU, also where
/// the CPU plays one.
pub fn open(as_hardware: bool) -> Result<Rc<Gpu<NativeDevice>>> {
    let mut device = pollster::block_on(NativeDevice::open(&AdapterChoice::from_env()))?;
    if as_hardware {
        device.choose_as_hardware();
    }
    Ok(Gpu::new(device))
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
