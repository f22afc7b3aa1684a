//! Rows that may be joined: what the analysis says of small graphs, of random ones and of real
//! models, held against runs of the same rows one by one.

mod attacks;
mod cases;
mod chains;
#[path = "../difference/mod.rs"]
mod difference;
#[path = "../gpu/mod.rs"]
#[expect(dead_code, reason = "sessions run what the CPU has")]
mod gpu;
mod joined;
#[cfg(feature = "tools")]
mod models;
#[path = "../random/mod.rs"]
#[expect(dead_code, reason = "graphs from seeds need more of it")]
mod random;
mod tricky;
mod verdicts;
