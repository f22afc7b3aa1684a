//! Requests on many connections at once, and what came of them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Reply, Work};
use super::endpoint::Endpoint;
use super::histogram::Histogram;

/// Answers that come later than this after the end are not waited for.
const GRACE: Duration = Duration::from_secs(10);
/// Between two tries to connect again.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Load {
    pub endpoint: Arc<Endpoint>,
    pub work: Arc<Work>,
    pub n_connections: usize,
    pub per_connection: usize,
    /// For all connections together; without it, each answer is followed by the next request.
    pub request_rate: Option<f64>,
    pub warmup: Duration,
    pub duration: Duration,
    /// Ends the load early.
    pub stop: CancellationToken,
    /// Counts answers while they come.
    pub answered: Arc<AtomicU64>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of requests that were due after the warm-up, from then until their answer.
    pub latencies: Histogram,
    pub queued: Histogram,
    pub computed: Histogram,
    pub batch_sizes: f64,
    pub n_batch_sizes: u64,
    /// Answers between the end of the warm-up and the end, that are no errors.
    pub n_answers: u64,
    pub elapsed: Duration,
    pub errors: BTreeMap<String, u64>,
}

#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// Opens all connections, loads them, and closes them.
///
/// # Errors
/// What opening a connection fails with; what goes wrong later is counted.
pub async fn load(load: &Load) -> Result<Tally> {
    let mut connections = Vec::with_capacity(load.n_connections);
    for _ in 0..load.n_connections {
        connections.push(load.work.connect(load.endpoint.clone()).await?);
    }
    let begin = Instant::now();
    let from = begin + load.warmup;
    let window = Window {
        from,
        until: from + load.duration,
    };
    let mut lanes = JoinSet::new();
    let mut tickets = Vec::new();
    for connection in connections {
        let due = load.request_rate.map(|_| {
            let (sender, receiver) = unbounded_channel();
            tickets.push(sender);
            receiver
        });
        let lane = Lane {
            endpoint: load.endpoint.clone(),
            work: load.work.clone(),
            n_slots: load.per_connection,
            window,
            stop: load.stop.clone(),
            answered: load.answered.clone(),
            due,
            tally: Tally::default(),
        };
        lanes.spawn(lane.run(connection));
    }
    if let Some(rate) = load.request_rate {
        let stop = load.stop.clone();
        std::thread::spawn(move || pace(&tickets, rate, begin, window.until, &stop));
    }
    let mut tally = Tally::default();
    while let Some(lane) = lanes.join_next().await {
        tally.add(&lane.map_err(|panic| Error::internal("load", panic.to_string()))?);
    }
    Ok(tally)
}

/// Tells connections in turn that a request is due. A thread of its own, because the runtime's timers are a millisecond
/// coarse.
fn pace(
    lanes: &[UnboundedSender<Instant>],
    rate: f64,
    begin: Instant,
    until: Instant,
    stop: &CancellationToken,
) {
    for (at, lane) in lanes.iter().cycle().enumerate() {
        let due = begin + Duration::from_secs_f64(at as f64 / rate);
        if due >= until || stop.is_cancelled() {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // A connection that ended early has counted its errors.
        let _ = lane.send(due);
    }
}

/// One connection.
struct Lane {
    endpoint: Arc<Endpoint>,
    work: Arc<Work>,
    n_slots: usize,
    window: Window,
    stop: CancellationToken,
    answered: Arc<AtomicU64>,
    /// When requests are due, where that is not when there is room for one.
    due: Option<UnboundedReceiver<Instant>>,
    tally: Tally,
}

impl Lane {
    async fn run(mut self, first: Connection) -> Tally {
        let mut connection = Ok(first);
        loop {
            let broken = match connection {
                Ok(connection) => self.drive(connection).await,
                Err(error) => {
                    self.tally.count_error(&error, 1);
                    true
                }
            };
            if !broken || !self.is_open() {
                break;
            }
            sleep(PAUSE).await;
            connection = self.work.connect(self.endpoint.clone()).await;
        }
        self.finish()
    }

    fn is_open(&self) -> bool {
        Instant::now() < self.window.until && !self.stop.is_cancelled()
    }

    /// Requests and answers until the end; true when the connection broke before.
    async fn drive(&mut self, mut connection: Connection) -> bool {
        // When the request of each place was due; `None` for places that are free.
        let mut waiting: Vec<Option<Instant>> = vec![None; self.n_slots];
        let mut free: Vec<usize> = (0..self.n_slots).collect();
        let result = self
            .exchange(&mut connection, &mut waiting, &mut free)
            .await;
        let n_lost = self.n_slots - free.len();
        match result {
            Ok(()) if n_lost == 0 => false,
            Ok(()) => {
                *self.tally.errors.entry("TIMEOUT".into()).or_default() += n_lost as u64;
                false
            }
            Err(error) => {
                self.tally.count_error(&error, n_lost.max(1));
                true
            }
        }
    }

    async fn exchange(
        &mut self,
        connection: &mut Connection,
        waiting: &mut [Option<Instant>],
        free: &mut Vec<usize>,
    ) -> Result<()> {
        let (window, stop, work) = (self.window, self.stop.clone(), self.work.clone());
        let mut closing = pin!(async {
            tokio::select! {
                () = sleep_until(window.until.into()) => {}
                () = stop.cancelled() => {}
            }
        });
        let mut late = pin!(sleep_until((window.until + GRACE).into()));
        let mut heartbeat = interval(connection.heartbeat());
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = self.is_open();
        while is_open || free.len() < self.n_slots {
            if is_open && self.due.is_none() {
                while let Some(slot) = free.pop() {
                    waiting[slot] = Some(Instant::now());
                    connection.send(&work, slot).await?;
                }
            }
            tokio::select! {
                biased;
                () = &mut closing, if is_open => {
                    is_open = false;
                    late.as_mut().reset((Instant::now() + GRACE).into());
                }
                due = next_due(&mut self.due), if is_open && !free.is_empty() => match due {
                    Some(due) => {
                        let slot = free.pop().expect("one is free");
                        waiting[slot] = Some(due);
                        connection.send(&work, slot).await?;
                    }
                    None => is_open = false,
                },
                reply = connection.receive(), if free.len() < self.n_slots => {
                    let reply = reply?;
                    let place = waiting.get_mut(reply.slot).and_then(Option::take);
                    let due = place.ok_or_else(|| self.endpoint.unavailable("an answer to nothing"))?;
                    free.push(reply.slot);
                    self.record(due, &reply);
                }
                () = &mut late, if !is_open => return Ok(()),
                _ = heartbeat.tick() => connection.ping().await?,
            }
        }
        Ok(())
    }

    fn record(&mut self, due: Instant, reply: &Reply) {
        let now = Instant::now();
        self.answered.fetch_add(1, Ordering::Relaxed);
        let served = match &reply.served {
            Ok(served) => served,
            Err(code) => {
                *self.tally.errors.entry(code.clone()).or_default() += 1;
                return;
            }
        };
        if now >= self.window.from && now < self.window.until {
            self.tally.n_answers += 1;
        }
        if due < self.window.from {
            return;
        }
        self.tally.latencies.record(now - due);
        if let Some(queued) = served.queued {
            self.tally.queued.record(queued);
        }
        if let Some(computed) = served.computed {
            self.tally.computed.record(computed);
        }
        if let Some(batch_size) = served.batch_size {
            self.tally.batch_sizes += batch_size;
            self.tally.n_batch_sizes += 1;
        }
    }

    /// Requests that were due and found no room count too, or a slow worker would look fast.
    fn finish(mut self) -> Tally {
        let end = Instant::now().min(self.window.until);
        self.tally.elapsed = end.saturating_duration_since(self.window.from);
        if let Some(due) = &mut self.due {
            due.close();
            let mut n_unsent = 0;
            while due.try_recv().is_ok() {
                n_unsent += 1;
            }
            if n_unsent > 0 && !self.stop.is_cancelled() {
                *self.tally.errors.entry("NOT_SENT".into()).or_default() += n_unsent;
            }
        }
        self.tally
    }
}

async fn next_due(due: &mut Option<UnboundedReceiver<Instant>>) -> Option<Instant> {
    match due {
        Some(due) => due.recv().await,
        None => std::future::pending().await,
    }
}

impl Tally {
    fn count_error(&mut self, error: &Error, n: usize) {
        let code = error.kind.code().to_owned();
        *self.errors.entry(code).or_default() += n as u64;
    }

    fn add(&mut self, other: &Tally) {
        self.latencies.add(&other.latencies);
        self.queued.add(&other.queued);
        self.computed.add(&other.computed);
        self.batch_sizes += other.batch_sizes;
        self.n_batch_sizes += other.n_batch_sizes;
        self.n_answers += other.n_answers;
        self.elapsed = self.elapsed.max(other.elapsed);
        for (code, n) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += n;
        }
    }
}
