//! One at a time: a lock whose holder may wait for the GPU.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

#[derive(Default)]
pub struct Turn(Mutex<State>);

#[derive(Default)]
struct State {
    taken: bool,
    waiting: VecDeque<Waker>,
}

/// The turn; it passes on when this is dropped.
pub struct Taken<'a>(&'a Turn);

impl Turn {
    pub async fn take(&self) -> Taken<'_> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.taken {
                state.waiting.push_back(context.waker().clone());
                return Poll::Pending;
            }
            state.taken = true;
            Poll::Ready(())
        })
        .await;
        Taken(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.taken = false;
        // All of them: the first may have been dropped while it waited.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_second_taker_waits_for_the_first() {
        let turn = Turn::default();
        let first = pollster::block_on(turn.take());
        let mut second = pin!(turn.take());
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn a_waiter_that_gave_up_does_not_block_the_others() {
        let turn = Turn::default();
        let first = pollster::block_on(turn.take());
        {
            let mut gave_up = pin!(turn.take());
            assert!(poll(gave_up.as_mut()).is_pending());
        }
        let mut third = pin!(turn.take());
        assert!(poll(third.as_mut()).is_pending());
        drop(first);
        assert!(poll(third.as_mut()).is_ready());
    }
}
