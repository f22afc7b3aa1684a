//! Dynamic batching: which inputs run together, when and where.
//!
//! Inputs of one group may be joined. A batch starts when its rows fill it, or when its first input has waited long
//! enough, and a lane is free. Every input that was taken in is answered exactly once: by [`Batcher::complete`], by
//! [`Batcher::fail`], by a [`Step::Answer`], or by its sender through [`Batcher::cancel`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::adaptive::{Adaptive, Goal};
use super::statistics::{Snapshot, Statistics};
use super::waiting::{Trial, Waiting};

/// How inputs become batches.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The most rows in one batch.
    pub batch_size: usize,
    /// The longest that the first input of a batch waits for others.
    pub max_delay: Duration,
    /// Waits only while waiting pays, and starts batches at once otherwise.
    pub learns_to_wait: bool,
    /// The most inputs that wait; those that come back from a lost lane are not turned away.
    pub max_queue: usize,
    /// How many lanes may be lost under an input before it is given up.
    pub max_attempts: u32,
    /// Finds size and delay by measuring, in the place of those above.
    pub goal: Option<Goal>,
}

/// One input.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Unlike that of every input which has no answer yet.
    pub key: u64,
    /// Inputs of the same group may run together; one without a group runs alone.
    pub group: Option<u32>,
    pub rows: usize,
    /// The larger, the sooner.
    pub priority: i32,
    /// When its sender stops waiting for it.
    pub deadline: Option<Duration>,
}

/// The queue is full: this many inputs wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub usize);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run these inputs together, in this order.
    Run {
        batch: u64,
        lane: u32,
        keys: Vec<u64>,
    },
    /// Tell the sender of this input that it gets no outputs.
    Answer { key: u64, loss: Loss },
}

/// Why an input gets no outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its deadline has passed.
    Expired,
    /// Every lane that ran it was lost.
    LaneLost,
}

/// The order in which inputs leave a queue: by priority, then as they came.
type Place = (Reverse<i32>, u64);

struct Job {
    request: Request,
    arrived: Duration,
    place: Place,
    attempts: u32,
    /// The batch it runs in; waiting inputs have none.
    batch: Option<u64>,
    /// It runs alone: it has been in a batch that failed.
    is_alone: bool,
}

#[derive(Default)]
struct Group {
    waiting: BTreeMap<Place, u64>,
    /// When the waiting inputs came, the oldest first.
    arrivals: BTreeMap<u64, Duration>,
    rows: usize,
}

struct Batch {
    lane: u32,
    keys: Vec<u64>,
    rows: usize,
    /// No other input that waited fitted in.
    is_full: bool,
    started: Duration,
    group: Option<u32>,
    trial: Option<Trial>,
}

/// The queue, and what runs on which lane.
pub struct Batcher {
    policy: Policy,
    adaptive: Option<Adaptive>,
    waiting: Option<Waiting>,
    statistics: Statistics,
    jobs: HashMap<u64, Job>,
    groups: HashMap<u32, Group>,
    /// Inputs that run alone.
    alone: BTreeMap<Place, u64>,
    n_waiting: usize,
    deadlines: BTreeSet<(Duration, u64)>,
    /// How many batches each lane can take now.
    lanes: BTreeMap<u32, u32>,
    /// Since when there was one that can take a batch, the last time that there was none.
    freed: Duration,
    batches: BTreeMap<u64, Batch>,
    lost: VecDeque<u64>,
    next_number: u64,
    is_flushing: bool,
    now: Duration,
}

impl Batcher {
    pub fn new(policy: Policy) -> Batcher {
        Batcher {
            adaptive: policy.goal.map(Adaptive::new),
            waiting: policy.learns_to_wait.then(Waiting::new),
            policy,
            statistics: Statistics::default(),
            jobs: HashMap::new(),
            groups: HashMap::new(),
            alone: BTreeMap::new(),
            n_waiting: 0,
            deadlines: BTreeSet::new(),
            lanes: BTreeMap::new(),
            freed: Duration::ZERO,
            batches: BTreeMap::new(),
            lost: VecDeque::new(),
            next_number: 0,
            is_flushing: false,
            now: Duration::ZERO,
        }
    }

    /// Takes an input in.
    ///
    /// # Errors
    /// [`Full`]; the input is not counted then.
    pub fn submit(&mut self, now: Duration, request: Request) -> Result<(), Full> {
        self.advance(now);
        if self.n_waiting >= self.policy.max_queue {
            return Err(Full(self.n_waiting));
        }
        let place = (Reverse(request.priority), self.number());
        let job = Job {
            request,
            arrived: self.now,
            place,
            attempts: 0,
            batch: None,
            is_alone: request.group.is_none(),
        };
        let former = self.jobs.insert(request.key, job);
        assert!(former.is_none(), "input {} has no answer yet", request.key);
        if let Some(deadline) = request.deadline {
            self.deadlines.insert((deadline, request.key));
        }
        self.enqueue(request.key);
        self.statistics.total_inputs += 1;
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.arrived(self.now);
        }
        let now = self.now;
        if let Some(trial) = self.trial_of(request.group) {
            trial.arrived(now, request.rows);
        }
        Ok(())
    }

    /// Forgets an input: true where it had no answer yet. What runs goes on without it.
    pub fn cancel(&mut self, key: u64) -> bool {
        let is_known = self.take(key).is_some();
        self.statistics.total_cancelled += u64::from(is_known);
        is_known
    }

    /// A place where `n_slots` batches run at once.
    pub fn open_lane(&mut self, lane: u32, n_slots: u32) {
        if !self.has_free_lane() {
            self.freed = self.now;
        }
        let former = self.lanes.insert(lane, n_slots);
        assert!(former.is_none(), "lane {lane} is open");
    }

    /// A lane is gone: what it ran waits again, each alone, so that one input that breaks lanes breaks no other's.
    pub fn close_lane(&mut self, lane: u32) {
        self.lanes.remove(&lane);
        let broken: Vec<u64> = self.batches_on(lane);
        for batch in broken {
            for key in self.batches.remove(&batch).expect("it was found").keys {
                let Some(job) = self.running(key, batch) else {
                    continue;
                };
                job.attempts += 1;
                if job.attempts >= self.policy.max_attempts {
                    self.lost.push_back(key);
                } else {
                    self.retry(key);
                }
            }
        }
    }

    /// A batch has its outputs: the inputs that still wait for theirs. Others were cancelled or are too late.
    pub fn complete(&mut self, now: Duration, batch: u64) -> Vec<u64> {
        self.advance(now);
        let Some(Batch {
            lane,
            keys,
            rows,
            is_full,
            started,
            trial,
            ..
        }) = self.batches.remove(&batch)
        else {
            return Vec::new();
        };
        self.free_slot(lane);
        let elapsed = self.now - started;
        self.statistics.ran(keys.len(), elapsed);
        self.statistics.local_inputs += keys.len() as u64;
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.ran(rows, is_full, elapsed);
        }
        if let Some(waiting) = &mut self.waiting
            && rows <= self.policy.batch_size
        {
            waiting.ran(rows, elapsed, trial.as_ref());
        }
        let mut answered = Vec::with_capacity(keys.len());
        for key in keys {
            let now = self.now;
            // An input whose time is over is answered by the next poll.
            let is_in_time = |job: &mut Job| job.request.deadline.is_none_or(|end| end > now);
            if !self.running(key, batch).is_some_and(is_in_time) {
                continue;
            }
            let job = self.take(key).expect("it runs");
            let latency = self.now.saturating_sub(job.arrived);
            self.statistics.answered(self.now, latency);
            answered.push(key);
        }
        answered
    }

    /// A batch failed: the inputs whose error it is. Inputs that were joined wait again, each alone, so that an error
    /// reaches the one that caused it only.
    pub fn fail(&mut self, now: Duration, batch: u64) -> Vec<u64> {
        self.advance(now);
        let Some(Batch { lane, keys, .. }) = self.batches.remove(&batch) else {
            return Vec::new();
        };
        self.free_slot(lane);
        let was_joined = keys.len() > 1;
        let mut failed = Vec::new();
        for key in keys {
            if self.running(key, batch).is_none() {
                continue;
            }
            if was_joined {
                self.retry(key);
            } else {
                self.take(key);
                self.statistics.total_errors += 1;
                failed.push(key);
            }
        }
        failed
    }

    /// Every input without an answer, as nothing will run any more.
    pub fn abandon(&mut self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.jobs.keys().copied().collect();
        keys.sort_unstable();
        for &key in &keys {
            self.take(key);
        }
        self.statistics.total_errors += keys.len() as u64;
        keys
    }

    /// While flushing, a batch waits for a lane only, not for more inputs.
    pub fn set_flushing(&mut self, is_flushing: bool) {
        self.is_flushing = is_flushing;
    }

    /// What to do at this moment; asked again until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Step> {
        self.advance(now);
        if let Some(&(deadline, key)) = self.deadlines.first()
            && deadline <= self.now
        {
            return Some(self.lose(key, Loss::Expired));
        }
        if let Some(&key) = self.lost.front() {
            return Some(self.lose(key, Loss::LaneLost));
        }
        self.start()
    }

    /// When [`Batcher::poll`] should be asked next, if nothing happens before.
    pub fn wake(&self) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        if !self.has_free_lane() {
            return deadline;
        }
        let ripe = self.groups.values().filter_map(|group| self.ripens(group));
        let ripe = ripe.min();
        deadline.into_iter().chain(ripe).min()
    }

    pub fn queue_depth(&self) -> usize {
        self.n_waiting
    }

    /// Inputs without an answer, waiting or running.
    pub fn pending(&self) -> usize {
        self.jobs.len()
    }

    /// The most rows in a batch at present.
    pub fn batch_size(&self) -> usize {
        let found = self.adaptive.as_ref().map(Adaptive::batch_size);
        found.unwrap_or(self.policy.batch_size)
    }

    /// The longest wait for more inputs at present.
    pub fn max_delay(&self) -> Duration {
        let found = self.adaptive.as_ref().map(Adaptive::max_delay);
        found.unwrap_or(self.policy.max_delay)
    }

    /// So many rows of a group wait for no others at present.
    pub fn enough_rows(&self) -> usize {
        let size = self.batch_size();
        let found = self.waiting.as_ref().map(Waiting::enough);
        found.map_or(size, |rows| rows.min(size))
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub fn snapshot(&self, now: Duration) -> Snapshot {
        self.statistics.snapshot(now, self.n_waiting)
    }

    // A clock that is set back must not make latencies negative.
    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn start(&mut self) -> Option<Step> {
        let lane = self.free_lane()?;
        let keys = self.next_batch()?;
        let trial = self.trial(&keys);
        let mut rows = 0;
        let batch = self.number();
        for &key in &keys {
            self.unqueue(key);
            let job = self.jobs.get_mut(&key).expect("it waits");
            job.batch = Some(batch);
            rows += job.request.rows;
        }
        *self.lanes.get_mut(&lane).expect("it is free") -= 1;
        let group = self.jobs[&keys[0]].request.group;
        let is_left_over = group.is_some_and(|group| self.groups.contains_key(&group));
        let running = Batch {
            lane,
            keys: keys.clone(),
            rows,
            is_full: is_left_over || rows >= self.batch_size(),
            started: self.now,
            group,
            trial,
        };
        self.batches.insert(batch, running);
        Some(Step::Run { batch, lane, keys })
    }

    /// When a group has waited for others as long as it may. Where waiting is learnt, it begins when a lane is free.
    fn ripens(&self, group: &Group) -> Option<Duration> {
        let arrived = group.oldest()?;
        let learns = self.waiting.is_some();
        let from = if learns {
            arrived.max(self.freed)
        } else {
            arrived
        };
        Some(from + self.max_delay())
    }

    /// What came together for a batch that starts now; `None` where it had no choice.
    fn trial(&self, keys: &[u64]) -> Option<Trial> {
        self.waiting.as_ref()?;
        let first = &self.jobs[&keys[0]];
        if first.is_alone || self.is_flushing {
            return None;
        }
        let group = &self.groups[&first.request.group?];
        let from = group.oldest()?.max(self.freed);
        let until = self.ripens(group)?;
        let jobs = || keys.iter().map(|key| &self.jobs[key]);
        let there = || jobs().filter(|job| job.arrived <= from);
        let rows: usize = there().map(|job| job.request.rows).sum();
        let size = self.batch_size();
        let n_there = there().count();
        let was_full = n_there == keys.len() && group.rows >= size;
        if was_full || from == until {
            return None;
        }
        let mut trial = Trial::new(from, until, n_there, rows, size);
        for job in jobs().filter(|job| job.arrived > from) {
            trial.arrived(job.arrived, job.request.rows);
        }
        if rows < self.enough_rows() && self.now >= until {
            trial.waited_in_vain();
        }
        Some(trial)
    }

    /// That of the latest batch of a group.
    fn trial_of(&mut self, group: Option<u32>) -> Option<&mut Trial> {
        let mut batches = self.batches.values_mut().rev();
        batches
            .find(|batch| group.is_some() && batch.group == group)?
            .trial
            .as_mut()
    }

    /// The inputs that run next: of all that could start now, those around the first in order.
    fn next_batch(&self) -> Option<Vec<u64>> {
        let (size, enough) = (self.batch_size(), self.enough_rows());
        let is_ripe = |group: &&Group| {
            let is_old = self.ripens(group).is_some_and(|at| self.now >= at);
            group.rows >= enough || self.is_flushing || is_old
        };
        let alone = self.alone.first_key_value();
        let ripe = self.groups.values().filter(is_ripe);
        let first = ripe.filter_map(|group| Some((group.waiting.first_key_value()?.0, group)));
        let first = first.min_by_key(|(place, _)| **place);
        match (alone, first) {
            (Some((place, &key)), Some((other, _))) if place < other => Some(vec![key]),
            (Some((_, &key)), None) => Some(vec![key]),
            (_, Some((_, group))) => Some(self.filled(group, size)),
            (None, None) => None,
        }
    }

    /// As many as fit, in their order; the first one always does.
    fn filled(&self, group: &Group, size: usize) -> Vec<u64> {
        let mut rows = 0;
        let mut keys = Vec::new();
        for &key in group.waiting.values() {
            rows += self.jobs[&key].request.rows;
            if rows > size && !keys.is_empty() {
                break;
            }
            keys.push(key);
        }
        keys
    }

    fn enqueue(&mut self, key: u64) {
        let job = &self.jobs[&key];
        match job.request.group {
            Some(group) if !job.is_alone => {
                let group = self.groups.entry(group).or_default();
                group.waiting.insert(job.place, key);
                group.arrivals.insert(job.place.1, job.arrived);
                group.rows += job.request.rows;
            }
            _ => {
                self.alone.insert(job.place, key);
            }
        }
        self.n_waiting += 1;
    }

    fn unqueue(&mut self, key: u64) {
        let job = &self.jobs[&key];
        match job.request.group {
            Some(id) if !job.is_alone => {
                let group = self.groups.get_mut(&id).expect("it waits there");
                group.waiting.remove(&job.place);
                group.arrivals.remove(&job.place.1);
                group.rows -= job.request.rows;
                if group.waiting.is_empty() {
                    self.groups.remove(&id);
                }
            }
            _ => {
                self.alone.remove(&job.place);
            }
        }
        self.n_waiting -= 1;
    }

    /// An input that this batch owes an answer; its key may belong to another one by now.
    fn running(&mut self, key: u64, batch: u64) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&key)?;
        (job.batch == Some(batch)).then_some(job)
    }

    /// It waits again, alone, in its old place.
    fn retry(&mut self, key: u64) {
        let job = self.jobs.get_mut(&key).expect("it has no answer");
        job.batch = None;
        job.is_alone = true;
        self.enqueue(key);
    }

    /// Out of all books, as it gets its answer.
    fn take(&mut self, key: u64) -> Option<Job> {
        let is_waiting = self.jobs.get(&key)?.batch.is_none();
        if is_waiting {
            self.unqueue(key);
        }
        let job = self.jobs.remove(&key)?;
        self.lost.retain(|&lost| lost != key);
        if let Some(deadline) = job.request.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        Some(job)
    }

    fn lose(&mut self, key: u64, loss: Loss) -> Step {
        self.take(key);
        self.statistics.total_errors += 1;
        Step::Answer { key, loss }
    }

    fn batches_on(&self, lane: u32) -> Vec<u64> {
        let on_lane = self.batches.iter().filter(|(_, batch)| batch.lane == lane);
        on_lane.map(|(&number, _)| number).collect()
    }

    fn free_slot(&mut self, lane: u32) {
        if !self.has_free_lane() {
            self.freed = self.now;
        }
        if let Some(n_free) = self.lanes.get_mut(&lane) {
            *n_free += 1;
        }
    }

    fn has_free_lane(&self) -> bool {
        self.lanes.values().any(|&n_free| n_free > 0)
    }

    /// The lane with the most room, so that work spreads.
    fn free_lane(&self) -> Option<u32> {
        let free = self.lanes.iter().filter(|&(_, &n_free)| n_free > 0);
        free.max_by_key(|&(&lane, &n_free)| (n_free, Reverse(lane)))
            .map(|(&lane, _)| lane)
    }
}

impl Group {
    fn oldest(&self) -> Option<Duration> {
        self.arrivals.first_key_value().map(|(_, &arrived)| arrived)
    }
}
