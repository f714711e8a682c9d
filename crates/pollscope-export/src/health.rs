//! Tries a backend out, for `doctor`: can it be reached, does it speak the protocol, does it take us.

use crate::answer::{Answer, SendError};
use crate::client::{Client, Transport};
use crate::config::Config;
use crate::tls::TlsError;
use bytes::Bytes;
use thiserror::Error;

/// Why spans would not arrive, and what to do about it.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request failed, now or for good.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Sends a request without spans or log records, once, within the configured timeout.
pub async fn probe(config: &Config) -> Result<(), ProbeError> {
    // Of either signal: no field is no byte.
    let empty = Bytes::new();
    match Client::new(config)?.send(empty).await {
        Answer::Accepted | Answer::Partial { .. } => Ok(()),
        Answer::Retry { error, .. } | Answer::Refused(error) => Err(error.into()),
    }
}
