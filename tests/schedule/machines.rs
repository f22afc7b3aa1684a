//! Batches whose size is found by measuring, on machines that are simulated: after some time they are as fast as the
//! best size under the target would be, within 5 %.

use std::time::Duration;

use proptest::prelude::*;
use sentinel_inference::schedule::{Batcher, Goal, Policy, Request, Step};

const TARGET_MS: f64 = 50.0;
const MAX_SIZE: usize = 64;

/// A batch of `n` rows takes `fixed + n * each` milliseconds, more or less.
#[derive(Clone, Copy, Debug)]
struct Machine {
    fixed_ms: f64,
    each_ms: f64,
    /// 0.1: up to 10 % more or less.
    jitter: f64,
    /// The first batch of each size takes so many times as long.
    cold: f64,
}

impl Machine {
    fn mean_ms(&self, n_rows: usize) -> f64 {
        self.fixed_ms + self.each_ms * n_rows as f64
    }

    /// Rows per millisecond with full batches of the best size.
    fn best_rate(&self) -> f64 {
        let sizes = (0..).map(|log2| 1 << log2).take_while(|&n| n <= MAX_SIZE);
        // What jitter may push over the target is no size to count on.
        let keeps_target =
            |&n: &usize| n == 1 || self.mean_ms(n) * (1.0 + self.jitter) <= TARGET_MS;
        let rates = sizes
            .filter(keeps_target)
            .map(|n| n as f64 / self.mean_ms(n));
        rates.fold(0.0, f64::max)
    }
}

/// An adaptive batcher with more inputs than it can run, on one lane.
struct Saturated {
    batcher: Batcher,
    now: Duration,
    next_key: u64,
    tried: Vec<usize>,
    random: u64,
    rows: usize,
}

impl Saturated {
    fn new(rows: usize, seed: u64) -> Saturated {
        let mut batcher = Batcher::new(Policy {
            batch_size: MAX_SIZE,
            max_delay: Duration::ZERO,
            learns_to_wait: false,
            max_queue: 4 * MAX_SIZE,
            max_attempts: 2,
            goal: Some(Goal {
                target_latency: Duration::from_secs_f64(TARGET_MS / 1e3),
                max_batch_size: MAX_SIZE,
            }),
        });
        batcher.open_lane(0, 1);
        Saturated {
            batcher,
            now: Duration::ZERO,
            next_key: 0,
            tried: Vec::new(),
            random: seed | 1,
            rows,
        }
    }

    /// The rate of the last quarter, in rows per millisecond; cold batches are none of what it settled on.
    fn run(&mut self, machine: Machine, n_batches: usize) -> f64 {
        let from = n_batches - n_batches / 4;
        let (mut rows, mut spent_ms) = (0, 0.0);
        for at in 0..n_batches {
            let n_tried = self.tried.len();
            let (n, elapsed_ms) = self.step(machine);
            if at >= from && self.tried.len() == n_tried {
                rows += n;
                spent_ms += elapsed_ms;
            }
        }
        rows as f64 / spent_ms
    }

    fn step(&mut self, machine: Machine) -> (usize, f64) {
        loop {
            let request = Request {
                key: self.next_key,
                group: Some(0),
                rows: self.rows,
                priority: 0,
                deadline: None,
            };
            if self.batcher.submit(self.now, request).is_err() {
                break;
            }
            self.next_key += 1;
        }
        let Some(Step::Run { batch, keys, .. }) = self.batcher.poll(self.now) else {
            panic!("a full queue gives a batch");
        };
        let n = keys.len() * self.rows;
        let is_cold = !self.tried.contains(&n);
        if is_cold {
            self.tried.push(n);
        }
        let chance = 1.0 + machine.jitter * self.chance();
        let elapsed_ms = machine.mean_ms(n) * chance * if is_cold { machine.cold } else { 1.0 };
        self.now += Duration::from_secs_f64(elapsed_ms / 1e3);
        assert_eq!(self.batcher.complete(self.now, batch), keys);
        (n, elapsed_ms)
    }

    /// From -1 to 1.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[track_caller]
fn assert_fast(rate: f64, machine: Machine) {
    let best = machine.best_rate();
    assert!(
        rate >= 0.95 * best,
        "{rate} rows/ms, the best is {best}: {machine:?}"
    );
}

fn machines() -> impl Strategy<Value = Machine> {
    let cost_ms = || (-2.0..1.6f64).prop_map(|log10| 10f64.powf(log10));
    (cost_ms(), cost_ms(), 0.0..0.1f64, 1.0..20.0f64).prop_map(
        |(fixed_ms, each_ms, jitter, cold)| Machine {
            fixed_ms,
            each_ms,
            jitter,
            cold,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_machine_is_used_well(machine in machines(), seed in any::<u64>()) {
        assert_fast(Saturated::new(1, seed).run(machine, 600), machine);
    }

    #[test]
    fn a_machine_that_gets_slow_and_fast_again_is_used_well(machine in machines(), factor in 1.5..6.0f64, seed in any::<u64>()) {
        let slow = Machine { fixed_ms: machine.fixed_ms * factor, each_ms: machine.each_ms * factor, ..machine };
        let mut saturated = Saturated::new(1, seed);
        for machine in [machine, slow, machine] {
            assert_fast(saturated.run(machine, 800), machine);
        }
    }
}

#[test]
fn inputs_of_several_rows_are_joined_too() {
    let machine = Machine {
        fixed_ms: 8.0,
        each_ms: 0.1,
        jitter: 0.0,
        cold: 1.0,
    };
    let mut saturated = Saturated::new(3, 1);
    let rate = saturated.run(machine, 500);
    // 21 inputs of 3 rows are 63.
    assert_eq!(saturated.step(machine).0, 63);
    assert_fast(rate, machine);
}
