//! What a connection does, so that those that do nothing can be told from those that work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what is allowed at most.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a request.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two bytes of an answer that its client takes.
    pub stalled: Duration,
}

#[derive(Debug)]
pub struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    /// Whether a request ever came.
    is_fresh: bool,
    /// When the latest request or answer ended.
    since: Instant,
    /// When bytes came that belong to no request yet.
    heard: Option<Instant>,
    /// Since when bytes of an answer are not taken.
    stalled: Option<Instant>,
}

/// A request that is being worked on.
pub struct InFlight<'a>(&'a Activity);

impl Activity {
    pub fn new(now: Instant) -> Activity {
        Activity {
            state: Mutex::new(State {
                in_flight: 0,
                is_fresh: true,
                since: now,
                heard: None,
                stalled: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn request(&self) -> InFlight<'_> {
        let mut state = self.state();
        state.in_flight += 1;
        state.is_fresh = false;
        state.heard = None;
        InFlight(self)
    }

    /// Bytes came.
    pub fn heard(&self, now: Instant) {
        let mut state = self.state();
        if state.in_flight == 0 {
            state.heard.get_or_insert(now);
        }
    }

    /// What came was not of a request.
    pub fn forget_heard(&self) {
        self.state().heard = None;
    }

    /// Bytes went.
    pub fn wrote(&self, now: Instant) {
        let mut state = self.state();
        state.since = now;
        state.stalled = None;
    }

    /// Bytes wait to go.
    pub fn stalled(&self, now: Instant) {
        self.state().stalled.get_or_insert(now);
    }

    /// Nothing ever came.
    pub fn is_fresh(&self) -> bool {
        let state = self.state();
        state.is_fresh && state.heard.is_none()
    }

    pub fn is_over(&self, now: Instant, patience: &Patience) -> bool {
        let state = self.state();
        let exceeds = |since: Instant, most: Duration| now.duration_since(since) > most;
        if state
            .stalled
            .is_some_and(|since| exceeds(since, patience.stalled))
        {
            return true;
        }
        if state.in_flight > 0 || state.stalled.is_some() {
            return false;
        }
        match state.heard {
            Some(since) => exceeds(since, patience.head),
            None => exceeds(state.since, patience.idle),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        state.since = Instant::now();
        state.heard = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(300),
        head: Duration::from_secs(10),
        stalled: Duration::from_secs(30),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_without_a_request_is_over_after_the_idle_time() {
        let start = Instant::now();
        let activity = Activity::new(start);
        assert!(activity.is_fresh());
        assert!(!activity.is_over(after(start, 300), &PATIENCE));
        assert!(activity.is_over(after(start, 301), &PATIENCE));
    }

    #[test]
    fn the_time_of_a_head_counts_from_its_first_byte() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.heard(after(start, 100));
        activity.heard(after(start, 109));
        assert!(!activity.is_over(after(start, 110), &PATIENCE));
        assert!(activity.is_over(after(start, 111), &PATIENCE));
    }

    #[test]
    fn a_request_may_take_long() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.heard(start);
        let request = activity.request();
        assert!(!activity.is_over(after(start, 10_000), &PATIENCE));
        drop(request);
        assert!(!activity.is_fresh());
        assert!(activity.is_over(after(start, 10_000), &PATIENCE));
    }

    #[test]
    fn an_answer_that_is_not_taken_ends_the_connection() {
        let start = Instant::now();
        let activity = Activity::new(start);
        let _request = activity.request();
        activity.stalled(after(start, 5));
        activity.stalled(after(start, 34));
        assert!(!activity.is_over(after(start, 35), &PATIENCE));
        assert!(activity.is_over(after(start, 36), &PATIENCE));
        activity.wrote(after(start, 37));
        assert!(!activity.is_over(after(start, 50), &PATIENCE));
    }
}
