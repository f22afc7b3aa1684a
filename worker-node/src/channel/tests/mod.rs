//! The doors with real models behind them.

mod nats;
mod socket;
mod worker;
