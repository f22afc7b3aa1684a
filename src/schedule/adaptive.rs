//! The size and the delay of batches, from measured times: the best throughput under a bound on latency.
//!
//! `time(n)` is what full batches of size `n` took lately. Of the sizes that were tried, the best is the one with the
//! most rows per second whose `time(n)` keeps the target; a size twice as large is tried while doubling has paid and
//! is foreseen to keep the target.

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
/// One slow batch says little: a time counts as so many times the old estimate at most.
const LARGEST_STEP: f64 = 1.25;
/// A larger size has to be this much better to be worth its latency.
const WORTHWHILE: f64 = 1.02;
/// So many batches decide about a size. The first one may pay for what the others find made.
const TRIALS: u32 = 3;
/// After so many batches every size that was given up may be tried again: machines get busy and idle again.
const RETRY_AFTER: u32 = 200;

/// What full batches of one size do.
#[derive(Clone, Copy, Debug)]
struct Measured {
    n_runs: u32,
    rows: f64,
    seconds: f64,
}

/// Finds the size and the delay of batches.
#[derive(Clone, Debug)]
pub struct Adaptive {
    goal: Goal,
    /// By size.
    measured: BTreeMap<usize, Measured>,
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
            measured: BTreeMap::new(),
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
        let (Some(interval), Some(full)) = (self.interval, self.measured.get(&self.size)) else {
            return Duration::ZERO;
        };
        let to_fill = interval * (self.size - 1) as f64;
        let spare = (self.target() - full.seconds) / 2.0;
        Duration::from_secs_f64(to_fill.min(spare).max(0.0))
    }

    pub fn arrived(&mut self, now: Duration) {
        if let Some(last) = self.last_arrival {
            let elapsed = now.saturating_sub(last).as_secs_f64();
            self.interval = Some(self.interval.map_or(elapsed, |known| blend(known, elapsed)));
        }
        self.last_arrival = Some(now);
    }

    /// A batch of `n_rows` took `elapsed`; it is full where no other input that waited fitted in.
    pub fn ran(&mut self, n_rows: usize, is_full: bool, elapsed: Duration) {
        self.n_batches += 1;
        // Inputs of several rows may leave a full batch below the size that made it.
        let size = n_rows.next_power_of_two().min(self.goal.max_batch_size);
        if is_full || size == n_rows {
            let (rows, seconds) = (n_rows as f64, elapsed.as_secs_f64());
            self.measured
                .entry(size)
                .and_modify(|known| known.add(rows, seconds))
                .or_insert(Measured {
                    n_runs: 1,
                    rows,
                    seconds,
                });
        }
        if self.n_batches.is_multiple_of(RETRY_AFTER) {
            let size = self.size;
            self.measured.retain(|&n, _| n <= size);
        }
        self.size = self.choose();
    }

    fn choose(&self) -> usize {
        let best = self.best();
        let next = (best * 2).min(self.goal.max_batch_size);
        let Some(known) = self.settled(best) else {
            return best;
        };
        if next == best || self.settled(next).is_some() {
            return best;
        }
        let half = self.settled(best / 2);
        let has_paid = half.is_none_or(|half| known.rate() > half.rate() * WORTHWHILE);
        // A line through what is known; with one size known, it may be that more rows cost nothing.
        let growth = half.map_or(0.0, |half| {
            (known.seconds - half.seconds) / (best - best / 2) as f64
        });
        let foreseen = known.seconds + growth.max(0.0) * (next - best) as f64;
        let fits = foreseen <= self.target();
        if has_paid && fits { next } else { best }
    }

    /// Among the sizes about which enough is known and which keep the target.
    fn best(&self) -> usize {
        let mut best = (1, 0.0);
        for (&n, known) in &self.measured {
            if known.n_runs < TRIALS || (n > 1 && known.seconds > self.target()) {
                continue;
            }
            if known.rate() > best.1 * WORTHWHILE {
                best = (n, known.rate());
            }
        }
        best.0
    }

    fn settled(&self, size: usize) -> Option<&Measured> {
        self.measured
            .get(&size)
            .filter(|known| known.n_runs >= TRIALS)
    }

    fn target(&self) -> f64 {
        self.goal.target_latency.as_secs_f64()
    }
}

impl Measured {
    /// The fastest of the first ones, then a blend.
    fn add(&mut self, rows: f64, seconds: f64) {
        self.n_runs += 1;
        if self.n_runs > TRIALS {
            self.rows = blend(self.rows, rows);
            self.seconds = blend(self.seconds, seconds.min(self.seconds * LARGEST_STEP));
        } else if rows / seconds > self.rate() {
            (self.rows, self.seconds) = (rows, seconds);
        }
    }

    /// Rows per second.
    fn rate(&self) -> f64 {
        self.rows / self.seconds.max(1e-9)
    }
}

fn blend(known: f64, measured: f64) -> f64 {
    known * KEPT + measured * (1.0 - KEPT)
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
            adaptive.ran(
                n,
                true,
                Duration::from_secs_f64((fixed + each * n as f64) / 1e3),
            );
        }
        adaptive.batch_size()
    }

    #[test]
    fn it_grows_while_batching_pays_and_the_target_holds() {
        assert_eq!(settles(8.0, 0.1), 64);
        assert_eq!(settles(30.0, 0.5), 32); // 46 ms, hardly more than one alone
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
                adaptive.ran(
                    n,
                    true,
                    Duration::from_secs_f64((8.0 + each * n as f64) / 1e3),
                );
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
            adaptive.ran(n, true, Duration::from_millis(10));
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
