//! What a batcher may do, kept in the plainest way: lists that are searched. It follows a batcher step by step and
//! fails at the first one that breaks a rule.

use std::collections::BTreeMap;
use std::time::Duration;

use sentinel_inference::schedule::{Batcher, Full, Loss, Policy, Request, Step};

#[derive(Clone, Debug)]
struct Entry {
    request: Request,
    number: usize,
    arrived: Duration,
    attempts: u32,
    is_alone: bool,
    batch: Option<u64>,
}

/// A batcher and what is known of it.
pub struct Book {
    pub policy: Policy,
    pub batcher: Batcher,
    pub now: Duration,
    entries: Vec<Entry>,
    lanes: BTreeMap<u32, u32>,
    batches: BTreeMap<u64, (u32, Vec<u64>)>,
    is_flushing: bool,
    /// Since when a lane is free.
    freed: Duration,
    /// When the batcher was told the time; lanes open without that.
    told: Duration,
    pub n_accepted: usize,
    pub n_answered: usize,
}

impl Book {
    pub fn new(policy: Policy) -> Book {
        Book {
            policy,
            batcher: Batcher::new(policy),
            now: Duration::ZERO,
            entries: Vec::new(),
            lanes: BTreeMap::new(),
            batches: BTreeMap::new(),
            is_flushing: false,
            freed: Duration::ZERO,
            told: Duration::ZERO,
            n_accepted: 0,
            n_answered: 0,
        }
    }

    /// The key is one that has no answer to wait for.
    pub fn submit(&mut self, request: Request) {
        if self.entry(request.key).is_some() {
            return;
        }
        self.told = self.now;
        let n_waiting = self.waiting().count();
        let taken = self.batcher.submit(self.now, request);
        if n_waiting >= self.policy.max_queue {
            assert_eq!(taken, Err(Full(n_waiting)));
            return;
        }
        assert_eq!(taken, Ok(()));
        self.n_accepted += 1;
        self.entries.push(Entry {
            request,
            number: self.n_accepted,
            arrived: self.now,
            attempts: 0,
            is_alone: request.group.is_none(),
            batch: None,
        });
    }

    pub fn cancel(&mut self, key: u64) {
        let is_known = self.entry(key).is_some();
        assert_eq!(self.batcher.cancel(key), is_known);
        if is_known {
            self.answered(key);
        }
    }

    pub fn open_lane(&mut self, lane: u32, n_slots: u32) {
        if self.lanes.contains_key(&lane) {
            return;
        }
        self.will_be_free();
        self.lanes.insert(lane, n_slots);
        self.batcher.open_lane(lane, n_slots);
    }

    pub fn close_lane(&mut self, lane: u32) {
        self.batcher.close_lane(lane);
        self.lanes.remove(&lane);
        for entry in &mut self.entries {
            let Some(batch) = entry.batch else { continue };
            if self.batches.get(&batch).is_some_and(|&(at, _)| at == lane) {
                entry.attempts += 1;
                entry.is_alone = true;
                entry.batch = None;
            }
        }
        self.batches.retain(|_, &mut (at, _)| at != lane);
    }

    pub fn set_flushing(&mut self, is_flushing: bool) {
        self.is_flushing = is_flushing;
        self.batcher.set_flushing(is_flushing);
    }

    /// The `at`th of those that run, counted round and round.
    pub fn nth_batch(&self, at: usize) -> Option<u64> {
        let numbers: Vec<u64> = self.batches.keys().copied().collect();
        numbers.get(at % numbers.len().max(1)).copied()
    }

    pub fn complete(&mut self, batch: u64) {
        self.told = self.now;
        self.will_be_free();
        let (_, keys) = self.batches.remove(&batch).expect("it runs");
        let in_time = |entry: &Entry| entry.request.deadline.is_none_or(|end| end > self.now);
        let is_owed = |&key: &u64| {
            self.entry(key)
                .is_some_and(|entry| entry.batch == Some(batch) && in_time(entry))
        };
        let expected: Vec<u64> = keys.into_iter().filter(is_owed).collect();
        let got = self.batcher.complete(self.now, batch);
        assert_eq!(got, expected, "outputs of batch {batch}");
        assert_eq!(
            self.batcher.complete(self.now, batch),
            [0; 0],
            "a batch ends once"
        );
        got.into_iter().for_each(|key| self.answered(key));
    }

    pub fn fail(&mut self, batch: u64) {
        self.told = self.now;
        self.will_be_free();
        let (_, keys) = self.batches.remove(&batch).expect("it runs");
        let was_joined = keys.len() > 1;
        let failed = self.batcher.fail(self.now, batch);
        assert_eq!(
            self.batcher.fail(self.now, batch),
            [0; 0],
            "a batch ends once"
        );
        if was_joined {
            assert_eq!(failed, [0; 0], "a joined batch is nobody's error");
            for entry in &mut self.entries {
                if entry.batch == Some(batch) {
                    entry.batch = None;
                    entry.is_alone = true;
                }
            }
            return;
        }
        let is_owed = |&key: &u64| {
            self.entry(key)
                .is_some_and(|entry| entry.batch == Some(batch))
        };
        let expected: Vec<u64> = keys.into_iter().filter(is_owed).collect();
        assert_eq!(failed, expected, "errors of batch {batch}");
        failed.into_iter().for_each(|key| self.answered(key));
    }

    pub fn abandon(&mut self) {
        let mut expected: Vec<u64> = self.entries.iter().map(|entry| entry.request.key).collect();
        expected.sort_unstable();
        assert_eq!(self.batcher.abandon(), expected);
        expected.into_iter().for_each(|key| self.answered(key));
    }

    /// Does what there is to do at this moment, and checks that nothing is left undone.
    pub fn poll(&mut self) {
        self.told = self.now;
        while let Some(step) = self.batcher.poll(self.now) {
            match step {
                Step::Run { batch, lane, keys } => self.starts(batch, lane, keys),
                Step::Answer { key, loss } => self.is_lost(key, loss),
            }
        }
        for entry in &self.entries {
            assert!(
                entry.request.deadline.is_none_or(|end| end > self.now),
                "its time is over: {entry:?}"
            );
            assert!(
                entry.attempts < self.policy.max_attempts,
                "it is lost: {entry:?}"
            );
            let could_run = entry.batch.is_none() && self.has_free_lane() && self.is_ripe(entry);
            assert!(!could_run, "it could run: {entry:?}");
        }
        assert_eq!(self.batcher.wake(), self.wake());
        self.check_counts();
    }

    /// Time passes; the batcher is asked at the moments that it names.
    pub fn wait(&mut self, elapsed: Duration) {
        let end = self.now + elapsed;
        while let Some(wake) = self.batcher.wake().filter(|&wake| wake <= end) {
            assert!(wake > self.now, "what was due has been done");
            self.now = wake;
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    pub fn check_counts(&self) {
        assert_eq!(self.batcher.pending(), self.entries.len());
        assert_eq!(self.n_accepted, self.n_answered + self.entries.len());
        assert_eq!(self.batcher.queue_depth(), self.waiting().count());
        let counted = self.batcher.statistics();
        let n_ended = counted.total_outputs + counted.total_errors + counted.total_cancelled;
        assert_eq!(n_ended as usize, self.n_answered);
        assert_eq!(counted.total_inputs as usize, self.n_accepted);
    }

    fn starts(&mut self, batch: u64, lane: u32, keys: Vec<u64>) {
        assert!(self.free_slots(lane) > 0, "lane {lane} is full or closed");
        assert!(!self.batches.contains_key(&batch), "batch {batch} runs");
        let entries: Vec<&Entry> = keys
            .iter()
            .map(|&key| self.entry(key).expect("it has no answer"))
            .collect();
        let [first, others @ ..] = &entries[..] else {
            panic!("batch {batch} is empty");
        };
        for entry in &entries {
            assert_eq!(entry.batch, None, "it runs already: {entry:?}");
            assert!(
                entry.request.deadline.is_none_or(|end| end > self.now),
                "its time is over: {entry:?}"
            );
        }
        for other in others {
            assert!(
                !first.is_alone && !other.is_alone,
                "it runs alone: {other:?}"
            );
            assert_eq!(
                other.request.group, first.request.group,
                "groups are not mixed"
            );
        }
        let rows: usize = entries.iter().map(|entry| entry.request.rows).sum();
        assert!(
            others.is_empty() || rows <= self.policy.batch_size,
            "{rows} rows"
        );
        assert!(self.is_ripe(first), "it starts too early: {first:?}");
        let mut startable: Vec<&Entry> =
            self.waiting().filter(|entry| self.is_ripe(entry)).collect();
        startable.sort_by_key(|entry| entry.order());
        assert_eq!(
            startable[0].request.key, first.request.key,
            "another is before it"
        );
        if !first.is_alone {
            let mut queue: Vec<&Entry> = self
                .waiting()
                .filter(|entry| !entry.is_alone && entry.request.group == first.request.group)
                .collect();
            queue.sort_by_key(|entry| entry.order());
            let queue: Vec<u64> = queue.into_iter().map(|entry| entry.request.key).collect();
            assert!(queue.starts_with(&keys), "{keys:?} out of order: {queue:?}");
            let next = queue.get(keys.len()).and_then(|&key| self.entry(key));
            assert!(
                next.is_none_or(|next| rows + next.request.rows > self.policy.batch_size),
                "there is room for {next:?}"
            );
        }
        for &key in &keys {
            self.entry_mut(key).batch = Some(batch);
        }
        self.batches.insert(batch, (lane, keys));
    }

    fn is_lost(&mut self, key: u64, loss: Loss) {
        let entry = self.entry(key).expect("it has no answer");
        match loss {
            Loss::Expired => assert!(
                entry.request.deadline.is_some_and(|end| end <= self.now),
                "it has time: {entry:?}"
            ),
            Loss::LaneLost => assert_eq!(entry.attempts, self.policy.max_attempts),
        }
        self.answered(key);
    }

    /// Whether it may start now, given a lane.
    fn is_ripe(&self, entry: &Entry) -> bool {
        if entry.is_alone || self.is_flushing {
            return true;
        }
        let group: Vec<&Entry> = self
            .waiting()
            .filter(|other| !other.is_alone && other.request.group == entry.request.group)
            .collect();
        let rows: usize = group.iter().map(|other| other.request.rows).sum();
        let is_old = |other: &&Entry| self.now >= self.ripens(other);
        let enough = self.batcher.enough_rows();
        assert!(enough == self.policy.batch_size || self.policy.learns_to_wait);
        rows >= enough.min(self.policy.batch_size) || group.iter().any(is_old)
    }

    /// When an input has waited for others as long as it may.
    fn ripens(&self, entry: &Entry) -> Duration {
        let learns = self.policy.learns_to_wait;
        let from = if learns {
            entry.arrived.max(self.freed)
        } else {
            entry.arrived
        };
        from + self.policy.max_delay
    }

    fn wake(&self) -> Option<Duration> {
        let deadlines = self
            .entries
            .iter()
            .filter_map(|entry| entry.request.deadline);
        let has_lane = self.has_free_lane();
        let ripe = self
            .waiting()
            .filter(|entry| has_lane && !entry.is_alone)
            .map(|entry| self.ripens(entry));
        deadlines.chain(ripe).min()
    }

    fn will_be_free(&mut self) {
        if !self.has_free_lane() {
            self.freed = self.told;
        }
    }

    fn free_slots(&self, lane: u32) -> u32 {
        let n_running = self.batches.values().filter(|&&(at, _)| at == lane).count() as u32;
        self.lanes
            .get(&lane)
            .map_or(0, |&n_slots| n_slots - n_running)
    }

    fn has_free_lane(&self) -> bool {
        self.lanes.keys().any(|&lane| self.free_slots(lane) > 0)
    }

    fn waiting(&self) -> impl Iterator<Item = &Entry> {
        let is_lost = |entry: &Entry| entry.attempts >= self.policy.max_attempts;
        let waits = move |entry: &&Entry| entry.batch.is_none() && !is_lost(entry);
        self.entries.iter().filter(waits)
    }

    fn entry(&self, key: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.request.key == key)
    }

    fn entry_mut(&mut self, key: u64) -> &mut Entry {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.request.key == key);
        entry.expect("it has no answer")
    }

    fn answered(&mut self, key: u64) {
        let n_before = self.entries.len();
        self.entries.retain(|entry| entry.request.key != key);
        assert_eq!(
            self.entries.len() + 1,
            n_before,
            "input {key} has had its answer"
        );
        self.n_answered += 1;
    }
}

impl Entry {
    fn order(&self) -> (std::cmp::Reverse<i32>, usize) {
        (std::cmp::Reverse(self.request.priority), self.number)
    }
}
