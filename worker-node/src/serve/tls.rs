//! TLS from files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio_rustls::TlsAcceptor;

/// # Errors
/// `IO` for files that cannot be read or are not PEM; `INVALID_INPUT` where the key is not the certificate's.
pub fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("--tls-cert", certificates, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("--tls-key", key, &error))?;
    let wrong =
        |error: rustls::Error| Error::new(ErrorKind::InvalidInput, "--tls-cert", error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(wrong)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(option: &str, file: &Path, error: &rustls_pki_types::pem::Error) -> Error {
    let at = format!("{option} {}", file.display());
    Error::new(ErrorKind::Io, at, error.to_string())
}
