//! `scheduler.wasm`: dynamic batching and statistics. Moments and times are milliseconds of the host's clock.

use std::time::Duration;

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;

use super::set;
use crate::schedule::{
    Batcher, Goal, Latencies, Loss, Policy, Request, Snapshot, Statistics, Step,
};

/// The queue of one engine.
#[wasm_bindgen]
pub struct Scheduler {
    batcher: Batcher,
}

#[wasm_bindgen]
impl Scheduler {
    #[wasm_bindgen(constructor)]
    pub fn new(batch_size: u32, max_delay: f64, max_queue: u32, max_attempts: u32) -> Scheduler {
        Scheduler {
            batcher: Batcher::new(Policy {
                batch_size: batch_size as usize,
                max_delay: moment(max_delay),
                learns_to_wait: false,
                max_queue: max_queue as usize,
                max_attempts,
                goal: None,
            }),
        }
    }

    /// One that finds the size and the delay of batches by measuring.
    pub fn adaptive(
        max_batch_size: u32,
        target_latency: f64,
        max_queue: u32,
        max_attempts: u32,
    ) -> Scheduler {
        Scheduler {
            batcher: Batcher::new(Policy {
                batch_size: max_batch_size as usize,
                max_delay: Duration::ZERO,
                learns_to_wait: false,
                max_queue: max_queue as usize,
                max_attempts,
                goal: Some(Goal {
                    target_latency: moment(target_latency),
                    max_batch_size: max_batch_size as usize,
                }),
            }),
        }
    }

    /// False where the queue is full. A negative group stands for none, an infinite deadline too.
    pub fn submit(
        &mut self,
        now: f64,
        key: f64,
        group: i32,
        rows: u32,
        priority: i32,
        deadline: f64,
    ) -> bool {
        let request = Request {
            key: key as u64,
            group: u32::try_from(group).ok(),
            rows: rows as usize,
            priority,
            deadline: deadline.is_finite().then(|| moment(deadline)),
        };
        self.batcher.submit(moment(now), request).is_ok()
    }

    /// True where the input had no answer yet.
    pub fn cancel(&mut self, key: f64) -> bool {
        self.batcher.cancel(key as u64)
    }

    #[wasm_bindgen(js_name = openLane)]
    pub fn open_lane(&mut self, lane: u32, n_slots: u32) {
        self.batcher.open_lane(lane, n_slots);
    }

    #[wasm_bindgen(js_name = closeLane)]
    pub fn close_lane(&mut self, lane: u32) {
        self.batcher.close_lane(lane);
    }

    /// The inputs that still wait for the outputs of this batch.
    pub fn complete(&mut self, now: f64, batch: f64) -> Vec<f64> {
        numbers(self.batcher.complete(moment(now), batch as u64))
    }

    /// The inputs whose error the failure of this batch is; the others run again, alone.
    pub fn fail(&mut self, now: f64, batch: f64) -> Vec<f64> {
        numbers(self.batcher.fail(moment(now), batch as u64))
    }

    /// Every input without an answer.
    pub fn abandon(&mut self) -> Vec<f64> {
        numbers(self.batcher.abandon())
    }

    #[wasm_bindgen(js_name = setFlushing)]
    pub fn set_flushing(&mut self, is_flushing: bool) {
        self.batcher.set_flushing(is_flushing);
    }

    /// What to do at this moment: `{ batch, lane, keys }` to run, `{ key, loss }` to answer, or nothing.
    pub fn poll(&mut self, now: f64) -> Option<Object> {
        let step = self.batcher.poll(moment(now))?;
        let object = Object::new();
        match step {
            Step::Run { batch, lane, keys } => {
                set(&object, "batch", &(batch as f64).into());
                set(&object, "lane", &lane.into());
                let keys: Array = numbers(keys).into_iter().map(JsValue::from).collect();
                set(&object, "keys", &keys);
            }
            Step::Answer { key, loss } => {
                set(&object, "key", &(key as f64).into());
                let loss = match loss {
                    Loss::Expired => "expired",
                    Loss::LaneLost => "lane-lost",
                };
                set(&object, "loss", &loss.into());
            }
        }
        Some(object)
    }

    /// When to poll next, if nothing happens before.
    pub fn wake(&self) -> Option<f64> {
        self.batcher.wake().map(milliseconds)
    }

    #[wasm_bindgen(getter, js_name = queueDepth)]
    pub fn queue_depth(&self) -> usize {
        self.batcher.queue_depth()
    }

    /// Inputs without an answer, waiting or running.
    #[wasm_bindgen(getter)]
    pub fn pending(&self) -> usize {
        self.batcher.pending()
    }

    #[wasm_bindgen(getter, js_name = batchSize)]
    pub fn batch_size(&self) -> usize {
        self.batcher.batch_size()
    }

    #[wasm_bindgen(getter, js_name = maxDelayMs)]
    pub fn max_delay_ms(&self) -> f64 {
        milliseconds(self.batcher.max_delay())
    }

    pub fn statistics(&self, now: f64) -> Object {
        statistics_to_js(
            self.batcher.snapshot(moment(now)),
            &self.batcher.statistics().latencies,
        )
    }
}

/// The statistics of one stream or worker, in the same words.
#[wasm_bindgen]
#[derive(Default)]
pub struct Counters {
    statistics: Statistics,
}

#[wasm_bindgen]
impl Counters {
    #[wasm_bindgen(constructor)]
    pub fn new() -> Counters {
        Counters::default()
    }

    pub fn input(&mut self) {
        self.statistics.total_inputs += 1;
    }

    pub fn output(&mut self, now: f64, latency: f64) {
        self.statistics.answered(moment(now), moment(latency));
    }

    pub fn error(&mut self) {
        self.statistics.total_errors += 1;
    }

    pub fn cancelled(&mut self) {
        self.statistics.total_cancelled += 1;
    }

    pub fn dropped(&mut self) {
        self.statistics.total_dropped += 1;
    }

    pub fn statistics(&self, now: f64, queue_depth: usize) -> Object {
        let snapshot = self.statistics.snapshot(moment(now), queue_depth);
        statistics_to_js(snapshot, &self.statistics.latencies)
    }
}

fn statistics_to_js(snapshot: Snapshot, latencies: &Latencies) -> Object {
    let object = Object::new();
    for (name, count) in [
        ("totalInputs", snapshot.total_inputs),
        ("totalOutputs", snapshot.total_outputs),
        ("totalBatches", snapshot.total_batches),
        ("totalErrors", snapshot.total_errors),
        ("totalCancelled", snapshot.total_cancelled),
        ("totalDropped", snapshot.total_dropped),
        ("localInputs", snapshot.local_inputs),
        ("remoteInputs", snapshot.remote_inputs),
        ("queueDepth", snapshot.queue_depth),
    ] {
        set(&object, name, &(count as f64).into());
    }
    for (name, value) in [
        ("avgBatchSize", snapshot.avg_batch_size),
        ("avgInferenceTime", snapshot.avg_inference_time_ms),
        ("p50Latency", snapshot.p50_latency_ms),
        ("p95Latency", snapshot.p95_latency_ms),
        ("p99Latency", snapshot.p99_latency_ms),
        ("throughput", snapshot.throughput_per_s),
    ] {
        set(&object, name, &value.into());
    }
    set(&object, "histogram", &histogram(latencies));
    object
}

/// `{ bounds, counts }`: upper ends in milliseconds, and one count more for what is above the last.
fn histogram(latencies: &Latencies) -> Object {
    let object = Object::new();
    let bounds: Vec<f64> = Latencies::bounds().map(milliseconds).collect();
    let counts: Vec<f64> = latencies.buckets().iter().map(|&n| n as f64).collect();
    set(&object, "bounds", &js_sys::Float64Array::from(&bounds[..]));
    set(&object, "counts", &js_sys::Float64Array::from(&counts[..]));
    object
}

/// What is no moment counts as the first one.
fn moment(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn numbers(keys: Vec<u64>) -> Vec<f64> {
    keys.into_iter().map(|key| key as f64).collect()
}
