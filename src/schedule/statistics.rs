//! The one vocabulary of statistics, for engines, streams and workers.

use std::collections::VecDeque;
use std::time::Duration;

/// Quantiles and rates are about this many of the latest answers.
const RECENT: usize = 1024;
/// Rates look back this far.
const RATE_SPAN: Duration = Duration::from_secs(5);
/// Buckets per doubling of a latency.
const SUB_BUCKETS: u32 = 4;
/// The first bucket ends at 2^4 µs, the last regular one at 2^26 µs, a good minute.
const FIRST_LOG2_US: u32 = 4;
const LAST_LOG2_US: u32 = 26;
const N_BUCKETS: usize = ((LAST_LOG2_US - FIRST_LOG2_US) * SUB_BUCKETS) as usize + 2;

/// How long answers took: exact for the latest, counted in buckets for all.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// When it was answered, and how long that took.
    recent: VecDeque<(Duration, Duration)>,
    buckets: [u64; N_BUCKETS],
    sum: Duration,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            recent: VecDeque::new(),
            buckets: [0; N_BUCKETS],
            sum: Duration::ZERO,
        }
    }
}

impl Latencies {
    pub fn record(&mut self, now: Duration, latency: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, latency));
        self.buckets[bucket(latency)] += 1;
        self.sum += latency;
    }

    /// Of the latest answers, by the nearest rank: the smallest latency that at least `parts` of them do not exceed.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N]) -> [Duration; N] {
        let mut sorted: Vec<Duration> = self.recent.iter().map(|&(_, latency)| latency).collect();
        sorted.sort_unstable();
        parts.map(|part| {
            let rank = (part * sorted.len() as f64).ceil() as usize;
            let at = rank.clamp(1, sorted.len().max(1)) - 1;
            sorted.get(at).copied().unwrap_or_default()
        })
    }

    /// Answers per second, over the latest five seconds.
    pub fn rate(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(RATE_SPAN);
        let first = self.recent.partition_point(|&(at, _)| at < since);
        let mut within = self.recent.range(first..);
        let Some(&(oldest, _)) = within.next() else {
            return 0.0;
        };
        // The oldest one opens the span in which the others came.
        let elapsed = now.saturating_sub(oldest).as_secs_f64();
        if elapsed > 0.0 {
            within.len() as f64 / elapsed
        } else {
            0.0
        }
    }

    /// Upper ends of the buckets; the last bucket has none.
    pub fn bounds() -> impl Iterator<Item = Duration> {
        (0..N_BUCKETS as u32 - 1).map(|at| {
            let log2_us = FIRST_LOG2_US + at / SUB_BUCKETS;
            let within = f64::from(at % SUB_BUCKETS) / f64::from(SUB_BUCKETS);
            Duration::from_secs_f64(f64::from(1u32 << log2_us) * (1.0 + within) / 1e6)
        })
    }

    /// How many latencies ended in each bucket, of all that were ever recorded.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Of all that were ever recorded.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// The bucket whose upper end is the first that `latency` does not exceed.
fn bucket(latency: Duration) -> usize {
    let us = latency.as_secs_f64() * 1e6;
    let first = f64::from(1u32 << FIRST_LOG2_US);
    if us <= first {
        return 0;
    }
    let log2 = us.log2().floor().min(f64::from(LAST_LOG2_US));
    let within = us / log2.exp2() - 1.0;
    let at = (log2 - f64::from(FIRST_LOG2_US)) * f64::from(SUB_BUCKETS)
        + (within * f64::from(SUB_BUCKETS)).ceil();
    (at as usize).min(N_BUCKETS - 1)
}

/// What is counted; each name is the one that users see.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    pub total_inputs: u64,
    pub total_outputs: u64,
    pub total_batches: u64,
    pub total_errors: u64,
    /// Taken back by their senders.
    pub total_cancelled: u64,
    /// Not computed, because newer ones came or there was no room.
    pub total_dropped: u64,
    pub local_inputs: u64,
    pub remote_inputs: u64,
    pub latencies: Latencies,
    /// Inputs in all batches that ran.
    batched: u64,
    inference: Duration,
}

impl Statistics {
    /// A batch of this many inputs ran for this long.
    pub fn ran(&mut self, n_inputs: usize, elapsed: Duration) {
        self.total_batches += 1;
        self.batched += n_inputs as u64;
        self.inference += elapsed;
    }

    /// An input got its outputs.
    pub fn answered(&mut self, now: Duration, latency: Duration) {
        self.total_outputs += 1;
        self.latencies.record(now, latency);
    }

    pub fn snapshot(&self, now: Duration, queue_depth: usize) -> Snapshot {
        let per_batch = |sum: f64| {
            if self.total_batches == 0 {
                0.0
            } else {
                sum / self.total_batches as f64
            }
        };
        let [p50, p95, p99] = self.latencies.quantiles([0.5, 0.95, 0.99]);
        Snapshot {
            total_inputs: self.total_inputs,
            total_outputs: self.total_outputs,
            total_batches: self.total_batches,
            total_errors: self.total_errors,
            total_cancelled: self.total_cancelled,
            total_dropped: self.total_dropped,
            local_inputs: self.local_inputs,
            remote_inputs: self.remote_inputs,
            queue_depth: queue_depth as u64,
            avg_batch_size: per_batch(self.batched as f64),
            avg_inference_time_ms: per_batch(ms(self.inference)),
            p50_latency_ms: ms(p50),
            p95_latency_ms: ms(p95),
            p99_latency_ms: ms(p99),
            throughput_per_s: self.latencies.rate(now),
        }
    }
}

/// [`Statistics`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub total_inputs: u64,
    pub total_outputs: u64,
    pub total_batches: u64,
    pub total_errors: u64,
    pub total_cancelled: u64,
    pub total_dropped: u64,
    pub local_inputs: u64,
    pub remote_inputs: u64,
    pub queue_depth: u64,
    pub avg_batch_size: f64,
    /// Per batch.
    pub avg_inference_time_ms: f64,
    /// Of the latest 1,024 answers, from the arrival of an input to its outputs; so are the next two.
    pub p50_latency_ms: f64,
    pub p95_latency_ms: f64,
    pub p99_latency_ms: f64,
    /// Outputs per second over the latest five seconds.
    pub throughput_per_s: f64,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_first_bucket_that_ends_after_it() {
        let bounds: Vec<Duration> = Latencies::bounds().collect();
        assert_eq!(bounds.len(), N_BUCKETS - 1);
        for us in (1..200_000).step_by(7).chain([100_000_000, 1 << 30]) {
            let latency = Duration::from_micros(us);
            let expected = bounds.iter().position(|&bound| latency <= bound);
            assert_eq!(
                bucket(latency),
                expected.unwrap_or(N_BUCKETS - 1),
                "{us} µs"
            );
        }
    }

    #[test]
    fn quantiles_are_of_the_latest_answers() {
        let mut latencies = Latencies::default();
        for n in 0..5000u64 {
            latencies.record(Duration::from_millis(n), Duration::from_millis(n));
        }
        let [least, middle, most] = latencies.quantiles([0.0, 0.5, 1.0]);
        assert_eq!(least, Duration::from_millis(5000 - 1024));
        assert_eq!(middle, Duration::from_millis(5000 - 513));
        assert_eq!(most, Duration::from_millis(4999));
        assert_eq!(latencies.buckets().iter().sum::<u64>(), 5000);
    }

    #[test]
    fn a_rate_forgets_what_is_long_ago() {
        let mut latencies = Latencies::default();
        for n in 0..=50u64 {
            latencies.record(Duration::from_millis(n * 20), Duration::ZERO);
        }
        assert_eq!(latencies.rate(Duration::from_secs(1)), 50.0);
        assert_eq!(latencies.rate(Duration::from_secs(60)), 0.0);
    }

    #[test]
    fn averages_of_nothing_are_zero() {
        let snapshot = Statistics::default().snapshot(Duration::ZERO, 0);
        assert_eq!(snapshot, Snapshot::default());
    }
}
