//! Waiting that learns, held against waiting always and never: clients that send one input after the other, and clients that
//! do not wait for their outputs, on machines of every kind.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sentinel_inference::schedule::{Batcher, Policy, Request, Step};

use crate::ms;

const MAX_DELAY: Duration = ms(2);

const LEARNING: Policy = Policy {
    batch_size: 8,
    max_delay: MAX_DELAY,
    learns_to_wait: true,
    max_queue: 64,
    max_attempts: 2,
    goal: None,
};

const ALWAYS: Policy = Policy {
    learns_to_wait: false,
    ..LEARNING
};

const NEVER: Policy = Policy {
    max_delay: Duration::ZERO,
    ..ALWAYS
};

/// A batch of `n` takes `fixed + n * each` microseconds.
#[derive(Clone, Copy, Debug)]
struct Machine {
    fixed_us: u64,
    each_us: u64,
}

#[derive(Clone, Copy, Debug)]
enum Clients {
    /// So many, who think for 20 to 120 microseconds before each input.
    Closed(usize),
    /// One input after so many microseconds on average.
    Open(u64),
}

/// What came of the last inputs.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    per_second: f64,
    mean_batch: f64,
    p50: Duration,
    /// The part of the batches that waited while a lane was free.
    waited: f64,
    longest_wait: Duration,
}

/// One lane, and a clock that jumps from event to event.
struct Simulation {
    batcher: Batcher,
    now: Duration,
    /// When inputs come, and when the batch that runs ends.
    arrivals: BTreeMap<(Duration, u64), ()>,
    running: Option<(Duration, u64)>,
    freed: Duration,
    arrived: BTreeMap<u64, Duration>,
    next_key: u64,
    random: u64,
    latencies: Vec<Duration>,
    batches: Vec<(usize, Duration)>,
}

impl Simulation {
    fn new(policy: Policy, seed: u64) -> Simulation {
        let mut batcher = Batcher::new(policy);
        batcher.open_lane(0, 1);
        Simulation {
            batcher,
            now: Duration::ZERO,
            arrivals: BTreeMap::new(),
            running: None,
            freed: Duration::ZERO,
            arrived: BTreeMap::new(),
            next_key: 0,
            random: seed | 1,
            latencies: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// The next inputs, of which the last half counts.
    fn run(&mut self, machine: Machine, clients: Clients, n_inputs: usize) -> Outcome {
        self.arrivals.clear();
        let n_clients = match clients {
            Clients::Closed(n) => n,
            Clients::Open(_) => 1,
        };
        (0..n_clients).for_each(|_| self.think(clients));
        let end = self.latencies.len() + n_inputs;
        let half = self.latencies.len() + n_inputs / 2;
        let (mut from, mut n_batches) = (self.now, self.batches.len());
        while self.latencies.len() < end {
            self.step(machine, clients);
            if self.latencies.len() < half {
                (from, n_batches) = (self.now, self.batches.len());
            }
        }
        let elapsed = (self.now - from).as_secs_f64();
        let mut latencies = self.latencies[half..].to_vec();
        latencies.sort_unstable();
        let batches = &self.batches[n_batches..];
        let n_waited = batches.iter().filter(|(_, wait)| !wait.is_zero());
        Outcome {
            per_second: latencies.len() as f64 / elapsed,
            mean_batch: latencies.len() as f64 / batches.len() as f64,
            p50: latencies[latencies.len() / 2],
            waited: n_waited.count() as f64 / batches.len() as f64,
            longest_wait: batches
                .iter()
                .map(|(_, wait)| *wait)
                .max()
                .unwrap_or_default(),
        }
    }

    fn step(&mut self, machine: Machine, clients: Clients) {
        let arrival = self.arrivals.first_key_value().map(|((at, _), ())| *at);
        let end = self.running.map(|(end, _)| end);
        let next = [arrival, end, self.batcher.wake()].into_iter().flatten();
        self.now = next.min().expect("clients send on").max(self.now);
        if let Some((end, batch)) = self.running
            && end <= self.now
        {
            self.running = None;
            self.freed = self.now;
            for key in self.batcher.complete(self.now, batch) {
                let arrived = self.arrived.remove(&key).expect("it came");
                self.latencies.push(self.now - arrived);
                if matches!(clients, Clients::Closed(_)) {
                    self.think(clients);
                }
            }
        }
        while let Some(entry) = self.arrivals.first_entry()
            && entry.key().0 <= self.now
        {
            entry.remove();
            self.submit();
            if matches!(clients, Clients::Open(_)) {
                self.think(clients);
            }
        }
        if let Some(Step::Run { batch, keys, .. }) = self.batcher.poll(self.now) {
            let oldest = keys
                .iter()
                .map(|key| self.arrived[key])
                .min()
                .expect("keys");
            self.batches
                .push((keys.len(), self.now - oldest.max(self.freed)));
            let us = machine.fixed_us + machine.each_us * keys.len() as u64;
            self.running = Some((self.now + Duration::from_micros(us), batch));
        }
    }

    fn submit(&mut self) {
        let request = Request {
            key: self.next_key,
            group: Some(0),
            rows: 1,
            priority: 0,
            deadline: None,
        };
        // Those for whom the queue has no room are lost.
        if self.batcher.submit(self.now, request).is_ok() {
            self.arrived.insert(self.next_key, self.now);
            self.next_key += 1;
        }
    }

    /// Another input comes after a while.
    fn think(&mut self, clients: Clients) {
        let chance = self.chance();
        let us = match clients {
            Clients::Closed(_) => 20.0 + 100.0 * chance,
            Clients::Open(mean_us) => -(1.0 - chance).ln() * mean_us as f64,
        };
        let at = self.now + Duration::from_secs_f64(us / 1e6);
        self.arrivals.insert((at, self.random), ());
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn run(policy: Policy, machine: Machine, clients: Clients, seed: u64) -> Outcome {
    Simulation::new(policy, seed).run(machine, clients, 2000)
}

fn machines() -> impl Strategy<Value = Machine> {
    let cost_us = || (0.0..4.3f64).prop_map(|log10| 10f64.powf(log10) as u64);
    (cost_us(), cost_us()).prop_map(|(fixed_us, each_us)| Machine { fixed_us, each_us })
}

fn clients() -> impl Strategy<Value = Clients> {
    let closed = (1..40usize).prop_map(Clients::Closed);
    let open = (2.5..4.5f64).prop_map(|log10| Clients::Open(10f64.powf(log10) as u64));
    prop_oneof![closed, open]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lone_client_waits_for_nobody(machine in machines(), seed in any::<u64>()) {
        let outcome = run(LEARNING, machine, Clients::Closed(1), seed);
        prop_assert!(outcome.waited < 0.05, "{outcome:?}");
    }

    #[test]
    fn nobody_waits_longer_than_allowed(machine in machines(), clients in clients(), seed in any::<u64>()) {
        let outcome = run(LEARNING, machine, clients, seed);
        prop_assert!(outcome.longest_wait <= MAX_DELAY, "{outcome:?}");
    }
}

/// Machines and clients of all kinds, the same in every run.
fn kinds() -> impl Iterator<Item = (Machine, usize, u64)> {
    let mut chances = Simulation::new(LEARNING, 0x5eed);
    std::iter::repeat_with(move || {
        let mut cost_us = || 10f64.powf(4.3 * chances.chance()) as u64;
        let machine = Machine {
            fixed_us: cost_us(),
            each_us: cost_us(),
        };
        let n_clients = 1 + (39.0 * chances.chance()) as usize;
        let interval_us = 10f64.powf(2.5 + 2.0 * chances.chance()) as u64;
        (machine, n_clients, interval_us)
    })
}

/// The mean and the least.
fn mean_and_least(ratios: &[f64]) -> (f64, f64) {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    (ratios.iter().sum::<f64>() / ratios.len() as f64, least)
}

#[test]
fn clients_that_take_turns_get_what_the_better_of_waiting_always_and_never_gives() {
    let ratios = kinds().take(100).map(|(machine, n_clients, _)| {
        let [learning, always, never] = [LEARNING, ALWAYS, NEVER]
            .map(|policy| run(policy, machine, Clients::Closed(n_clients), 1).per_second);
        learning / always.max(never)
    });
    let (mean, least) = mean_and_least(&ratios.collect::<Vec<_>>());
    assert!(mean > 0.97 && least > 0.8, "mean {mean}, least {least}");
}

#[test]
fn inputs_that_come_at_any_rate_lose_little_time_by_it() {
    let ratios = kinds().take(100).map(|(machine, _, interval_us)| {
        let [learning, always, never] = [LEARNING, ALWAYS, NEVER]
            .map(|policy| run(policy, machine, Clients::Open(interval_us), 1));
        let rate = learning.per_second / always.per_second.max(never.per_second);
        let best = always.p50.min(never.p50).as_secs_f64();
        (rate, best / learning.p50.as_secs_f64())
    });
    let (rates, times): (Vec<f64>, Vec<f64>) = ratios.unzip();
    let (rate, least_rate) = mean_and_least(&rates);
    let (time, least_time) = mean_and_least(&times);
    assert!(
        rate > 0.97 && least_rate > 0.9,
        "mean {rate}, least {least_rate}"
    );
    assert!(
        time > 0.9 && least_time > 0.75,
        "mean {time}, least {least_time}"
    );
}

#[test]
fn full_batches_alone_do_not_tell_that_waiting_pays() {
    let machine = Machine {
        fixed_us: 1,
        each_us: 15,
    };
    let [learning, never] =
        [LEARNING, NEVER].map(|policy| run(policy, machine, Clients::Closed(8), 0));
    assert!(
        learning.per_second > 0.9 * never.per_second,
        "{learning:?}, never {never:?}"
    );
}

#[test]
fn it_follows_clients_that_come_and_go() {
    let machine = Machine {
        fixed_us: 1000,
        each_us: 100,
    };
    let mut simulation = Simulation::new(LEARNING, 1);
    for _ in 0..3 {
        let together = simulation.run(machine, Clients::Closed(4), 2000);
        assert!(together.mean_batch > 3.9, "{together:?}");
        let alone = simulation.run(machine, Clients::Closed(1), 2000);
        assert!(alone.waited < 0.01, "{alone:?}");
    }
}

#[test]
fn a_machine_that_is_busy_has_the_batches_that_waiting_always_gives() {
    let machine = Machine {
        fixed_us: 10_000,
        each_us: 100,
    };
    for clients in [Clients::Closed(16), Clients::Closed(64), Clients::Open(300)] {
        let [learning, always] = [LEARNING, ALWAYS].map(|policy| run(policy, machine, clients, 1));
        assert!(
            learning.mean_batch >= 0.99 * always.mean_batch,
            "{clients:?}: {learning:?}"
        );
    }
}
