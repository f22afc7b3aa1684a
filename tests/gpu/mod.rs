//! Graphs on the engine's own kernels, on a device of this machine.

use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;

use sentinel_inference::backend::cpu;
use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Device, Executor, Feed, Fetched, Gpu, Location};
use sentinel_inference::error::{Error, Result};
use sentinel_inference::graph::Graph;
use sentinel_inference::kernel::Capabilities;
use sentinel_inference::plan::{MakePlan, Plan, plan};
use sentinel_inference::tensor::Tensor;

/// Says what is not tested. Straight to the terminal: what passes is otherwise kept silent.
pub fn say_skipped(what: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED: {what}").expect("standard error is open");
}

/// The device, or why there is none.
pub fn open() -> Result<Rc<Gpu<NativeDevice>>> {
    let device = pollster::block_on(NativeDevice::open(&AdapterChoice::from_env()))?;
    Ok(Gpu::new(device))
}

/// A plan for a graph with known shapes, whole on the GPU.
pub fn whole(graph: &Graph, caps: &Capabilities) -> Result<Plan> {
    plan(&MakePlan {
        graph,
        caps,
        cpu_refusal: &|_, _| Some("only the GPU is wanted".into()),
        is_shared: &|_, _| false,
        strict: true,
    })
}

/// Runs a plan once; the outputs in the order of the graph.
pub fn run(
    gpu: &Rc<Gpu<impl Device>>,
    plan: Plan,
    feeds: HashMap<String, Tensor>,
) -> Result<Vec<Tensor>> {
    let executor = Executor::new(gpu.clone());
    let names: Vec<String> = plan
        .outputs
        .iter()
        .map(|output| output.name().to_owned())
        .collect();
    let no_pieces = |_: &Graph| Err(Error::internal("test", "a whole plan has no pieces"));
    pollster::block_on(async {
        let loaded = executor.load(plan, &no_pieces).await?;
        let feeds = feeds
            .into_iter()
            .map(|(name, tensor)| (name, Feed::Host(tensor)));
        let feeds = feeds.collect();
        let fetches: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Location::Host))
            .collect();
        let fetched = executor.run(&loaded, &feeds, &fetches, false).await?;
        let tensors = fetched.into_iter().map(|fetched| match fetched {
            Fetched::Host(tensor) => tensor,
            Fetched::Gpu { .. } => unreachable!("the host was asked for"),
        });
        Ok(tensors.collect())
    })
}

/// What the graph gives on the CPU.
pub fn reference(graph: &Graph, feeds: &HashMap<String, Tensor>) -> Result<Vec<Tensor>> {
    let mut graph = graph.clone();
    let refused = |graph: &Graph, id| cpu::refusal(graph, id).is_some();
    if sentinel_inference::passes::expand(&mut graph, &refused)? {
        sentinel_inference::passes::prepare(&mut graph, &cpu::evaluate)?;
    }
    if let Some((id, why)) = graph
        .nodes()
        .find_map(|(id, _)| Some((id, cpu::refusal(&graph, id)?)))
    {
        return Err(Error::unsupported(graph.node(id).label(), why));
    }
    let model = cpu::load(&graph)?;
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, x)| (name.as_str(), x)).collect();
    let fetches: Vec<&str> = graph
        .outputs
        .iter()
        .map(|&id| &*graph.value(id).name)
        .collect();
    model.run(&feeds, &fetches)
}
