//! Where NATS is and who this worker is there, and the names of its subjects.

use std::fmt::Write;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subject};
use rand::Rng;
use sentinel_inference::error::{Error, ErrorKind, Result};

use super::{N_UNWRITTEN, N_WAITING};

pub const HELLO: &str = "sentinel.v1.hello";

/// Pauses between attempts to connect grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A server that answers no ping for twice as long is taken for dead.
const PING: Duration = Duration::from_secs(10);

/// How to reach NATS.
#[derive(Clone)]
pub struct Address {
    servers: Vec<ServerAddr>,
    login: Option<Login>,
    pub queue_group: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Token(String),
    User { name: String, password: String },
}

impl Address {
    /// Reads `nats://` and `tls://` addresses, separated by commas. What stands in front of the first one's `@` is a token, or
    /// `user:password`.
    ///
    /// # Errors
    /// `INVALID_INPUT` for what is no such address, without telling its secrets.
    pub fn parse(servers: &str, queue_group: &str) -> Result<Address> {
        let wrong =
            |at: &str, why: &str| Err(Error::new(ErrorKind::InvalidInput, at, why.to_owned()));
        let mut parsed = Vec::new();
        for server in servers.split(',') {
            match server.trim().parse::<ServerAddr>() {
                Ok(server) if server.host().is_empty() => {
                    return wrong("--nats", "expected a host");
                }
                Ok(server) if matches!(server.scheme(), "nats" | "tls") => parsed.push(server),
                Ok(_) => return wrong("--nats", "expected nats:// or tls://"),
                Err(_) => return wrong("--nats", "expected nats://host:port or tls://host:port"),
            }
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_dotted = !queue_group.starts_with('.') && !queue_group.ends_with('.');
        if queue_group.is_empty() || !queue_group.chars().all(is_word) || !is_dotted {
            let why = "expected letters, digits, -, _ and . between others";
            return wrong("--queue-group", why);
        }
        let login = parsed.iter().find_map(|server| {
            let name = unescape(server.username()?);
            Some(match server.password() {
                None => Login::Token(name),
                Some(password) => Login::User {
                    name,
                    password: unescape(password),
                },
            })
        });
        Ok(Address {
            servers: parsed,
            login,
            queue_group: queue_group.to_owned(),
        })
    }

    /// Begins to connect, and to connect again for ever.
    pub(super) async fn connect(&self, worker_id: &str) -> Result<Client> {
        let mut options = ConnectOptions::new()
            .name(format!("sentinel-worker {worker_id}"))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(pause)
            .ping_interval(PING)
            .subscription_capacity(N_WAITING)
            .client_capacity(N_UNWRITTEN)
            .event_callback(logger());
        options = match &self.login {
            None => options,
            Some(Login::Token(token)) => options.token(token.clone()),
            Some(Login::User { name, password }) => {
                options.user_and_password(name.clone(), password.clone())
            }
        };
        let connected = options.connect(self.servers.as_slice()).await;
        connected.map_err(|error| Error::new(ErrorKind::Io, "--nats", error.to_string()))
    }
}

/// Twice as long each time, and never for all workers at once.
fn pause(n_attempts: usize) -> Duration {
    if n_attempts <= 1 {
        return Duration::ZERO;
    }
    let exponent = u32::try_from(n_attempts).map_or(8, |n| n.min(8));
    let longest = Duration::from_millis(20 << exponent).min(LONGEST_PAUSE);
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Tells what happens to the connection; of attempts that fail, and of messages that are too many, only the first.
fn logger() -> impl Fn(Event) -> Ready<()> + Send + Sync {
    let is_told = AtomicBool::new(false);
    let is_slow = AtomicBool::new(false);
    move |event| {
        match event {
            Event::Connected => {
                is_told.store(false, Ordering::Relaxed);
                is_slow.store(false, Ordering::Relaxed);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected => tracing::warn!("NATS is gone: connecting again"),
            Event::SlowConsumer(_) if is_slow.swap(true, Ordering::Relaxed) => {}
            Event::SlowConsumer(_) => tracing::warn!("NATS sends more than this worker takes"),
            Event::ServerError(error) => tracing::warn!(%error, "NATS refuses"),
            Event::ClientError(error) if is_told.swap(true, Ordering::Relaxed) => {
                tracing::debug!(%error, "NATS cannot be reached");
            }
            Event::ClientError(error) => {
                tracing::warn!(%error, "NATS cannot be reached: trying again");
            }
            Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!(%event, "NATS"),
        }
        ready(())
    }
}

pub fn cancel_subject() -> Subject {
    Subject::from_static("sentinel.v1.cancel")
}

pub fn infer_subject(model: &str) -> Subject {
    format!("sentinel.v1.infer.{}", token(model)).into()
}

pub fn part_subject(worker_id: &str) -> Subject {
    format!("sentinel.v1.part.{}", token(worker_id)).into()
}

/// Text as one token of a subject.
fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'-' | b'_' => token.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => token.push(char::from(byte)),
            _ => write!(token, "={byte:02X}").expect("a String takes all"),
        }
    }
    token
}

/// Percent signs and two digits are bytes (RFC 3986, section 2.1).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = escaped.map_or(after, |_| &rest[3..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_model_is_called_it_is_one_token() {
        assert_eq!(infer_subject("a-b_1").as_str(), "sentinel.v1.infer.a-b_1");
        assert_eq!(
            infer_subject("a.b*>é ").as_str(),
            "sentinel.v1.infer.a=2Eb=2A=3E=C3=A9=20"
        );
    }

    #[test]
    fn the_login_stands_in_front_of_the_host() {
        let login = |servers| Address::parse(servers, "g").unwrap().login;
        assert_eq!(login("nats://h"), None);
        assert_eq!(
            login("nats://s%2Fcret@h:1,nats://i"),
            Some(Login::Token("s/cret".into()))
        );
        assert_eq!(
            login("tls://me:p%40ss%zz@h"),
            Some(Login::User {
                name: "me".into(),
                password: "p@ss%zz".into()
            })
        );
    }

    #[test]
    fn addresses_and_groups_that_are_none_are_refused_without_their_secrets() {
        for (servers, group) in [
            ("ws://s3cret@h", "g"),
            ("", "g"),
            ("nats://s3cret@:x", "g"),
            ("nats://h,http://s3cret@h", "g"),
            ("nats://h", ""),
            ("nats://h", "a b"),
            ("nats://h", "a."),
        ] {
            let refused = Address::parse(servers, group).err().unwrap();
            assert_eq!(refused.kind, ErrorKind::InvalidInput, "{servers} {group}");
            assert!(!refused.to_string().contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_below_their_longest() {
        assert_eq!(pause(1), Duration::ZERO);
        assert!(pause(2) < pause(6));
        assert!((8..100).all(|n| pause(n) <= LONGEST_PAUSE && pause(n) >= LONGEST_PAUSE / 2));
    }
}
