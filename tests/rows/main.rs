//! Rows that may be joined: what the analysis says of small graphs, of random ones and of real
//! models, held against runs of the same rows one by one.

mod chains;
mod joined;
#[cfg(feature = "tools")]
mod models;
mod verdicts;
