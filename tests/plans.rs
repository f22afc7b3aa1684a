//! Plans as text, and their execution on a device that only writes down what it is asked.

use std::collections::HashMap;

use sentinel_inference::backend::webgpu::{Executor, Feed, Gpu, HostPiece, Location, NullDevice};
use sentinel_inference::error::{ErrorKind, Result};
use sentinel_inference::graph::{Graph, text};
use sentinel_inference::kernel::Capabilities;
use sentinel_inference::passes;
use sentinel_inference::plan::{MakePlan, Plan, plan};
use sentinel_inference::session::{GpuSession, Options, Provider, Session};
use sentinel_inference::tensor::Tensor;

fn graph(case: &str) -> Graph {
    let mut graph = text::parse(case).expect("the case is written here");
    let nothing = |_: &Graph| Err(sentinel_inference::Error::internal("", "nothing is folded"));
    passes::prepare(&mut graph, &nothing).expect("the case is right");
    graph
}

fn planned(case: &str) -> Result<Plan> {
    plan(&MakePlan {
        graph: &graph(case),
        caps: &Capabilities {
            software: true,
            ..Capabilities::default()
        },
        cpu_refusal: &|_, _| None,
        is_shared: &|_, _| false,
        strict: false,
    })
}

/// Lines without what surrounds them.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

#[track_caller]
fn check(case: &str, wanted: &str) {
    let found = planned(case).expect("the case can be planned").to_string();
    assert_eq!(lines(&found), lines(wanted), "\n{found}");
}

#[test]
fn a_chain_reuses_two_slots() {
    check(
        "input x: f32[2, 8]
         a = Softmax(x)
         b = Softmax(a) {axis = 0}
         c = Softmax(b)
         output c",
        "memory weights 0 activations 128 staging 64
         s0 = 64 bytes
         s1 = 64 bytes
         run
         upload x f32[2, 8] -> s0
         softmax_lane (s0) -> s1 grid 1x1x1 # Softmax
         softmax_lane (s1) -> s0 grid 1x1x1 # Softmax
         softmax_lane (s0) -> s1 grid 1x1x1 # Softmax
         output c = s1",
    );
}

#[test]
fn what_has_no_kernel_is_a_step_on_the_cpu() {
    check(
        "input x: f32[2, 8]
         a = Softmax(x)
         n = NonZero(a)
         b = Softmax(a)
         output n
         output b",
        "memory weights 0 activations 128 staging 128
         s0 = 64 bytes
         s1 = 64 bytes
         run
         upload x f32[2, 8] -> s0
         softmax_lane (s0) -> s1 grid 1x1x1 # Softmax
         softmax_lane (s1) -> s0 grid 1x1x1 # Softmax
         download s1 -> a
         cpu 1 nodes (a) -> n
         NonZero
         output n
         output b = s0",
    );
}

#[test]
fn constants_are_worked_on_once() {
    check(
        "input x: f32[2]
         const w: f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
         a = Softmax(w)
         b = Softmax(x)
         output a
         output b",
        "memory weights 32 activations 32 staging 32
         w0 = 16 bytes w
         k0 = 16 bytes
         s0 = 16 bytes
         s1 = 16 bytes
         once
         softmax_lane (w0) -> k0 grid 1x1x1 # Softmax
         run
         upload x f32[2] -> s0
         softmax_lane (s0) -> s1 grid 1x1x1 # Softmax
         output a = k0
         output b = s1",
    );
}

#[test]
fn a_tensor_beyond_the_limits_of_the_device_is_refused_before_it_is_uploaded() {
    let graph = graph("input x: f32[8192, 8192]\n y = Softmax(x)\n output y");
    let refused = plan(&MakePlan {
        graph: &graph,
        caps: &Capabilities::default(),
        cpu_refusal: &|_, _| None,
        is_shared: &|_, _| false,
        strict: true,
    });
    let error = refused.expect_err("256 MiB are more than 128 MiB");
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("268435456"), "{error}");
}

struct Piece;

impl HostPiece for Piece {
    fn run(&self, _: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>> {
        Ok(fetches.iter().map(|_| Tensor::vector(&[7_i64])).collect())
    }
}

const SPLIT: &str = "input x: f32[2, 8]
    a = Softmax(x)
    n = NonZero(a)
    b = Softmax(a)
    output n
    output b";

async fn run_split(device: NullDevice) -> (std::rc::Rc<Gpu<NullDevice>>, Result<usize>) {
    let gpu = Gpu::new(device);
    let executor = Executor::new(gpu.clone());
    let load = |_: &Graph| -> Result<Box<dyn HostPiece>> { Ok(Box::new(Piece)) };
    let plan = planned(SPLIT).expect("the case can be planned");
    let result = async {
        let loaded = executor.load(plan, &load).await?;
        let x = Tensor::from_vec(&[2, 8], vec![0.0_f32; 16])?;
        let feeds = HashMap::from([("x".to_owned(), Feed::Host(x))]);
        let fetches = [("n", Location::Host), ("b", Location::Gpu)];
        let fetched = executor.run(&loaded, &feeds, &fetches, false).await?;
        Ok(fetched.len())
    };
    let result = result.await;
    drop(executor);
    (gpu, result)
}

#[test]
fn gpu_steps_are_one_submission_and_buffers_come_back() {
    let (gpu, result) = pollster::block_on(run_split(NullDevice::default()));
    assert_eq!(result, Ok(2));
    let log = gpu.device.log.borrow();
    let submits: Vec<&String> = log
        .iter()
        .filter(|line| line.starts_with("submit"))
        .collect();
    assert_eq!(
        submits,
        [
            "submit softmax_lane [1, 1, 1], softmax_lane [1, 1, 1], copy 64",
            "submit copy 64"
        ]
    );
    assert_eq!(gpu.memory().buffers, 0, "{log:#?}");
    assert_eq!(gpu.memory().size_bytes, 0);
}

#[test]
fn a_lost_device_is_an_error_and_gives_everything_back() {
    let device = NullDevice::default();
    *device.lost.borrow_mut() = Some("gone".into());
    let (gpu, result) = pollster::block_on(run_split(device));
    assert_eq!(
        result.expect_err("the device is lost").kind,
        ErrorKind::DeviceLost
    );
    assert_eq!(gpu.memory().buffers, 0);
}

/// A model with an open length, and the device that it runs on.
fn open_length() -> GpuSession<NullDevice> {
    let weights = (0..64 * 128)
        .map(|n| (n % 7).to_string() + ".0")
        .collect::<Vec<_>>()
        .join(", ");
    let case = format!(
        "input x: f32[batch, length, 64]
         const w: f32[64, 128] = [{weights}]
         a = MatMul(x, w)
         b = Softmax(a)
         c = Add(a, b)
         output c"
    );
    let options = Options {
        strict: false,
        ..Options::only(Provider::Webgpu)
    };
    let session = Session::create(graph(&case), &options).expect("the case is right");
    GpuSession::new(&session, Gpu::new(NullDevice::default())).expect("it has a graph")
}

async fn run_length(session: &GpuSession<NullDevice>, length: usize) {
    let x = Tensor::from_vec(&[1, length, 64], vec![0.0_f32; length * 64]).expect("as many");
    let feeds = HashMap::from([("x".to_owned(), Feed::Host(x))]);
    session.run_on_host(feeds, &["c"]).await.expect("it runs");
}

#[test]
fn a_hundred_lengths_share_pipelines_and_do_not_grow_without_end() {
    let session = open_length();
    let (mut pipelines, mut memory) = (0, 0);
    for length in 1..=100 {
        pollster::block_on(run_length(&session, length));
        if length == 50 {
            pipelines = session.gpu().device.n_pipelines.get();
            memory = session.gpu().memory().buffers;
        }
    }
    assert_eq!(session.n_planned(), 100);
    let device = &session.gpu().device;
    assert_eq!(
        device.n_pipelines.get(),
        pipelines,
        "longer inputs compile nothing new"
    );
    assert_eq!(session.gpu().memory().buffers, memory);
    let uploads = device.log.borrow();
    let weight = uploads
        .iter()
        .filter(|line| line.starts_with("write 32768 "))
        .count();
    assert_eq!(weight, 1, "the weights are uploaded once");
}

#[test]
fn a_length_that_comes_again_is_not_planned_again() {
    let session = open_length();
    for length in [3, 5, 3, 5, 3] {
        pollster::block_on(run_length(&session, length));
    }
    assert_eq!(session.n_planned(), 2);
}

#[test]
fn placement_is_there_before_the_first_run() {
    let session = open_length();
    let rows = session.placement();
    assert!(!rows.is_empty());
    assert!(
        rows.iter().all(|row| row.provider == Provider::Webgpu),
        "{rows:?}"
    );
    assert_eq!(session.n_planned(), 0);
}
