//! The worker's memory, as it tells it to Prometheus.

use std::time::Duration;

use sentinel_inference::error::Result;

use super::endpoint::Endpoint;

/// As Prometheus' own clients call it.
const NAME: &str = "process_resident_memory_bytes";
/// Memory is flat when it grows by less than this part of itself in what was looked at.
const FLAT_PART: f64 = 0.02;

/// # Errors
/// `WORKER_UNAVAILABLE`, also where the worker does not tell.
pub async fn resident_bytes(endpoint: &Endpoint) -> Result<f64> {
    let text = endpoint.get("/metrics").await?;
    let found = metric(&String::from_utf8_lossy(&text), NAME);
    found.ok_or_else(|| endpoint.unavailable("/metrics does not tell the memory"))
}

/// The value of the first line with this name.
fn metric(text: &str, wanted: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let name = name.split('{').next()?;
        (name == wanted).then(|| value.parse().ok())?
    })
}

/// How memory went in the second half of some samples, when everything has grown to its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// By least squares.
    pub bytes_per_s: f64,
    pub is_flat: bool,
}

pub fn trend(samples: &[(Duration, f64)]) -> Option<Trend> {
    let half = &samples[samples.len() / 2..];
    let n = half.len() as f64;
    let mean = |of: &dyn Fn(&(Duration, f64)) -> f64| half.iter().map(of).sum::<f64>() / n;
    let mean_s = mean(&|(at, _)| at.as_secs_f64());
    let mean_bytes = mean(&|(_, bytes)| *bytes);
    let spread = mean(&|(at, _)| (at.as_secs_f64() - mean_s).powi(2));
    if spread == 0.0 || half.len() < 3 {
        return None;
    }
    let joint = mean(&|(at, bytes)| (at.as_secs_f64() - mean_s) * (bytes - mean_bytes));
    let bytes_per_s = joint / spread;
    let (first, last) = (half.first()?, half.last()?);
    let grown = bytes_per_s * (last.0 - first.0).as_secs_f64();
    Some(Trend {
        bytes_per_s,
        is_flat: grown < FLAT_PART * mean_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP process_resident_memory_bytes of it\n\
                    process_resident_memory_bytes_more 1\nprocess_resident_memory_bytes{a=\"b c\"} 2.5e6\n";
        assert_eq!(metric(text, NAME), Some(2.5e6));
        assert_eq!(metric("", NAME), None);
    }

    fn samples(bytes: impl Fn(u64) -> f64) -> Vec<(Duration, f64)> {
        (0..60)
            .map(|at| (Duration::from_secs(at * 10), bytes(at)))
            .collect()
    }

    #[test]
    fn memory_that_grows_at_first_is_flat() {
        let trend = trend(&samples(|at| 1e8 + at.min(20) as f64 * 1e6)).unwrap();
        assert!(trend.is_flat && trend.bytes_per_s.abs() < 1.0, "{trend:?}");
    }

    #[test]
    fn memory_that_leaks_is_not_flat() {
        let trend = trend(&samples(|at| 1e8 + at as f64 * 1e6)).unwrap();
        assert!(!trend.is_flat, "{trend:?}");
        assert!((trend.bytes_per_s - 1e5).abs() < 1.0, "{trend:?}");
    }

    #[test]
    fn a_few_samples_are_no_trend() {
        assert_eq!(trend(&[]), None);
        assert_eq!(trend(&samples(|_| 1.0)[..4]), None);
    }
}
