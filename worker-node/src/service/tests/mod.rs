//! Models of a repository on disk through the whole service, and the queue with engines that do what a test says.

mod folder;
mod models;
mod queue;
mod uploads;
