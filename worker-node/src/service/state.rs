//! What a queue holds under its lock: requests by key, and which of them may run together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::schedule::{Batcher, Loss, Step};
use sentinel_inference::session::{Key, Named, Signature};
use tokio::sync::oneshot;

/// One request whose inputs have been checked.
#[derive(Debug)]
pub struct Request {
    pub inputs: Named,
    /// Their names, in the order of the answer.
    pub outputs: Vec<String>,
    /// Requests without one run alone.
    pub signature: Option<Signature>,
    pub deadline: Option<Instant>,
    pub priority: i32,
}

/// What came of a request.
#[derive(Debug)]
pub struct Done {
    pub outputs: Named,
    /// From arrival until the batch began.
    pub queued: Duration,
    /// How long the batch ran.
    pub computed: Duration,
    /// How many requests ran together.
    pub batch_size: usize,
}

/// Why a request was not taken in.
#[derive(Debug)]
pub enum Refused {
    /// The model is given back; the request is the caller's again.
    Closed(Request),
    /// This many requests wait.
    Full(usize),
    /// Nothing runs here any more.
    Broken(Error),
}

pub type Answer = Result<Done, Error>;

pub struct Job {
    pub request: Request,
    pub arrived: Instant,
    pub answer: oneshot::Sender<Answer>,
}

/// Requests of one signature.
struct Group {
    id: u32,
    n_jobs: usize,
}

/// A batch for the lane.
pub struct Work {
    pub batch: u64,
    pub keys: Vec<u64>,
    /// The inputs of each.
    pub parts: Vec<Named>,
    /// The rows of each, where they are to be joined.
    pub rows: Option<Vec<usize>>,
    /// Wanted by at least one.
    pub outputs: Vec<String>,
}

pub struct State {
    pub batcher: Batcher,
    pub jobs: HashMap<u64, Job>,
    groups: HashMap<Key, Group>,
    pub next_key: u64,
    next_group: u32,
    /// Begun, and not yet with the lane.
    pub begun: Option<(u64, Vec<u64>)>,
    /// While the lane sleeps: when it wakes by itself.
    pub sleeps_until: Option<Duration>,
    pub is_closed: bool,
    pub broken: Option<Error>,
}

impl State {
    pub fn new(batcher: Batcher) -> State {
        State {
            batcher,
            jobs: HashMap::new(),
            groups: HashMap::new(),
            next_key: 0,
            next_group: 0,
            begun: None,
            sleeps_until: None,
            is_closed: false,
            broken: None,
        }
    }

    /// Answers what is too late, and begins what is due.
    pub fn drive(&mut self, now: Duration) {
        while let Some(step) = self.batcher.poll(now) {
            match step {
                Step::Run { batch, keys, .. } => self.begun = Some((batch, keys)),
                Step::Answer { key, loss } => self.answer(key, Err(lost(loss))),
            }
        }
    }

    /// When there is something to do, if nothing happens before.
    pub fn wake(&self) -> Duration {
        self.batcher.wake().unwrap_or(Duration::MAX)
    }

    pub fn is_over(&self) -> bool {
        self.is_closed && self.batcher.pending() == 0
    }

    pub fn answer(&mut self, key: u64, answer: Answer) {
        if let Some(job) = self.take(key) {
            let _ = job.answer.send(answer);
        }
    }

    pub fn take(&mut self, key: u64) -> Option<Job> {
        let job = self.jobs.remove(&key)?;
        self.leave_group(job.request.signature.as_ref());
        Some(job)
    }

    pub fn join_group(&mut self, signature: Option<&Signature>) -> Option<u32> {
        let key = &signature?.key;
        if let Some(group) = self.groups.get_mut(key) {
            group.n_jobs += 1;
            return Some(group.id);
        }
        let id = self.next_group;
        self.next_group = id.wrapping_add(1);
        self.groups.insert(key.clone(), Group { id, n_jobs: 1 });
        Some(id)
    }

    pub fn leave_group(&mut self, signature: Option<&Signature>) {
        let Some(Signature { key, .. }) = signature else {
            return;
        };
        let group = self.groups.get_mut(key).expect("it was joined");
        group.n_jobs -= 1;
        if group.n_jobs == 0 {
            self.groups.remove(key);
        }
    }

    /// Without the requests that were taken back since the batch began.
    pub fn work(&self, batch: u64, keys: &[u64]) -> Work {
        let jobs = keys.iter().filter_map(|key| self.jobs.get_key_value(key));
        let mut work = Work {
            batch,
            keys: Vec::with_capacity(keys.len()),
            parts: Vec::with_capacity(keys.len()),
            rows: None,
            outputs: Vec::new(),
        };
        for (&key, Job { request, .. }) in jobs {
            work.keys.push(key);
            work.parts.push(request.inputs.clone());
            if let Some(signature) = &request.signature {
                work.rows.get_or_insert_default().push(signature.rows);
            }
            for name in &request.outputs {
                if !work.outputs.contains(name) {
                    work.outputs.push(name.clone());
                }
            }
        }
        work
    }
}

fn lost(loss: Loss) -> Error {
    match loss {
        Loss::Expired => Error::new(ErrorKind::Timeout, "request", "its time is over"),
        Loss::LaneLost => {
            let why = "the device was lost each time that the request ran";
            Error::new(ErrorKind::DeviceLost, "request", why)
        }
    }
}
