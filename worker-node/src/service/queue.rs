//! Requests to one loaded model: the queue where they become batches, and what their senders hold of them.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sentinel_inference::error::Error;
use sentinel_inference::schedule::{self, Batcher, Latencies, Policy, Snapshot};
use sentinel_inference::session::Named;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::state::{Answer, Done, Job, Refused, Request, State, Work};

/// The one lane: a model's runs take all of the device, or all cores.
const LANE: u32 = 0;

/// The requests of one model.
pub struct Queue {
    /// The clock's zero.
    opened: Instant,
    state: Mutex<State>,
    wakes_lane: Condvar,
    /// The lane has ended.
    ended: CancellationToken,
}

/// A request without an answer. To drop it is to take the request back.
pub struct Pending {
    queue: Arc<Queue>,
    key: u64,
    deadline: Option<Instant>,
    answer: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Queue {
    pub fn new(policy: Policy) -> Queue {
        let mut batcher = Batcher::new(policy);
        batcher.open_lane(LANE, 1);
        Queue {
            opened: Instant::now(),
            state: Mutex::new(State::new(batcher)),
            wakes_lane: Condvar::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(self: &Arc<Queue>, request: Request) -> Result<Pending, Refused> {
        let arrived = Instant::now();
        let mut state = self.state();
        if let Some(broken) = &state.broken {
            return Err(Refused::Broken(broken.clone()));
        }
        if state.is_closed {
            return Err(Refused::Closed(request));
        }
        let key = state.next_key;
        let group = state.join_group(request.signature.as_ref());
        let scheduled = schedule::Request {
            key,
            group,
            rows: request.signature.as_ref().map_or(1, |known| known.rows),
            priority: request.priority,
            deadline: request.deadline.map(|deadline| self.since_opened(deadline)),
        };
        let now = self.since_opened(arrived);
        if let Err(full) = state.batcher.submit(now, scheduled) {
            state.leave_group(request.signature.as_ref());
            return Err(Refused::Full(full.0));
        }
        state.next_key += 1;
        let (sender, answer) = oneshot::channel();
        let deadline = request.deadline;
        let job = Job {
            request,
            arrived,
            answer: sender,
        };
        state.jobs.insert(key, job);
        self.settle(state);
        Ok(Pending {
            queue: self.clone(),
            key,
            deadline,
            answer,
            is_answered: false,
        })
    }

    /// Takes no more requests; those that it has are run, without waiting for others.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.batcher.set_flushing(true);
        self.settle(state);
    }

    /// Every request has its answer, and nothing runs any more.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// For the lane, as it ends.
    pub fn end(&self) {
        let gone = Error::internal("model", "its thread has ended");
        let mut state = self.state();
        for key in state.batcher.abandon() {
            state.answer(key, Err(gone.clone()));
        }
        if !state.is_closed {
            state.is_closed = true;
            state.broken = Some(gone);
        }
        self.ended.cancel();
    }

    /// Why nothing runs here any more, where that was nobody's wish.
    pub fn broken(&self) -> Option<Error> {
        self.state().broken.clone()
    }

    pub fn statistics(&self) -> (Snapshot, Latencies, usize) {
        let state = self.state();
        let snapshot = state.batcher.snapshot(self.now());
        let latencies = state.batcher.statistics().latencies.clone();
        (snapshot, latencies, state.batcher.pending())
    }

    /// Sleeps until a batch is to run; `None` when the queue is closed and empty.
    pub fn next_work(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            state.drive(self.now());
            if let Some((batch, keys)) = state.begun.take() {
                return Some(state.work(batch, &keys));
            }
            if state.is_over() {
                return None;
            }
            let now = self.now();
            let wake = state.wake();
            state.sleeps_until = Some(wake);
            let pause = wake.saturating_sub(now);
            let woken = self.wakes_lane.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.sleeps_until = None;
        }
    }

    /// The batch has its outputs, those of each request in the order of the work.
    pub fn complete(&self, work: Work, begun: Instant, outputs: Vec<Named>) {
        let computed = begun.elapsed();
        let batch_size = work.keys.len();
        let mut outputs: HashMap<u64, Named> = work.keys.into_iter().zip(outputs).collect();
        let mut state = self.state();
        let keys = state.batcher.complete(self.now(), work.batch);
        let done: Vec<(Job, Named)> = keys
            .into_iter()
            .filter_map(|key| Some((state.take(key)?, outputs.remove(&key)?)))
            .collect();
        drop(state);
        for (job, outputs) in done {
            let answer = Done {
                outputs: wanted(outputs, &job.request.outputs),
                queued: begun.saturating_duration_since(job.arrived),
                computed,
                batch_size,
            };
            // Whoever does not listen has just taken the request back.
            let _ = job.answer.send(Ok(answer));
        }
    }

    /// The batch failed. Requests that ran together run again, each alone; one that was alone gets the error.
    pub fn fail(&self, work: &Work, error: &Error) {
        let mut state = self.state();
        for key in state.batcher.fail(self.now(), work.batch) {
            state.answer(key, Err(error.clone()));
        }
    }

    /// What ran the batches is gone; its requests wait for another one.
    pub fn lose_lane(&self) {
        let mut state = self.state();
        state.batcher.close_lane(LANE);
        state.drive(self.now());
    }

    pub fn open_lane(&self) {
        self.state().batcher.open_lane(LANE, 1);
    }

    /// There will be no other lane: nobody gets outputs any more.
    pub fn abandon(&self, error: &Error) {
        let mut state = self.state();
        state.is_closed = true;
        state.broken = Some(error.clone());
        for key in state.batcher.abandon() {
            state.answer(key, Err(error.clone()));
        }
    }

    fn cancel(&self, key: u64) {
        let mut state = self.state();
        state.batcher.cancel(key);
        let job = state.take(key);
        self.settle(state);
        // Inputs may be large: they are given back without the lock.
        drop(job);
    }

    /// Answers what is too late by now.
    fn expire(&self) {
        let mut state = self.state();
        state.drive(self.now());
        self.settle(state);
    }

    /// After a change: the lane is woken if it has something to do before it would look by itself.
    fn settle(&self, mut state: MutexGuard<State>) {
        let Some(sleeps_until) = state.sleeps_until else {
            return;
        };
        state.drive(self.now());
        if state.begun.is_some() || state.is_over() || state.wake() < sleeps_until {
            state.sleeps_until = None;
            drop(state);
            self.wakes_lane.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic with the lock held would be a bug; it should not take the answers of others with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    fn since_opened(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.opened)
    }
}

impl Pending {
    /// # Errors
    /// `TIMEOUT`, and what the model's run finds.
    pub async fn answer(mut self) -> Answer {
        if let Some(deadline) = self.deadline {
            let in_time = tokio::time::timeout_at(deadline.into(), &mut self.answer).await;
            if let Ok(answer) = in_time {
                return self.received(answer);
            }
            self.queue.expire();
        }
        let answer = (&mut self.answer).await;
        self.received(answer)
    }

    fn received(&mut self, answer: Result<Answer, oneshot::error::RecvError>) -> Answer {
        self.is_answered = true;
        answer.unwrap_or_else(|_| Err(Error::internal("queue", "a request was forgotten")))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_answered {
            self.queue.cancel(self.key);
        }
    }
}

/// Those of these names, in their order.
fn wanted(outputs: Named, names: &[String]) -> Named {
    if outputs.iter().map(|(name, _)| name).eq(names) {
        return outputs;
    }
    let find = |name: &String| outputs.iter().find(|(known, _)| known == name).cloned();
    names.iter().filter_map(find).collect()
}
