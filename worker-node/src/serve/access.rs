//! Who may ask: the token, the page's origin and the name that the worker was called by.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// In front of a token where a page opens a WebSocket, because it cannot set headers there.
const TOKEN_SUBPROTOCOL: &str = "sentinel.token.";

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no token, or another one.
    Token,
    /// A page of this origin may not ask.
    Origin,
    /// The worker was called by a name that is not its own, as happens where another site's name leads to it.
    Host,
}

impl Denied {
    pub fn error(self) -> Error {
        let (at, why) = match self {
            Denied::Token => (
                "token",
                "none or another one, expected \"Authorization: Bearer TOKEN\" with the worker's token",
            ),
            Denied::Origin => (
                "Origin",
                "pages of this origin may not use the worker: start it with --allow-origin ORIGIN",
            ),
            Denied::Host => (
                "Host",
                "the worker is called by a name that is not its own: start it with --allow-origin http://NAME:PORT",
            ),
        };
        Error::new(ErrorKind::Unauthorized, at, why)
    }
}

/// The rules, which stay as they were given.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Of the token; comparing hashes tells nothing about where two tokens differ, nor about their lengths.
    token: Option<[u8; 32]>,
    origins: Vec<Origin>,
    /// A worker that only this machine reaches has only this machine's names.
    loopback_only: bool,
    tls: bool,
}

impl Access {
    /// # Errors
    /// `INVALID_INPUT` for an origin that is none and a token that no header can carry.
    pub fn new(
        token: Option<&str>,
        origins: &[String],
        loopback_only: bool,
        tls: bool,
    ) -> Result<Access> {
        let token = token.map(check_token).transpose()?;
        let origins = origins.iter().map(|text| Origin::allowed(text));
        Ok(Access {
            token: token.map(|token| Sha256::digest(token).into()),
            origins: origins.collect::<Result<_>>()?,
            loopback_only,
            tls,
        })
    }

    /// The host, the origin and the token.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Denied> {
        self.admit_page(headers)?;
        self.admit_token(headers)
    }

    /// The host and the origin, which browsers tell the truth about.
    ///
    /// # Errors
    /// `Host` and `Origin`.
    pub fn admit_page(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or(""));
        if self.loopback_only && host.is_some_and(|host| !self.is_own_name(host)) {
            return Err(Denied::Host);
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().ok().and_then(Origin::parse);
        let origin = origin.ok_or(Denied::Origin)?;
        let is_same = host.is_some_and(|host| self.is_same(&origin, host));
        if is_same || self.origins.contains(&origin) {
            return Ok(());
        }
        Err(Denied::Origin)
    }

    /// # Errors
    /// `Token`.
    pub fn admit_token(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let Some(expected) = &self.token else {
            return Ok(());
        };
        let given = bearer(headers).or_else(|| in_subprotocol(headers));
        let given: [u8; 32] = Sha256::digest(given.ok_or(Denied::Token)?).into();
        if bool::from(given.ct_eq(expected)) {
            return Ok(());
        }
        Err(Denied::Token)
    }

    fn is_own_name(&self, host: &str) -> bool {
        let Some(host) = Authority::parse(host) else {
            return false;
        };
        let is_allowed = |origin: &Origin| origin.authority.name == host.name;
        host.is_loopback() || self.origins.iter().any(is_allowed)
    }

    /// A page that this worker served. A proxy in front of it may have added TLS.
    fn is_same(&self, origin: &Origin, host: &str) -> bool {
        let scheme_fits = origin.scheme == "https" || !self.tls;
        let Some(mut host) = Authority::parse(host) else {
            return false;
        };
        host.port = host.port.or(default_port(&origin.scheme));
        scheme_fits && origin.authority == host
    }
}

fn check_token(token: &str) -> Result<&str> {
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    let why = "expected one line of visible ASCII characters without spaces";
    Err(Error::new(ErrorKind::InvalidInput, "token", why))
}

fn bearer(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii().to_vec())
}

fn in_subprotocol(headers: &HeaderMap) -> Option<Vec<u8>> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let encoded = names.find_map(|name| name.trim().strip_prefix(TOKEN_SUBPROTOCOL))?;
    URL_SAFE_NO_PAD.decode(encoded).ok()
}

/// What browsers send: a scheme, a name and a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let mut authority = Authority::parse(authority)?;
        authority.port = authority.port.or(default_port(&scheme));
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        (!scheme.is_empty() && scheme.bytes().all(is_scheme))
            .then_some(Origin { scheme, authority })
    }

    fn allowed(text: &str) -> Result<Origin> {
        Origin::parse(text).ok_or_else(|| {
            let why = format!(
                "\"{text}\" is no origin, expected one such as https://example.org or http://localhost:5173"
            );
            Error::new(ErrorKind::InvalidInput, "--allow-origin", why)
        })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    /// In lower case; addresses of IPv6 without brackets.
    name: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Authority> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                (name, (!port.is_empty()).then(|| port.strip_prefix(':')))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(Some(port))),
                None => (text, None),
            },
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        let port = match port {
            Some(digits) => Some(digits?.parse().ok()?),
            None => None,
        };
        Some(Authority {
            name: name.to_ascii_lowercase(),
            port,
        })
    }

    fn is_loopback(&self) -> bool {
        let address = self.name.parse::<IpAddr>();
        self.name == "localhost"
            || self.name.ends_with(".localhost")
            || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_page_is_let_in_from_where_it_may_come() {
        let allowed = ["https://example.org".to_owned(), "HTTP://App:5173".into()];
        let local = Access::new(None, &allowed, true, false).unwrap();
        let secure = Access::new(None, &allowed, false, true).unwrap();
        let cases: &[(&Access, &str, &str, Result<(), Denied>)] = &[
            (&local, "127.0.0.1:8070", "", Ok(())),
            (&local, "[::1]:8070", "", Ok(())),
            (&local, "localhost", "", Ok(())),
            (&local, "page.localhost:1", "", Ok(())),
            (&local, "example.org", "", Ok(())),
            (&local, "evil.example:8070", "", Err(Denied::Host)),
            (&local, "localhost.evil.example", "", Err(Denied::Host)),
            (&local, "127.0.0.1.evil.example", "", Err(Denied::Host)),
            (&local, "192.168.1.2:8070", "", Err(Denied::Host)),
            (&local, "localhost:", "", Err(Denied::Host)),
            (&local, "", "", Err(Denied::Host)),
            (&local, "localhost:8070", "http://localhost:8070", Ok(())),
            (&local, "localhost:8070", "https://localhost:8070", Ok(())),
            (&local, "localhost", "http://localhost:80", Ok(())),
            (
                &local,
                "localhost:8070",
                "http://localhost:8071",
                Err(Denied::Origin),
            ),
            (
                &local,
                "localhost:8070",
                "http://127.0.0.1:8070",
                Err(Denied::Origin),
            ),
            (&local, "localhost:8070", "https://example.org", Ok(())),
            (&local, "localhost:8070", "https://example.org:443", Ok(())),
            (
                &local,
                "localhost:8070",
                "http://example.org",
                Err(Denied::Origin),
            ),
            (&local, "localhost:8070", "http://app:5173", Ok(())),
            (
                &local,
                "localhost:8070",
                "https://example.org.evil.example",
                Err(Denied::Origin),
            ),
            (&local, "localhost:8070", "null", Err(Denied::Origin)),
            (&local, "localhost:8070", "", Ok(())),
            (
                &local,
                "evil.example:8070",
                "http://evil.example:8070",
                Err(Denied::Host),
            ),
            (&secure, "worker.example:8070", "", Ok(())),
            (
                &secure,
                "worker.example:8070",
                "https://worker.example:8070",
                Ok(()),
            ),
            (
                &secure,
                "worker.example:8070",
                "http://worker.example:8070",
                Err(Denied::Origin),
            ),
        ];
        for (access, host, origin, expected) in cases {
            let mut given = headers(&[(HOST, host)]);
            if !origin.is_empty() {
                given.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            assert_eq!(access.admit(&given), *expected, "{host} {origin}");
        }
    }

    #[test]
    fn a_token_is_in_one_of_two_headers() {
        let access = Access::new(Some("secret"), &[], true, false).unwrap();
        let encoded = URL_SAFE_NO_PAD.encode("secret");
        let protocols = format!("sentinel.v1, sentinel.token.{encoded}");
        let wrong = format!("sentinel.token.{}", URL_SAFE_NO_PAD.encode("secre"));
        let cases: &[(&[(HeaderName, &str)], bool)] = &[
            (&[], false),
            (&[(AUTHORIZATION, "Bearer secret")], true),
            (&[(AUTHORIZATION, "bearer secret")], true),
            (&[(AUTHORIZATION, "Bearer secret2")], false),
            (&[(AUTHORIZATION, "Bearer secre")], false),
            (&[(AUTHORIZATION, "Bearer ")], false),
            (&[(AUTHORIZATION, "Basic secret")], false),
            (&[(AUTHORIZATION, "secret")], false),
            (&[(SEC_WEBSOCKET_PROTOCOL, &protocols)], true),
            (&[(SEC_WEBSOCKET_PROTOCOL, &wrong)], false),
            (&[(SEC_WEBSOCKET_PROTOCOL, "sentinel.token.!")], false),
            (&[(SEC_WEBSOCKET_PROTOCOL, "sentinel.v1")], false),
        ];
        for (pairs, is_admitted) in cases {
            let expected = if *is_admitted {
                Ok(())
            } else {
                Err(Denied::Token)
            };
            assert_eq!(access.admit(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        for origin in [
            "*",
            "null",
            "example.org",
            "https://",
            "https://a/b",
            "://a",
        ] {
            let refused = Access::new(None, &[origin.to_owned()], true, false).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidInput, "{origin}");
        }
        for token in ["", "two words", "line\nline", "schlüssel"] {
            let refused = Access::new(Some(token), &[], true, false).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidInput, "{token}");
        }
    }
}
