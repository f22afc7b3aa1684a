//! The doors with real models behind them.

mod nats;
mod socket;
pub mod worker;
