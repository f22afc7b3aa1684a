//! Plans as text, and their execution on a device that only writes down what it is asked.

use std::collections::HashMap;

use sentinel_inference::backend::webgpu::{Executor, Feed, Gpu, HostPiece, Location, NullDevice};
use sentinel_inference::error::{ErrorKind, Result};
use sentinel_inference::graph::{Graph, text};
use sentinel_inference::kernel::Capabilities;
use sentinel_inference::passes;
use sentinel_inference::plan::{MakePlan, Plan, plan};
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
