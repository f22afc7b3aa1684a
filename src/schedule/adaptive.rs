//! The size and the delay of batches, from measured times: the best throughput under a bound on latency.
//!
//! `time(n)` is what batches of `n` took lately. Of the sizes that were tried, the best is the one with the largest
//! `n / time(n)` whose `time(n)` leaves room for the wait that precedes it; a size twice as large is tried while doubling
//! has paid and inputs come fast enough to fill it.

use std::collections::BTreeMap;
use std::time::Duration;

/// What is asked of batches whose size is found by measuring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// From the arrival of an input to its outputs.
    pub target_latency: Duration,
    /// The largest size that is tried.
    pub max_batch_size: usize,
}

/// How much of the old estimate stays when a new time comes in.
const KEPT: f64 = 0.8;
/// A larger size has to be this much better to be worth its latency.
const WORTHWHILE: f64 = 1.05;
/// After so many batches every size that was given up may be tried again: machines get busy and idle again.
const RETRY_AFTER: u32 = 200;

/// Finds the size and the delay of batches.
#[derive(Clone, Debug)]
pub struct Adaptive {
    goal: Goal,
    /// Seconds that batches of a size took.
    times: BTreeMap<usize, f64>,
    size: usize,
    /// Seconds between arrivals.
    interval: Option<f64>,
    last_arrival: Option<Duration>,
    n_batches: u32,
}

impl Adaptive {
    pub fn new(goal: Goal) -> Adaptive {
        Adaptive {
            goal,
            times: BTreeMap::new(),
            size: 1,
            interval: None,
            last_arrival: None,
            n_batches: 0,
        }
    }

    /// The most rows that a batch should have.
    pub fn batch_size(&self) -> usize {
        self.size
    }

    /// How long the first input of a batch should wait for others: as long as they take to come, and half of what the
    /// target leaves at most.
    pub fn max_delay(&self) -> Duration {
        let (Some(interval), Some(time)) = (self.interval, self.estimate(self.size)) else {
            return Duration::ZERO;
        };
        let to_fill = interval * (self.size - 1) as f64;
        let spare = (self.target() - time) / 2.0;
        Duration::from_secs_f64(to_fill.min(spare).max(0.0))
    }

    pub fn arrived(&mut self, now: Duration) {
        if let Some(last) = self.last_arrival {
            let elapsed = now.saturating_sub(last).as_secs_f64();
            self.interval = Some(blend(self.interval, elapsed));
        }
        self.last_arrival = Some(now);
    }

    /// A batch of `n_rows` took `elapsed`.
    pub fn ran(&mut self, n_rows: usize, elapsed: Duration) {
        let known = self.times.get(&n_rows).copied();
        self.times
            .insert(n_rows, blend(known, elapsed.as_secs_f64()));
        self.n_batches += 1;
        if self.n_batches.is_multiple_of(RETRY_AFTER) {
            let size = self.size;
            self.times.retain(|&n, _| n <= size);
        }
        self.size = self.choose();
    }

    fn choose(&self) -> usize {
        let best = self.best();
        let next = (best * 2).min(self.goal.max_batch_size);
        if next == best || self.times.contains_key(&next) || !self.times.contains_key(&best) {
            return best;
        }
        let has_paid = match self.estimate(best / 2) {
            Some(half) if best > 1 => {
                throughput(best, self.times[&best]) > throughput(best / 2, half) * WORTHWHILE
            }
            _ => true,
        };
        // Until it is measured, twice the size is taken to need twice the time.
        let fits = self.times[&best] * 2.0 <= self.target();
        if has_paid && fits { next } else { best }
    }

    /// Among powers of two and the largest size that may be used.
    fn best(&self) -> usize {
        let mut best = (1, 0.0);
        for (&n, &time) in &self.times {
            let is_candidate = n.is_power_of_two() || n == self.goal.max_batch_size;
            if !is_candidate || n > self.goal.max_batch_size || (n > 1 && time > self.target()) {
                continue;
            }
            let rate = throughput(n, time);
            if rate > best.1 * WORTHWHILE {
                best = (n, rate);
            }
        }
        best.0
    }

    fn estimate(&self, n_rows: usize) -> Option<f64> {
        self.times.get(&n_rows).copied()
    }

    fn target(&self) -> f64 {
        self.goal.target_latency.as_secs_f64()
    }
}

fn throughput(n_rows: usize, time: f64) -> f64 {
    n_rows as f64 / time.max(1e-9)
}

fn blend(known: Option<f64>, measured: f64) -> f64 {
    known.map_or(measured, |known| known * KEPT + measured * (1.0 - KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);

    /// The size that it settles on where batches are always full and take `fixed + n * each` milliseconds.
    fn settles(fixed: f64, each: f64) -> usize {
        let mut adaptive = Adaptive::new(Goal {
            target_latency: TARGET,
            max_batch_size: 64,
        });
        for _ in 0..500 {
            let n = adaptive.batch_size();
            adaptive.ran(n, Duration::from_secs_f64((fixed + each * n as f64) / 1e3));
        }
        adaptive.batch_size()
    }

    #[test]
    fn it_grows_while_batching_pays_and_the_target_holds() {
        assert_eq!(settles(8.0, 0.1), 64);
        assert_eq!(settles(8.0, 2.0), 16); // 40 ms; 32 would take 72
        assert_eq!(settles(0.0, 5.0), 1); // joining gives nothing
        assert_eq!(settles(100.0, 1.0), 1); // no size keeps the target
    }

    #[test]
    fn it_shrinks_when_the_machine_gets_slow() {
        let mut adaptive = Adaptive::new(Goal {
            target_latency: TARGET,
            max_batch_size: 64,
        });
        let run = |adaptive: &mut Adaptive, each: f64| {
            for _ in 0..100 {
                let n = adaptive.batch_size();
                adaptive.ran(n, Duration::from_secs_f64((8.0 + each * n as f64) / 1e3));
            }
        };
        run(&mut adaptive, 1.0);
        assert_eq!(adaptive.batch_size(), 32);
        run(&mut adaptive, 4.0);
        assert_eq!(adaptive.batch_size(), 8);
    }

    #[test]
    fn it_waits_no_longer_than_others_take_to_come() {
        let mut adaptive = Adaptive::new(Goal {
            target_latency: TARGET,
            max_batch_size: 4,
        });
        let mut now = Duration::ZERO;
        for _ in 0..50 {
            now += Duration::from_millis(2);
            adaptive.arrived(now);
            let n = adaptive.batch_size();
            adaptive.ran(n, Duration::from_millis(10));
        }
        assert_eq!(adaptive.batch_size(), 4);
        let delay = adaptive.max_delay();
        assert!(
            (5.9..6.1).contains(&(delay.as_secs_f64() * 1e3)),
            "{delay:?}"
        );
        for _ in 0..50 {
            now += Duration::from_millis(500);
            adaptive.arrived(now);
        }
        assert_eq!(adaptive.max_delay(), Duration::from_millis(20));
    }
}
