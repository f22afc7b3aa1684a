//! Where the worker is, and plain ways to it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No answer of a worker that is measured is larger.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
pub type Stream = Box<dyn Duplex>;

pub struct Endpoint {
    /// `host:port`, as HTTP's `Host` has it.
    pub authority: String,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    pub authorization: Option<HeaderValue>,
    /// The URL began with ws or wss.
    pub is_websocket: bool,
}

impl Endpoint {
    /// # Errors
    /// `INVALID_INPUT` for a URL or a token that is none, `IO` for certificates that cannot be read.
    pub fn new(url: &str, token: Option<&str>, ca: Option<&Path>) -> Result<Endpoint> {
        let wrong =
            |why: &str| Error::new(ErrorKind::InvalidInput, format!("{url:?}"), why.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let (is_websocket, is_secure) = match uri.scheme_str() {
            Some("ws") => (true, false),
            Some("wss") => (true, true),
            Some("http") => (false, false),
            Some("https") => (false, true),
            _ => return Err(wrong("it begins with none of ws, wss, http and https")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let tls = match (is_secure, ca) {
            (false, _) => None,
            (true, Some(ca)) => Some(connector(ca)?),
            (true, None) => return Err(wrong("--ca with the certificates to trust is missing")),
        };
        let authorization = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let mut authorization = authorization
            .transpose()
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "token", "no header can hold it"))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Endpoint {
            authority: format!("{host}:{port}"),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
            authorization,
            is_websocket,
        })
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn connect(&self) -> Result<Stream> {
        let tcp = TcpStream::connect((&*self.host, self.port)).await;
        let tcp = tcp.map_err(|error| self.unavailable(error))?;
        tcp.set_nodelay(true)
            .map_err(|error| self.unavailable(error))?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| self.unavailable(error))?;
        let stream = tls.connect(name, tcp).await;
        Ok(Box::new(stream.map_err(|error| self.unavailable(error))?))
    }

    /// An HTTP connection; it ends when its sender is dropped.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn http(&self) -> Result<SendRequest<Full<Bytes>>> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = handshake(io)
            .await
            .map_err(|error| self.unavailable(error))?;
        // What goes wrong there is an error of the request too.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`; the worker's own code where it refuses.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let request = self.request("GET", path).body(Full::default());
        let request = request.map_err(|error| self.unavailable(error))?;
        let response = self.http().await?.send_request(request).await;
        let response = response.map_err(|error| self.unavailable(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        let body = body.map_err(|error| self.unavailable(error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let (code, why) = super::http::failure(status, &body);
        let kind = ErrorKind::from_code(&code).unwrap_or(ErrorKind::WorkerUnavailable);
        Err(Error::new(kind, path, why))
    }

    pub fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    pub fn unavailable(&self, error: impl std::fmt::Display) -> Error {
        let why = error.to_string();
        Error::new(ErrorKind::WorkerUnavailable, &self.authority, why)
    }
}

fn connector(ca: &Path) -> Result<TlsConnector> {
    let wrong = |why: String| Error::new(ErrorKind::Io, ca.display().to_string(), why);
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_lead_nowhere_are_refused() {
        for url in [
            "",
            "127.0.0.1:8070",
            "ftp://a",
            "ws://",
            "wss://a",
            "://",
            "ws://a b",
        ] {
            let error = Endpoint::new(url, None, None).err().expect(url);
            assert_eq!(error.kind, ErrorKind::InvalidInput, "{url}");
        }
        assert!(Endpoint::new("ws://a", Some("a\nb"), None).is_err());
    }

    #[test]
    fn ports_are_those_of_the_scheme() {
        let authority = |url| Endpoint::new(url, None, None).unwrap().authority;
        assert_eq!(authority("ws://a"), "a:80");
        assert_eq!(authority("http://[::1]:8070/"), "[::1]:8070");
        assert_eq!(
            Endpoint::new("http://[::1]:8070", None, None).unwrap().host,
            "::1"
        );
    }
}
