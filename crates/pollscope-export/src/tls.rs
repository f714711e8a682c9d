//! TLS by rustls with ring: which servers are trusted, and what names us to them.

use crate::config::Config;
use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Certificates that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} from {}: {why}; give a PEM file that this user may read", .path.display())]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The system has no usable CA certificates.
    #[error(
        "cannot find the system's CA certificates: {0}; install them (package ca-certificates), or name a CA by \
         OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoSystemRoots(#[source] std::io::Error),
    /// rustls refuses what was read.
    #[error("cannot use the certificates for OTLP: {0}; check that key and certificate belong together")]
    Refused(#[from] rustls::Error),
}

/// What the connector needs; without TLS no certificate is loaded.
pub(crate) fn client_config(config: &Config) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match &config.authority {
        _ if !config.tls() => builder.with_root_certificates(RootCertStore::empty()),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("the CA certificate", path)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_native_roots().map_err(TlsError::NoSystemRoots)?,
    };
    Ok(match &config.identity {
        Some(identity) if config.tls() => {
            let chain = certificates("the client certificate", &identity.certificate)?;
            let key = PrivateKeyDer::from_pem_file(&identity.key)
                .map_err(|error| unreadable("the client key", &identity.key, error))?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => builder.with_no_client_auth(),
    })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(what, path, error))?;
    if all.is_empty() {
        return Err(unreadable(what, path, "it holds no certificate"));
    }
    Ok(all)
}

/// A PEM file as it is.
pub(crate) fn pem_file(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| unreadable(what, path, error))
}

fn unreadable(what: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError::Unreadable { what, path: path.to_owned(), why: why.to_string() }
}
