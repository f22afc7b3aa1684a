//! The memory that requests take until they are answered: all doors have one, so that no client takes all there is.

use std::sync::Arc;

use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for.
const PERMIT_BYTES: usize = 64 << 10;
const MIN_BYTES: usize = 1 << 30;

#[derive(Clone)]
pub struct Memory(Arc<Semaphore>);

/// One request's part of the memory, which is given back when it is dropped.
#[derive(Default)]
pub struct Share(Option<OwnedSemaphorePermit>);

impl Memory {
    /// Room for two messages of the largest size at least.
    pub fn new(max_message_bytes: usize) -> Memory {
        Memory::of(MIN_BYTES.max(2 * max_message_bytes))
    }

    pub fn of(n_bytes: usize) -> Memory {
        Memory(Arc::new(Semaphore::new(n_bytes / PERMIT_BYTES)))
    }

    /// Makes a share one of so many bytes; it does not become smaller.
    ///
    /// # Errors
    /// `QUEUE_FULL` where others have the rest.
    pub fn grow(&self, share: &mut Share, n_bytes: usize) -> Result<()> {
        let has = share
            .0
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = n_bytes.div_ceil(PERMIT_BYTES).saturating_sub(has);
        if missing == 0 {
            return Ok(());
        }
        let more = self.0.clone().try_acquire_many_owned(missing as u32);
        let more = more.map_err(|_| {
            let why = "the worker's memory for requests is taken by others";
            Error::new(ErrorKind::QueueFull, "memory", why)
        })?;
        match &mut share.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}
