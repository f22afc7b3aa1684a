//! Which inputs run together, when and where: each rule by a case, all of them by generated schedules.

mod book;
mod cost;
mod generated;
mod machines;
mod waiting;

use std::time::Duration;

use sentinel_inference::schedule::{Batcher, Full, Loss, Policy, Request, Step};

const POLICY: Policy = Policy {
    batch_size: 4,
    max_delay: ms(5),
    learns_to_wait: false,
    max_queue: 8,
    max_attempts: 2,
    goal: None,
};

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One row of group 0.
fn input(key: u64) -> Request {
    Request {
        key,
        group: Some(0),
        rows: 1,
        priority: 0,
        deadline: None,
    }
}

/// With one lane that runs one batch at a time.
fn batcher() -> Batcher {
    let mut batcher = Batcher::new(POLICY);
    batcher.open_lane(0, 1);
    batcher
}

fn submit(batcher: &mut Batcher, now: Duration, requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        batcher.submit(now, request).expect("the queue has room");
    }
}

/// What starts at this moment: the batch, and its inputs.
#[track_caller]
fn started(batcher: &mut Batcher, now: Duration) -> (u64, Vec<u64>) {
    match batcher.poll(now) {
        Some(Step::Run { batch, keys, .. }) => (batch, keys),
        other => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn a_batch_starts_when_its_rows_fill_it() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..3).map(input));
    assert_eq!(batcher.poll(ms(0)), None);
    submit(&mut batcher, ms(1), [input(3), input(4)]);
    assert_eq!(started(&mut batcher, ms(1)).1, [0, 1, 2, 3]);
    assert_eq!(batcher.queue_depth(), 1);
}

#[test]
fn a_batch_starts_when_its_first_input_has_waited_long_enough() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(1), [input(0)]);
    submit(&mut batcher, ms(4), [input(1)]);
    assert_eq!(batcher.wake(), Some(ms(6)));
    assert_eq!(batcher.poll(ms(6) - Duration::from_nanos(1)), None);
    assert_eq!(started(&mut batcher, ms(6)).1, [0, 1]);
}

#[test]
fn nothing_starts_without_a_free_lane() {
    let mut batcher = Batcher::new(POLICY);
    submit(&mut batcher, ms(0), (0..8).map(input));
    assert_eq!((batcher.poll(ms(99)), batcher.wake()), (None, None));
    batcher.open_lane(7, 1);
    assert_eq!(started(&mut batcher, ms(99)).1, [0, 1, 2, 3]);
    assert_eq!(batcher.poll(ms(99)), None);
}

#[test]
fn work_goes_to_the_lane_with_the_most_room() {
    let mut batcher = Batcher::new(POLICY);
    batcher.open_lane(0, 1);
    batcher.open_lane(1, 2);
    submit(&mut batcher, ms(0), (0..8).map(input));
    let lanes = [(); 2].map(|()| match batcher.poll(ms(0)) {
        Some(Step::Run { lane, .. }) => lane,
        other => panic!("{other:?}"),
    });
    assert_eq!(lanes, [1, 0]);
}

#[test]
fn groups_are_not_mixed() {
    let mut batcher = batcher();
    let other = |key| Request {
        group: Some(1),
        ..input(key)
    };
    let requests = [input(0), other(1), input(2), other(3), input(4), input(5)];
    submit(&mut batcher, ms(0), requests);
    assert_eq!(started(&mut batcher, ms(0)).1, [0, 2, 4, 5]);
}

#[test]
fn an_input_without_a_group_runs_alone_and_at_once() {
    let mut batcher = batcher();
    let alone = Request {
        group: None,
        ..input(0)
    };
    submit(&mut batcher, ms(0), [alone, input(1)]);
    assert_eq!(started(&mut batcher, ms(0)).1, [0]);
}

#[test]
fn an_input_with_more_rows_than_a_batch_runs_by_itself() {
    let mut batcher = batcher();
    let large = |key| Request {
        rows: 9,
        ..input(key)
    };
    submit(&mut batcher, ms(0), [large(0), large(1)]);
    assert_eq!(started(&mut batcher, ms(0)).1, [0]);
}

#[test]
fn an_input_that_does_not_fit_any_more_keeps_its_place() {
    let mut batcher = batcher();
    let wide = |key| Request {
        rows: 3,
        ..input(key)
    };
    submit(&mut batcher, ms(0), [wide(0), wide(1), input(2)]);
    let (batch, keys) = started(&mut batcher, ms(0));
    assert_eq!(keys, [0]);
    batcher.complete(ms(1), batch);
    assert_eq!(started(&mut batcher, ms(1)).1, [1, 2]);
}

#[test]
fn the_larger_the_priority_the_sooner() {
    let mut batcher = batcher();
    let urgent = |key| Request {
        priority: 1,
        ..input(key)
    };
    let requests = [input(0), input(1), urgent(2), input(3), urgent(4)];
    submit(&mut batcher, ms(0), requests);
    assert_eq!(started(&mut batcher, ms(0)).1, [2, 4, 0, 1]);
}

#[test]
fn a_full_queue_takes_nothing_in() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..8).map(input));
    assert_eq!(batcher.submit(ms(0), input(8)), Err(Full(8)));
    started(&mut batcher, ms(0));
    assert_eq!(batcher.submit(ms(0), input(8)), Ok(()));
    assert_eq!(batcher.statistics().total_inputs, 9);
}

#[test]
fn an_input_expires_at_its_deadline_waiting_or_running() {
    let mut batcher = batcher();
    let until = |key, deadline| Request {
        deadline: Some(deadline),
        ..input(key)
    };
    submit(&mut batcher, ms(0), [until(0, ms(9)), until(1, ms(3))]);
    assert_eq!(batcher.wake(), Some(ms(3)));
    let expired = |key| {
        Some(Step::Answer {
            key,
            loss: Loss::Expired,
        })
    };
    assert_eq!(batcher.poll(ms(3)), expired(1));
    let (batch, keys) = started(&mut batcher, ms(5));
    assert_eq!(keys, [0]);
    assert_eq!(batcher.wake(), Some(ms(9)));
    assert_eq!(batcher.poll(ms(9)), expired(0));
    assert_eq!(batcher.complete(ms(10), batch), [0; 0]);
    assert_eq!(batcher.pending(), 0);
}

#[test]
fn outputs_that_come_too_late_are_thrown_away() {
    let mut batcher = batcher();
    let deadline = Some(ms(9));
    submit(
        &mut batcher,
        ms(0),
        [
            input(0),
            Request {
                deadline,
                ..input(1)
            },
        ],
    );
    let (batch, _) = started(&mut batcher, ms(5));
    assert_eq!(batcher.complete(ms(9), batch), [0]);
    let loss = Loss::Expired;
    assert_eq!(batcher.poll(ms(9)), Some(Step::Answer { key: 1, loss }));
}

#[test]
fn a_cancelled_input_is_answered_no_more() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..5).map(input));
    assert!(batcher.cancel(1));
    let (batch, keys) = started(&mut batcher, ms(0));
    assert_eq!(keys, [0, 2, 3, 4]);
    assert!(batcher.cancel(3));
    assert!(!batcher.cancel(3));
    assert_eq!(batcher.complete(ms(1), batch), [0, 2, 4]);
    assert_eq!(batcher.statistics().total_cancelled, 2);
}

#[test]
fn a_key_that_is_given_again_is_not_answered_by_the_former_batch() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..4).map(input));
    let (batch, _) = started(&mut batcher, ms(0));
    batcher.cancel(2);
    submit(&mut batcher, ms(1), [input(2)]);
    assert_eq!(batcher.complete(ms(2), batch), [0, 1, 3]);
    assert_eq!((batcher.pending(), batcher.queue_depth()), (1, 1));
}

#[test]
fn the_inputs_of_a_failed_batch_run_again_each_alone() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..4).map(input));
    let (batch, _) = started(&mut batcher, ms(0));
    submit(&mut batcher, ms(0), (4..8).map(input));
    assert_eq!(batcher.fail(ms(1), batch), [0; 0]);
    for key in 0..4 {
        let (batch, keys) = started(&mut batcher, ms(1));
        assert_eq!(keys, [key]);
        match key {
            2 => assert_eq!(batcher.fail(ms(1), batch), [2]),
            _ => assert_eq!(batcher.complete(ms(1), batch), [key]),
        }
    }
    assert_eq!(started(&mut batcher, ms(1)).1, [4, 5, 6, 7]);
    assert_eq!(batcher.statistics().total_errors, 1);
}

#[test]
fn what_a_lost_lane_ran_runs_again_each_alone_until_it_has_lost_two() {
    let mut batcher = batcher();
    batcher.open_lane(1, 2);
    submit(&mut batcher, ms(0), (0..2).map(input));
    batcher.set_flushing(true);
    assert_eq!(started(&mut batcher, ms(0)).1, [0, 1]);
    batcher.close_lane(1);
    let (first, keys) = started(&mut batcher, ms(0));
    assert_eq!((keys, batcher.queue_depth()), (vec![0], 1));
    batcher.close_lane(0);
    let loss = Loss::LaneLost;
    assert_eq!(batcher.poll(ms(0)), Some(Step::Answer { key: 0, loss }));
    assert_eq!(batcher.complete(ms(0), first), [0; 0]);
    batcher.open_lane(1, 1);
    assert_eq!(started(&mut batcher, ms(0)).1, [1]);
}

#[test]
fn while_flushing_a_batch_waits_for_a_lane_only() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), [input(0)]);
    batcher.set_flushing(true);
    assert_eq!(started(&mut batcher, ms(0)).1, [0]);
    batcher.set_flushing(false);
    batcher.open_lane(1, 1);
    submit(&mut batcher, ms(0), [input(1)]);
    assert_eq!(batcher.poll(ms(0)), None);
}

#[test]
fn what_is_abandoned_has_had_its_answer() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(0), (0..6).map(input));
    let (batch, _) = started(&mut batcher, ms(0));
    assert_eq!(batcher.abandon(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(batcher.complete(ms(1), batch), [0; 0]);
    assert_eq!((batcher.pending(), batcher.queue_depth()), (0, 0));
    assert_eq!((batcher.poll(ms(99)), batcher.wake()), (None, None));
}

#[test]
fn a_clock_that_is_set_back_stands_still() {
    let mut batcher = batcher();
    submit(&mut batcher, ms(10), [input(0)]);
    assert_eq!(batcher.poll(ms(2)), None);
    let (batch, _) = started(&mut batcher, ms(15));
    assert_eq!(batcher.complete(ms(3), batch), [0]);
    let snapshot = batcher.snapshot(ms(15));
    assert_eq!(
        (snapshot.p50_latency_ms, snapshot.avg_batch_size),
        (5.0, 1.0)
    );
}
