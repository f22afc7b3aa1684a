//! What backends show of a model's inside, and where two of them part.

use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;

use sentinel_inference::backend::webgpu::native::{AdapterChoice, NativeDevice};
use sentinel_inference::backend::webgpu::{Feed, Gpu};
use sentinel_inference::graph::text;
use sentinel_inference::inspect::difference;
use sentinel_inference::session::{GpuSession, Observed, Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

/// Softmax stands between what would be fused.
const CASE: &str = "input x: f32[n, 2]
     const w: f32[2, 2] = [0.5, -1.0, 2.0, 0.25]
     a = Softmax(x)
     b = MatMul(a, w)
     c = Softmax(b)
     d = Tanh(c)
     output d";

fn options(provider: Provider) -> Options {
    Options {
        observes: true,
        ..Options::only(provider)
    }
}

fn feeds() -> Vec<(String, Tensor)> {
    let x = Tensor::vector(&[0.5_f32, 0.25, -1.0, 3.0, 0.0, 0.125]);
    vec![("x".into(), x.reshaped(&[3, 2]).expect("3 times 2 is 6"))]
}

/// A device; without one, says what is not tested.
fn open() -> Option<Rc<Gpu<NativeDevice>>> {
    match pollster::block_on(NativeDevice::open(&AdapterChoice::from_env())) {
        Ok(device) => Some(Gpu::new(device)),
        Err(error) => {
            // Straight to the terminal: what passes is otherwise kept silent.
            let mut terminal = std::io::stderr();
            writeln!(terminal, "SKIPPED: values inside a GPU: {error}").expect("it is open");
            None
        }
    }
}

fn on_cpu(case: &str) -> Vec<Observed> {
    let graph = text::parse(case).expect("the case is written here");
    let session = Session::create(graph, &options(Provider::Cpu)).expect("the cpu takes it");
    session.observe(feeds()).expect("the feeds fit")
}

fn on_gpu(gpu: &Rc<Gpu<NativeDevice>>, case: &str) -> Vec<Observed> {
    let graph = text::parse(case).expect("the case is written here");
    let session = Session::create(graph, &options(Provider::Webgpu)).expect("the case is right");
    let gpu = GpuSession::new(&session, gpu.clone()).expect("the case is right");
    let feeds = feeds().into_iter();
    let feeds: HashMap<_, _> = feeds.map(|(name, x)| (name, Feed::Host(x))).collect();
    pollster::block_on(gpu.observe(feeds)).expect("all of it has kernels")
}

/// The name of the first value that both have and that is off, in the order of the left side.
fn first_off(left: &[Observed], right: &[Observed]) -> Option<String> {
    let pairs = left.iter().filter_map(|left| {
        let right = right.iter().find(|right| right.value == left.value)?;
        Some((left, right))
    });
    let mut off = pairs
        .filter(|(left, right)| !difference(&left.tensor, &right.tensor, 1e-3, 1e-5).is_within());
    off.next().map(|(left, _)| left.value.clone())
}

fn names(observed: &[Observed]) -> Vec<&str> {
    observed.iter().map(|each| each.value.as_str()).collect()
}

#[test]
fn the_cpu_shows_every_value_in_the_order_of_the_nodes() {
    let observed = on_cpu(CASE);
    assert_eq!(names(&observed), ["a", "b", "c", "d"]);
    let b = &observed[1];
    assert_eq!(
        (&*b.op, b.provider, &*b.kernel),
        ("MatMul", Provider::Cpu, "")
    );
    assert_eq!(b.tensor.sizes(), [3, 2]);
}

#[test]
fn what_the_cpu_expands_is_shown_as_the_node_that_it_was() {
    let case = "input x: f32[n, 2]\n a = Mish(x)\n b = Neg(a)\n output b";
    let observed = on_cpu(case);
    assert_eq!(names(&observed), ["a", "b"]);
    assert_eq!(observed[0].op, "Mish");
}

#[test]
fn a_gpu_shows_its_kernels_and_the_values_of_the_cpu() {
    let Some(gpu) = open() else { return };
    let observed = on_gpu(&gpu, CASE);
    assert_eq!(names(&observed), ["a", "b", "c", "d"]);
    assert!(
        observed
            .iter()
            .all(|each| each.provider == Provider::Webgpu && !each.kernel.is_empty())
    );
    assert_eq!(first_off(&observed, &on_cpu(CASE)), None);
}

#[test]
fn the_first_value_that_is_off_is_where_the_sides_part() {
    let Some(gpu) = open() else { return };
    let observed = on_gpu(&gpu, CASE);
    let other_weight = on_cpu(&CASE.replace("2.0, 0.25", "2.0, 0.5"));
    assert_eq!(first_off(&observed, &other_weight).as_deref(), Some("b"));
    let other_formula = on_cpu(&CASE.replace("Tanh", "Sin"));
    assert_eq!(first_off(&observed, &other_formula).as_deref(), Some("d"));
}
