//! Frames over WebSocket and NATS: the doors for clients with many requests at a time.

mod flight;
pub mod nats;
mod outbox;
mod parts;
mod progress;
mod request;
mod session;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;
mod websocket;

pub use upgrade::{Refused, turn_away, upgrade};
