//! What clients and workers say to each other: what is written is read again, and what is not as it should be is refused.

#[path = "../hostile/memory.rs"]
mod counting;
mod memory;
mod messages;
mod refusals;
mod round_trip;
