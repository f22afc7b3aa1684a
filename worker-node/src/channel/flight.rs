//! The requests of a connection that have no answer yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Requests by id, no more of them than there are credits.
pub struct InFlight {
    credits: usize,
    requests: Mutex<Requests>,
    /// Told when the last one has gone.
    emptied: Notify,
}

#[derive(Default)]
struct Requests {
    by_id: HashMap<String, Request>,
    n_begun: u64,
}

struct Request {
    serial: u64,
    task: AbortHandle,
}

/// One request, unlike a later one of the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: String,
    pub serial: u64,
}

impl InFlight {
    pub fn new(credits: usize) -> InFlight {
        InFlight {
            credits,
            requests: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    /// Takes a credit for the task that `start` begins.
    ///
    /// # Errors
    /// `INVALID_INPUT` for the id of another request without an answer; `QUEUE_FULL` without credits.
    pub fn begin(&self, id: &str, start: impl FnOnce(Ticket) -> AbortHandle) -> Result<()> {
        let mut requests = self.requests();
        if requests.by_id.contains_key(id) {
            let why = "another request of this id has no answer yet";
            return Err(Error::new(ErrorKind::InvalidInput, "id", why));
        }
        if requests.by_id.len() >= self.credits {
            let why = format!("{} requests have no answer yet", self.credits);
            return Err(Error::new(ErrorKind::QueueFull, "credits", why));
        }
        requests.n_begun += 1;
        let ticket = Ticket {
            id: id.to_owned(),
            serial: requests.n_begun,
        };
        let serial = ticket.serial;
        // The task waits for the lock before it can end.
        let task = start(ticket);
        requests
            .by_id
            .insert(id.to_owned(), Request { serial, task });
        Ok(())
    }

    /// Gives the credit back because the answer goes out; `false` when the request was cancelled before.
    pub fn end(&self, ticket: &Ticket) -> bool {
        let mut requests = self.requests();
        let found = requests.by_id.get(&ticket.id);
        if found.is_none_or(|request| request.serial != ticket.serial) {
            return false;
        }
        requests.by_id.remove(&ticket.id);
        self.tell(&requests);
        true
    }

    /// Gives the credit back and the answer up.
    pub fn cancel(&self, id: &str) -> bool {
        let mut requests = self.requests();
        let Some(request) = requests.by_id.remove(id) else {
            return false;
        };
        request.task.abort();
        self.tell(&requests);
        true
    }

    pub fn cancel_all(&self) {
        let mut requests = self.requests();
        for (_, request) in requests.by_id.drain() {
            request.task.abort();
        }
        self.tell(&requests);
    }

    pub fn is_empty(&self) -> bool {
        self.requests().by_id.is_empty()
    }

    /// Done when no request is without an answer.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn tell(&self, requests: &Requests) {
        if requests.by_id.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn pending(tickets: &RefCell<Vec<Ticket>>) -> impl FnOnce(Ticket) -> AbortHandle {
        |ticket| {
            tickets.borrow_mut().push(ticket);
            tokio::spawn(std::future::pending::<()>()).abort_handle()
        }
    }

    #[tokio::test]
    async fn one_request_more_than_credits_is_refused_until_another_ends() {
        let in_flight = InFlight::new(2);
        let tickets = RefCell::default();
        in_flight.begin("a", pending(&tickets)).unwrap();
        in_flight.begin("b", pending(&tickets)).unwrap();
        let refused = in_flight.begin("c", pending(&tickets)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::QueueFull);
        assert!(in_flight.end(&tickets.borrow()[0]));
        in_flight.begin("c", pending(&tickets)).unwrap();
    }

    #[tokio::test]
    async fn a_second_request_of_an_id_is_refused_and_the_first_goes_on() {
        let in_flight = InFlight::new(2);
        let tickets = RefCell::default();
        in_flight.begin("a", pending(&tickets)).unwrap();
        let refused = in_flight.begin("a", pending(&tickets)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidInput);
        assert!(in_flight.end(&tickets.borrow()[0]));
    }

    #[tokio::test]
    async fn a_cancelled_request_has_no_answer_even_when_its_id_is_used_again() {
        let in_flight = InFlight::new(1);
        let tickets = RefCell::default();
        in_flight.begin("a", pending(&tickets)).unwrap();
        assert!(in_flight.cancel("a"));
        assert!(!in_flight.cancel("a"));
        in_flight.begin("a", pending(&tickets)).unwrap();
        assert!(!in_flight.end(&tickets.borrow()[0]));
        assert!(in_flight.end(&tickets.borrow()[1]));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_last_answer_hears_of_it() {
        let in_flight = InFlight::new(2);
        let tickets = RefCell::default();
        in_flight.begin("a", pending(&tickets)).unwrap();
        in_flight.begin("b", pending(&tickets)).unwrap();
        let end = async {
            in_flight.end(&tickets.borrow()[0]);
            tokio::task::yield_now().await;
            in_flight.cancel("b");
        };
        tokio::join!(in_flight.emptied(), end);
        assert!(in_flight.is_empty());
    }
}
