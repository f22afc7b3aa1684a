//! Whether it pays to wait for more inputs, and for how many: those that join save a run, and a lane stands still until then.
//!
//! Every batch that may wait tells what came until `max_delay` after it could start, in its wait or while it ran already.
//! Inputs that come after its end tell nothing: a client that sends one input after the other would not have sent the next.

use std::time::Duration;

/// How much of the old estimate stays when a new one comes in.
const KEPT: f64 = 0.8;
/// The same of times, which are to outlast a pause of the batches that have them.
const KEPT_TIME: f64 = 0.95;
/// A time counts as so many times the old estimate at most.
const LARGEST_STEP: f64 = 1.25;
/// After so many batches of one size, one does not wait: what waiting saves shows only beside another size.
const ALIKE: u32 = 16;

/// What waiting brings.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Seconds that waiting saves, less those that it takes: a decayed average.
    balance: f64,
    /// The rows that came together last.
    rows: usize,
    /// Batches by their rows, the fewest first, and the seconds that they take.
    times: Vec<(usize, f64)>,
    /// Batches since the latest that did not wait, while all had one size.
    n_alike: u32,
}

/// What came together around a batch.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// When the batch could start, and when it could wait no longer.
    from: Duration,
    until: Duration,
    n_first: usize,
    n_joined: usize,
    /// When the last one joined.
    last: Duration,
    rows: usize,
    max_rows: usize,
    /// It waited as long as it could.
    is_in_vain: bool,
}

impl Waiting {
    /// The first batch waits, as nothing is known.
    pub fn new() -> Waiting {
        Waiting {
            balance: f64::MIN_POSITIVE,
            rows: usize::MAX,
            times: Vec::new(),
            n_alike: 0,
        }
    }

    /// So many rows wait for no others.
    pub fn enough(&self) -> usize {
        if self.balance > 0.0 && self.n_alike < ALIKE {
            self.rows
        } else {
            1
        }
    }

    /// A batch of so many rows took `elapsed`.
    pub fn ran(&mut self, rows: usize, elapsed: Duration, trial: Option<&Trial>) {
        let seconds = elapsed.as_secs_f64();
        let at = self.times.partition_point(|&(fewer, _)| fewer < rows);
        if self.times.get(at).is_none_or(|&(found, _)| found != rows) {
            self.times.insert(at, (rows, seconds));
        }
        let (_, known) = &mut self.times[at];
        // What is slow once says little: the first run pays for what the others find made.
        let slower = *known * KEPT_TIME + seconds.min(*known * LARGEST_STEP) * (1.0 - KEPT_TIME);
        *known = slower.min(seconds);
        self.n_alike = match self.times.len() {
            1 if self.n_alike < ALIKE => self.n_alike + 1,
            _ => 0,
        };
        if let Some(trial) = trial {
            self.learn(trial, seconds);
        }
    }

    fn learn(&mut self, trial: &Trial, seconds: f64) {
        self.rows = trial.rows;
        let (n_first, n_joined) = (trial.n_first, trial.n_joined);
        if n_joined == 0 && !trial.is_in_vain {
            return;
        }
        // Those that joined would have run together too, so one run is saved, but for what grows with the rows.
        let saved = match self.fixed() {
            _ if n_joined == 0 => 0.0,
            Some(fixed) => fixed.min(seconds),
            // The fewer joined, the less is believed to be saved.
            None => seconds * n_joined as f64 / (n_first + n_joined) as f64,
        };
        let end = if trial.is_in_vain {
            trial.until
        } else {
            trial.last
        };
        let waited = (end - trial.from).as_secs_f64();
        let longest = (trial.until - trial.from).as_secs_f64();
        // `clamp` would bring the formatting of floats into a small module.
        let balance = (saved - waited).max(-longest).min(longest);
        self.balance = self.balance * KEPT + balance * (1.0 - KEPT);
    }

    /// What a run takes however few rows it has: where a line through its times begins.
    fn fixed(&self) -> Option<f64> {
        let &(few, least) = self.times.first()?;
        let &(many, most) = self.times.last()?;
        let each = (most - least) / (many - few) as f64;
        (many > few).then(|| (least - each * few as f64).max(0.0).min(least))
    }
}

impl Trial {
    /// Of a batch that could start at `from`, with these inputs, and wait until then for more.
    pub fn new(
        from: Duration,
        until: Duration,
        n_first: usize,
        rows: usize,
        max_rows: usize,
    ) -> Trial {
        Trial {
            from,
            until,
            n_first,
            n_joined: 0,
            last: from,
            rows,
            max_rows,
            is_in_vain: false,
        }
    }

    /// Another input has come, before the batch started or while it runs.
    pub fn arrived(&mut self, now: Duration, rows: usize) {
        if now > self.until {
            return;
        }
        if self.rows + rows > self.max_rows {
            self.max_rows = self.rows;
            return;
        }
        self.rows += rows;
        self.n_joined += 1;
        self.last = self.last.max(now);
    }

    /// It has waited for rows that did not come.
    pub fn waited_in_vain(&mut self) {
        self.is_in_vain = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// One input that could start at 10 ms, and others that came at these moments.
    fn trial(others_ms: &[u64]) -> Trial {
        let mut trial = Trial::new(ms(10), ms(15), 1, 1, 4);
        others_ms.iter().for_each(|&at| trial.arrived(ms(at), 1));
        trial
    }

    #[test]
    fn it_pays_when_others_join_sooner_than_a_run_takes() {
        for (others_ms, elapsed, enough) in [
            (&[][..], ms(100), 1),
            (&[12], ms(5), 2),
            (&[12], ms(3), 1),
            (&[11, 13], ms(5), 3),
            (&[11, 16], ms(5), 2),
            (&[11, 11, 11, 11, 11], ms(2), 4),
        ] {
            let mut waiting = Waiting::new();
            waiting.ran(1, elapsed, Some(&trial(others_ms)));
            assert_eq!(waiting.enough(), enough, "{others_ms:?}, {elapsed:?}");
        }
    }

    #[test]
    fn it_does_not_pay_where_each_row_takes_its_own_time() {
        for (both, enough) in [(ms(11), 2), (ms(20), 1)] {
            let mut waiting = Waiting::new();
            waiting.ran(1, ms(10), None);
            waiting.ran(2, both, Some(&trial(&[12])));
            assert_eq!(waiting.enough(), enough, "{both:?}");
        }
    }

    #[test]
    fn the_first_batch_waits() {
        assert_eq!(Waiting::new().enough(), usize::MAX);
    }

    #[test]
    fn one_wait_for_nobody_is_the_last() {
        let mut waiting = Waiting::new();
        (0..100).for_each(|_| waiting.ran(3, ms(100), Some(&trial(&[11, 12]))));
        let mut nobody = trial(&[]);
        nobody.waited_in_vain();
        waiting.ran(1, ms(100), Some(&nobody));
        assert_eq!(waiting.enough(), 1);
    }

    #[test]
    fn an_input_that_does_not_fit_ends_what_may_join() {
        let mut trial = trial(&[11]);
        trial.arrived(ms(12), 3);
        trial.arrived(ms(13), 1);
        assert_eq!((trial.n_joined, trial.rows), (1, 2));
    }
}
