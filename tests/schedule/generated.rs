//! Generated schedules against the book: every input gets one answer, in order, in time and in bounds.
//! A failure prints the shortest schedule that shows it.

use proptest::prelude::*;
use sentinel_inference::schedule::{Policy, Request};

use crate::book::Book;
use crate::ms;

#[derive(Clone, Debug)]
enum Event {
    Submit {
        request: Request,
        timeout_ms: Option<u64>,
    },
    Cancel(u64),
    OpenLane(u32, u32),
    CloseLane(u32),
    Complete(usize),
    Fail(usize),
    Wait(u64),
    /// Time passes and nobody polls.
    Sleep(u64),
    Flush(bool),
    Abandon,
}

fn requests() -> impl Strategy<Value = Event> {
    let group = prop_oneof![1 => Just(None), 6 => (0..3u32).prop_map(Some)];
    let rows = prop_oneof![6 => Just(1usize), 2 => 2..4usize, 1 => 5..12usize];
    let priority = prop_oneof![4 => Just(0), 1 => -2..3i32];
    let timeout_ms = prop_oneof![4 => Just(None), 1 => (0..20u64).prop_map(Some)];
    (0..40u64, group, rows, priority, timeout_ms).prop_map(
        |(key, group, rows, priority, timeout_ms)| {
            let request = Request {
                key,
                group,
                rows,
                priority,
                deadline: None,
            };
            Event::Submit {
                request,
                timeout_ms,
            }
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => requests(),
        4 => (0..40u64).prop_map(Event::Cancel),
        4 => (0..3u32, 1..3u32).prop_map(|(lane, n_slots)| Event::OpenLane(lane, n_slots)),
        2 => (0..3u32).prop_map(Event::CloseLane),
        12 => any::<usize>().prop_map(Event::Complete),
        4 => any::<usize>().prop_map(Event::Fail),
        10 => (0..8u64).prop_map(Event::Wait),
        2 => (0..8u64).prop_map(Event::Sleep),
        1 => any::<bool>().prop_map(Event::Flush),
        1 => Just(Event::Abandon),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    (1..6usize, 0..8u64, any::<bool>(), 1..12usize, 1..4u32).prop_map(
        |(batch_size, delay_ms, learns_to_wait, max_queue, max_attempts)| Policy {
            batch_size,
            max_delay: ms(delay_ms),
            learns_to_wait,
            max_queue,
            max_attempts,
            goal: None,
        },
    )
}

fn follow(book: &mut Book, event: Event) {
    match event {
        Event::Submit {
            request,
            timeout_ms,
        } => {
            let deadline = timeout_ms.map(|timeout_ms| book.now + ms(timeout_ms));
            book.submit(Request {
                deadline,
                ..request
            });
        }
        Event::Cancel(key) => book.cancel(key),
        Event::OpenLane(lane, n_slots) => book.open_lane(lane, n_slots),
        Event::CloseLane(lane) => book.close_lane(lane),
        Event::Complete(at) => {
            if let Some(batch) = book.nth_batch(at) {
                book.complete(batch);
            }
        }
        Event::Fail(at) => {
            if let Some(batch) = book.nth_batch(at) {
                book.fail(batch);
            }
        }
        Event::Wait(elapsed_ms) => {
            book.poll();
            book.wait(ms(elapsed_ms));
        }
        Event::Sleep(elapsed_ms) => book.now += ms(elapsed_ms),
        Event::Flush(is_flushing) => book.set_flushing(is_flushing),
        Event::Abandon => book.abandon(),
    }
    book.check_counts();
}

/// Runs everything that is left.
fn finish(book: &mut Book) {
    book.set_flushing(true);
    book.open_lane(9, 1);
    book.poll();
    while let Some(batch) = book.nth_batch(0) {
        book.complete(batch);
        book.poll();
    }
    assert_eq!(book.n_answered, book.n_accepted);
    assert_eq!((book.batcher.pending(), book.batcher.queue_depth()), (0, 0));
    assert_eq!(book.batcher.wake(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_rule_holds(policy in policies(), polls in any::<u64>(), events in prop::collection::vec(events(), 1..120)) {
        let mut book = Book::new(policy);
        book.open_lane(0, 1);
        for (at, event) in events.into_iter().enumerate() {
            follow(&mut book, event);
            if polls >> (at % 64) & 1 == 1 {
                book.poll();
            }
        }
        finish(&mut book);
    }
}
