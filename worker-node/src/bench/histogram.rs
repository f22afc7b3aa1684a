//! Durations in buckets whose width grows with them, so that hours of requests take the memory of one second.

use std::time::Duration;

/// Buckets per doubling: a quantile is wrong by less than one part in 128.
const LOG2_SUB_BUCKETS: u32 = 6;
const SUB_BUCKETS: usize = 1 << LOG2_SUB_BUCKETS;
const N_BUCKETS: usize = (64 - LOG2_SUB_BUCKETS as usize + 1) * SUB_BUCKETS;

#[derive(Clone, Debug)]
pub struct Histogram {
    /// As many as the longest duration needs.
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: Vec::new(),
            count: 0,
            sum: Duration::ZERO,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let at = bucket(duration);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.sum += duration;
        self.max = self.max.max(duration);
    }

    pub fn add(&mut self, other: &Histogram) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> Duration {
        self.max
    }

    /// By the nearest rank: the smallest duration that at least `part` of them do not exceed.
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = ((part * self.count as f64).ceil() as u64).max(1);
        let mut n_below = 0;
        for (at, n) in self.buckets.iter().enumerate() {
            n_below += n;
            if n_below >= rank {
                return middle(at).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(duration: Duration) -> usize {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let Some(octave) = (ns >> LOG2_SUB_BUCKETS).checked_ilog2() else {
        return ns as usize;
    };
    let within = (ns >> octave) as usize - SUB_BUCKETS;
    let at = (octave as usize + 1) * SUB_BUCKETS + within;
    at.min(N_BUCKETS - 1)
}

fn middle(bucket: usize) -> Duration {
    let (octave, within) = (bucket / SUB_BUCKETS, bucket % SUB_BUCKETS);
    if octave == 0 {
        return Duration::from_nanos(within as u64);
    }
    let width = 1_u64 << (octave - 1);
    let first = (SUB_BUCKETS + within) as u64 * width;
    Duration::from_nanos(first + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_near_the_middle_of_its_bucket() {
        let mut ns = 1_u64;
        while ns < 1 << 45 {
            let middle = middle(bucket(Duration::from_nanos(ns))).as_nanos() as f64;
            assert!(
                (middle / ns as f64 - 1.0).abs() < 1.0 / 120.0,
                "{ns} {middle}"
            );
            ns += 1 + ns / 37;
        }
        assert_eq!(bucket(Duration::MAX), N_BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_by_the_nearest_rank() {
        let mut first = Histogram::default();
        let mut second = Histogram::default();
        for ms in 1..=50 {
            first.record(Duration::from_millis(ms));
            second.record(Duration::from_millis(50 + ms));
        }
        first.add(&second);
        assert_eq!(first.count(), 100);
        assert_eq!(first.max(), Duration::from_millis(100));
        for (part, expected_ms) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let ms = first.quantile(part).as_secs_f64() * 1e3;
            assert!(
                (ms / expected_ms - 1.0).abs() < 0.01,
                "{part}: {ms} {expected_ms}"
            );
        }
    }

    #[test]
    fn nothing_has_no_quantiles() {
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
