//! When which inputs run together, and what has been measured of it: state machines without I/O and without a clock of
//! their own. A moment is a [`Duration`](std::time::Duration) since one that the caller chose.
//!
//! Batches in a page, in a Web Worker's pool and in the worker binary are decided by the same [`Batcher`].

mod adaptive;
mod batcher;
mod statistics;
mod waiting;

pub use adaptive::{Adaptive, Goal};
pub use batcher::{Batcher, Full, Loss, Policy, Request, Step};
pub use statistics::{Latencies, Snapshot, Statistics};
