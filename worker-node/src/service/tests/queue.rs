//! Batches, panics, deadlines: a queue in front of an engine that waits for the test.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::schedule::Policy;
use sentinel_inference::session::{Batch, Joining, Named, Rows};
use sentinel_inference::tensor::Tensor;

use crate::service::lane::{self, Engine, Facts};
use crate::service::queue::{Pending, Queue};
use crate::service::state::{Done, Refused, Request};

const PANICS: f32 = -1.0;
const FAILS: f32 = -2.0;
const LOSES_THE_DEVICE: f32 = -3.0;
const LOSES_THE_FIRST_DEVICE: f32 = -4.0;

/// `y = 2 x` and `z = 3 x`, a row each, when the test lets it.
struct Doubler {
    number: usize,
    bench: Arc<Bench>,
}

/// What a test and the engines it made have in common.
struct Bench {
    n_made: AtomicUsize,
    /// Engines beyond this many cannot be made.
    max_made: usize,
    /// The rows of each run.
    runs: Mutex<Vec<usize>>,
    begun: mpsc::Sender<()>,
    /// One message lets one run go on; without a sender all do.
    go: Mutex<mpsc::Receiver<()>>,
}

/// The test's end.
struct Hand {
    begun: mpsc::Receiver<()>,
    go: Option<mpsc::Sender<()>>,
}

impl Engine for Doubler {
    fn facts(&self) -> Facts {
        Facts {
            provider: "test",
            reason: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            rows: Some(rows()),
        }
    }

    fn run(&mut self, inputs: Named, outputs: &[String]) -> Result<Named> {
        let (_, x) = &inputs[0];
        let x = x.elements::<f32>().expect("x is f32").into_owned();
        self.bench.runs.lock().unwrap().push(x.len());
        // A test that is over listens no more.
        let _ = self.bench.begun.send(());
        let _ = self.bench.go.lock().unwrap().recv();
        assert!(!x.contains(&PANICS), "a secret of the engine's");
        if x.contains(&FAILS) {
            return Err(Error::shape("Mul /m", "no such rows"));
        }
        let loses_first = x.contains(&LOSES_THE_FIRST_DEVICE) && self.number == 1;
        if x.contains(&LOSES_THE_DEVICE) || loses_first {
            return Err(Error::new(ErrorKind::DeviceLost, "device", "unplugged"));
        }
        let times = |name: &String| {
            let factor = if name == "y" { 2.0 } else { 3.0 };
            let product = x.iter().map(|x| x * factor).collect();
            let product = Tensor::from_vec(&[x.len()], product).expect("one for each");
            (name.clone(), product)
        };
        Ok(outputs.iter().map(times).collect())
    }
}

fn rows() -> Rows {
    let along = |name: &str| (name.to_owned(), Some(0));
    Rows {
        inputs: vec![along("x")],
        outputs: vec![along("y"), along("z")],
        batch: Batch::Symbol("n".into()),
        joinable: Ok(()),
    }
}

const POLICY: Policy = Policy {
    batch_size: 8,
    max_delay: Duration::ZERO,
    learns_to_wait: false,
    max_queue: 10_000,
    max_attempts: 2,
    goal: None,
};

async fn open(policy: Policy, max_made: usize) -> (Arc<Queue>, Arc<Bench>, Hand) {
    let (begun, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let bench = Arc::new(Bench {
        n_made: AtomicUsize::new(0),
        max_made,
        runs: Mutex::default(),
        begun,
        go: Mutex::new(may_go),
    });
    let making = bench.clone();
    let make = move || {
        let number = making.n_made.fetch_add(1, Ordering::SeqCst) + 1;
        if number > making.max_made {
            return Err(Error::new(ErrorKind::Io, "/secret/path", "it is gone"));
        }
        Ok(Doubler {
            number,
            bench: making.clone(),
        })
    };
    let (queue, _) = lane::open("test", policy, make).await.expect("it is made");
    let hand = Hand {
        begun: has_begun,
        go: Some(go),
    };
    (queue, bench, hand)
}

impl Hand {
    /// Until the engine is in a run.
    fn wait(&self) {
        self.begun.recv().expect("the engine is there");
    }

    /// All runs go on from here.
    fn let_go(&mut self) {
        self.go = None;
    }
}

fn request(x: f32) -> Request {
    let inputs = vec![("x".to_owned(), Tensor::vector(&[x]))];
    Request {
        signature: Joining::of(&rows()).signature(&inputs),
        inputs,
        outputs: vec!["y".to_owned()],
        deadline: None,
        priority: 0,
    }
}

fn submit(queue: &Arc<Queue>, x: f32) -> Pending {
    queue.submit(request(x)).expect("there is room")
}

/// A queue whose engine is in a run of one request.
async fn busy(max_made: usize) -> (Arc<Queue>, Arc<Bench>, Hand, Pending) {
    let (queue, bench, hand) = open(POLICY, max_made).await;
    let first = submit(&queue, 1.0);
    hand.wait();
    (queue, bench, hand, first)
}

fn y(done: &Done) -> f32 {
    done.outputs[0].1.elements::<f32>().expect("y is f32")[0]
}

async fn failure(pending: Pending) -> Error {
    pending.answer().await.expect_err("it should fail")
}

#[tokio::test]
async fn requests_that_come_while_a_batch_runs_are_the_next_one() {
    let (queue, bench, mut hand, first) = busy(1).await;
    let others: Vec<Pending> = (2..7).map(|x| submit(&queue, x as f32)).collect();
    hand.let_go();
    let first = first.answer().await.unwrap();
    assert_eq!((y(&first), first.batch_size), (2.0, 1));
    for (x, pending) in (2..7).zip(others) {
        let done = pending.answer().await.unwrap();
        assert_eq!((y(&done), done.batch_size), (2.0 * x as f32, 5));
    }
    assert_eq!(*bench.runs.lock().unwrap(), [1, 5]);
}

#[tokio::test]
async fn each_request_of_a_batch_gets_the_outputs_it_wants() {
    let (queue, bench, mut hand, first) = busy(1).await;
    let wanting = |outputs: &[&str]| {
        let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
        let request = Request {
            outputs,
            ..request(10.0)
        };
        queue.submit(request).expect("there is room")
    };
    let all = [wanting(&["z"]), wanting(&["y"]), wanting(&["z", "y"])];
    hand.let_go();
    first.answer().await.unwrap();
    let mut names = Vec::new();
    for pending in all {
        let outputs = pending.answer().await.unwrap().outputs.into_iter();
        let value = |(name, x): (String, Tensor)| (name, x.elements::<f32>().unwrap()[0]);
        let values: Vec<(String, f32)> = outputs.map(value).collect();
        names.push(values);
    }
    let y = || ("y".to_owned(), 20.0);
    let z = || ("z".to_owned(), 30.0);
    assert_eq!(names, [vec![z()], vec![y()], vec![z(), y()]]);
    assert_eq!(*bench.runs.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn a_panic_fails_the_request_that_caused_it_and_no_other() {
    let (queue, bench, mut hand, first) = busy(9).await;
    let others = [2.0, PANICS, 4.0].map(|x| submit(&queue, x));
    hand.let_go();
    first.answer().await.unwrap();
    let [two, panics, four] = others;
    assert_eq!(y(&two.answer().await.unwrap()), 4.0);
    assert_eq!(y(&four.answer().await.unwrap()), 8.0);
    let error = failure(panics).await;
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(!error.to_string().contains("secret"), "{error}");
    // The batch and the guilty one alone each cost an engine.
    assert_eq!(bench.n_made.load(Ordering::SeqCst), 3);
    assert_eq!(y(&submit(&queue, 5.0).answer().await.unwrap()), 10.0);
}

#[tokio::test]
async fn an_error_reaches_the_request_that_caused_it_and_no_other() {
    let (queue, bench, mut hand, first) = busy(1).await;
    let others = [2.0, FAILS].map(|x| submit(&queue, x));
    hand.let_go();
    first.answer().await.unwrap();
    let [two, fails] = others;
    assert_eq!(y(&two.answer().await.unwrap()), 4.0);
    assert_eq!(failure(fails).await.kind, ErrorKind::ShapeMismatch);
    assert_eq!(bench.n_made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_of_a_lost_device_run_on_another_one() {
    let (queue, bench, mut hand) = open(POLICY, 9).await;
    hand.let_go();
    let moved = submit(&queue, LOSES_THE_FIRST_DEVICE).answer().await;
    assert_eq!(y(&moved.unwrap()), 2.0 * LOSES_THE_FIRST_DEVICE);
    assert_eq!(bench.n_made.load(Ordering::SeqCst), 2);
    let error = failure(submit(&queue, LOSES_THE_DEVICE)).await;
    assert_eq!(error.kind, ErrorKind::DeviceLost);
    assert_eq!(y(&submit(&queue, 5.0).answer().await.unwrap()), 10.0);
}

#[tokio::test]
async fn without_another_engine_everybody_is_told() {
    let (queue, _, mut hand, first) = busy(1).await;
    let others = [PANICS, 3.0].map(|x| submit(&queue, x));
    hand.let_go();
    first.answer().await.unwrap();
    for pending in others {
        let error = failure(pending).await;
        assert_eq!(error.kind, ErrorKind::Io);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    queue.ended().await;
    assert_eq!(queue.broken().unwrap().kind, ErrorKind::Io);
    assert!(matches!(
        queue.submit(request(1.0)),
        Err(Refused::Broken(_))
    ));
}

#[tokio::test]
async fn a_request_is_not_begun_after_its_deadline() {
    let (queue, bench, mut hand, first) = busy(1).await;
    let late = Request {
        deadline: Some(Instant::now()),
        ..request(2.0)
    };
    let late = queue.submit(late).expect("there is room");
    // The engine is still in its run: nobody waits for that.
    assert_eq!(failure(late).await.kind, ErrorKind::Timeout);
    hand.let_go();
    first.answer().await.unwrap();
    queue.close();
    queue.ended().await;
    assert_eq!(*bench.runs.lock().unwrap(), [1]);
}

#[tokio::test]
async fn what_was_taken_back_does_not_run() {
    let (queue, bench, mut hand, first) = busy(1).await;
    let pending = [2.0, 3.0, 4.0].map(|x| submit(&queue, x));
    let [two, three, four] = pending;
    drop(three);
    hand.let_go();
    first.answer().await.unwrap();
    assert_eq!(y(&two.answer().await.unwrap()), 4.0);
    assert_eq!(four.answer().await.unwrap().batch_size, 2);
    assert_eq!(*bench.runs.lock().unwrap(), [1, 2]);
    let (snapshot, _, in_flight) = queue.statistics();
    assert_eq!((snapshot.total_cancelled, in_flight), (1, 0));
}

#[tokio::test]
async fn a_full_queue_refuses_and_forgets_nothing() {
    let policy = Policy {
        max_queue: 2,
        ..POLICY
    };
    let (queue, _, mut hand) = open(policy, 1).await;
    let first = submit(&queue, 1.0);
    hand.wait();
    let waiting = [2.0, 3.0].map(|x| submit(&queue, x));
    let refused = queue.submit(request(4.0));
    assert!(matches!(refused, Err(Refused::Full(2))));
    hand.let_go();
    first.answer().await.unwrap();
    for pending in waiting {
        pending.answer().await.unwrap();
    }
    assert_eq!(y(&submit(&queue, 4.0).answer().await.unwrap()), 8.0);
}

#[tokio::test]
async fn a_closed_queue_runs_what_it_has_and_ends() {
    let (queue, _, mut hand, first) = busy(1).await;
    let second = submit(&queue, 2.0);
    queue.close();
    let Err(Refused::Closed(given)) = queue.submit(request(3.0)) else {
        panic!("a closed queue takes nothing in");
    };
    assert_eq!(given.outputs, ["y"]);
    hand.let_go();
    queue.ended().await;
    first.answer().await.unwrap();
    assert_eq!(y(&second.answer().await.unwrap()), 4.0);
}

#[tokio::test]
async fn a_batch_starts_when_it_is_full_and_a_closed_queue_waits_for_nobody() {
    let policy = Policy {
        max_delay: Duration::from_secs(3600),
        ..POLICY
    };
    let (queue, bench, mut hand) = open(policy, 1).await;
    hand.let_go();
    let full: Vec<Pending> = (0..8).map(|x| submit(&queue, x as f32)).collect();
    for pending in full {
        assert_eq!(pending.answer().await.unwrap().batch_size, 8);
    }
    let left_over = submit(&queue, 9.0);
    queue.close();
    assert_eq!(y(&left_over.answer().await.unwrap()), 18.0);
    assert_eq!(*bench.runs.lock().unwrap(), [8, 1]);
}

#[tokio::test]
async fn the_inputs_of_many_senders_are_not_mixed_up() {
    let (queue, bench, mut hand) = open(POLICY, 1000).await;
    hand.let_go();
    let mut pending = HashMap::new();
    for n in 1..=2000_u32 {
        let x = if n % 500 == 0 { PANICS } else { n as f32 };
        pending.insert(n, submit(&queue, x));
    }
    for (n, pending) in pending {
        match pending.answer().await {
            Ok(done) => assert_eq!(y(&done), 2.0 * n as f32),
            Err(_) => assert_eq!(n % 500, 0),
        }
    }
    let n_runs = bench.runs.lock().unwrap().len();
    assert!(n_runs < 2000, "{n_runs} runs are no batches");
}
