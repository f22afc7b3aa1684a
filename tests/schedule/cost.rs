//! What deciding costs; run with `--release -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use sentinel_inference::schedule::{Batcher, Request, Step};

use crate::{POLICY, Policy};

#[test]
#[ignore = "a measurement, for a release build"]
fn cost_of_an_input() {
    const N: u64 = 1_000_000;
    let mut batcher = Batcher::new(Policy {
        batch_size: 8,
        max_queue: 256,
        ..POLICY
    });
    batcher.open_lane(0, 1);
    let started = Instant::now();
    for key in 0..N {
        let now = Duration::from_micros(key);
        let request = Request {
            key,
            group: Some(0),
            rows: 1,
            priority: 0,
            deadline: None,
        };
        batcher.submit(now, request).expect("batches run at once");
        while let Some(Step::Run { batch, .. }) = batcher.poll(now) {
            batcher.complete(now, batch);
        }
    }
    let each = started.elapsed() / N as u32;
    println!("submit, poll and complete: {each:?} for each of {N} inputs in batches of 8");
}
