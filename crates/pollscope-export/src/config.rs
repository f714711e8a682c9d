//! Where spans and log records go and how: the standard `OTEL_*` variables, flags and `pollscope.toml`, in layers.
//!
//! Each source fills an [`Options`]; [`Options::over`] lays one over another (flag over env over file), and
//! [`Options::resolve`] makes the [`Config`] that the client is built from, with the defaults of the
//! OpenTelemetry specification. All of it is pure: variables come through a closure, no file is read here.
//!
//! `TRACES` stands for the signal: of log records it is `LOGS`, and the path `/v1/logs`.
//!
//! | variable                                                     | here                                               |
//! | ------------------------------------------------------------ | -------------------------------------------------- |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`                                | base URL; HTTP adds `/v1/traces`                   |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`                         | URL used as it is                                  |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]PROTOCOL`                       | `http/protobuf` (default) or `grpc`                |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]HEADERS`                        | `key=value,key=value`, values percent-encoded      |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]TIMEOUT`                        | milliseconds a request: 10000, at most an hour     |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]COMPRESSION`                    | `gzip` or `none` (default)                         |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]CERTIFICATE`                    | PEM file of the CA to trust, instead of the system's |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]CLIENT_CERTIFICATE`, `_CLIENT_KEY` | PEM files that name us to the server            |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]INSECURE`                       | `true`: gRPC endpoints without a scheme use no TLS |
//! | `OTEL_TRACES_EXPORTER`                                       | `none`: no export                                  |
//! | `OTEL_SDK_DISABLED`                                          | `true`: no export                                  |
//!
//! The `TRACES_` form wins as a whole over the general one; an empty value counts as unset. A value that makes
//! no sense is an error, not a warning: spans would go astray. `OTEL_BSP_*` is not read: those variables bound
//! the queue of an SDK inside a service, and `pollscope run` shares its environment with one.

use crate::signal::Signal;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme, Uri};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// Time for one request, as the specification has it.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most time that one request is given: a timeout above it counts as this.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// Where a local backend listens for OTLP over gRPC.
pub const DEFAULT_GRPC_ENDPOINT: &str = "http://localhost:4317";
/// Where a local backend listens for OTLP over HTTP.
pub const DEFAULT_HTTP_ENDPOINT: &str = "http://localhost:4318";

/// A setting that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot use {setting}: {why}; {fix}")]
pub struct ConfigError {
    setting: String,
    why: String,
    fix: String,
}

impl ConfigError {
    fn new(setting: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        ConfigError { setting: setting.into(), why: why.into(), fix: fix.into() }
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP with protobuf bodies: the specification's default.
    #[default]
    HttpProtobuf,
}

impl FromStr for Protocol {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        match value {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            "http/json" => Err(ConfigError::new(
                "OTLP protocol `http/json`",
                "pollscope sends protobuf only",
                "use `http/protobuf` (same port, same path) or `grpc`",
            )),
            other => Err(ConfigError::new(
                format!("OTLP protocol `{other}`"),
                "it is not known",
                "use `http/protobuf` or `grpc`",
            )),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        })
    }
}

/// How request bodies are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip.
    Gzip,
}

impl FromStr for Compression {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        match value.to_ascii_lowercase().as_str() {
            "none" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            _ => Err(ConfigError::new(
                format!("OTLP compression `{value}`"),
                "it is not supported",
                "use `gzip` or `none`",
            )),
        }
    }
}

impl TryFrom<String> for Protocol {
    type Error = ConfigError;
    fn try_from(value: String) -> Result<Self, ConfigError> {
        value.parse()
    }
}

impl TryFrom<String> for Compression {
    type Error = ConfigError;
    fn try_from(value: String) -> Result<Self, ConfigError> {
        value.parse()
    }
}

/// Headers by name. Their values are often secrets, so they are never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromStr for Headers {
    type Err = ConfigError;

    /// `key=value,key=value`, as W3C baggage without properties: values are percent-encoded.
    fn from_str(list: &str) -> Result<Self, ConfigError> {
        let mut headers = BTreeMap::new();
        for (at, entry) in list.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty()) {
            let Some((key, value)) = entry.split_once('=') else {
                return Err(ConfigError::new(
                    format!("entry {} of the OTLP headers", at + 1),
                    "it has no `=`",
                    "write `key=value,key=value`, and a comma inside a value as `%2C`",
                ));
            };
            let (key, value) = (key.trim(), percent_decoded(value.trim()));
            if !value.is_empty() {
                headers.insert(key.to_owned(), value);
            }
        }
        Ok(Headers(headers))
    }
}

/// Bytes after `%xx`; text that does not decode to UTF-8 stays as it was.
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// What one source (flags, environment, file) says. All of it may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether to export at all.
    pub enabled: Option<bool>,
    /// Base URL; HTTP adds `/v1/traces` or `/v1/logs`.
    pub endpoint: Option<String>,
    /// URL for traces, used as it is.
    pub traces_endpoint: Option<String>,
    /// URL for log records, used as it is.
    pub logs_endpoint: Option<String>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Headers of every request.
    pub headers: Option<Headers>,
    /// Milliseconds for one request.
    pub timeout_ms: Option<u64>,
    /// Compression.
    pub compression: Option<Compression>,
    /// PEM file of the CA to trust, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM file of our own certificate chain.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of the key of our own certificate.
    pub client_key: Option<PathBuf>,
    /// No TLS for gRPC endpoints that name no scheme.
    pub insecure: Option<bool>,
}

impl Options {
    /// The standard variables of a signal, read through `lookup`.
    pub fn from_env(signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Options, ConfigError> {
        let own = signal.variable();
        let get = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let either = |name: &str| {
            [format!("OTEL_EXPORTER_OTLP_{own}_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
                .into_iter()
                .find_map(|variable| get(&variable).map(|value| (variable, value)))
        };
        let is_true = |value: &str| value.eq_ignore_ascii_case("true");
        let off = get("OTEL_SDK_DISABLED").is_some_and(|value| is_true(&value))
            || get(&format!("OTEL_{own}_EXPORTER")).is_some_and(|value| value.eq_ignore_ascii_case("none"));
        let own_endpoint = get(&format!("OTEL_EXPORTER_OTLP_{own}_ENDPOINT"));
        Ok(Options {
            enabled: off.then_some(false),
            endpoint: get("OTEL_EXPORTER_OTLP_ENDPOINT"),
            traces_endpoint: own_endpoint.clone().filter(|_| signal == Signal::Traces),
            logs_endpoint: own_endpoint.filter(|_| signal == Signal::Logs),
            protocol: either("PROTOCOL").map(parsed).transpose()?,
            headers: either("HEADERS").map(parsed).transpose()?,
            timeout_ms: either("TIMEOUT").map(milliseconds).transpose()?,
            compression: either("COMPRESSION").map(parsed).transpose()?,
            certificate: either("CERTIFICATE").map(|(_, path)| path.into()),
            client_certificate: either("CLIENT_CERTIFICATE").map(|(_, path)| path.into()),
            client_key: either("CLIENT_KEY").map(|(_, path)| path.into()),
            insecure: either("INSECURE").map(|(_, value)| is_true(&value)),
        })
    }

    /// These options, and where they say nothing `lower`'s. An endpoint of any form hides all of
    /// `lower`'s and turns export on where `lower` has it off.
    pub fn over(self, lower: Options) -> Options {
        let names_endpoint =
            self.endpoint.is_some() || self.traces_endpoint.is_some() || self.logs_endpoint.is_some();
        let lower_endpoint = |endpoint: Option<String>| endpoint.filter(|_| !names_endpoint);
        Options {
            enabled: self.enabled.or(names_endpoint.then_some(true)).or(lower.enabled),
            endpoint: self.endpoint.or(lower_endpoint(lower.endpoint)),
            traces_endpoint: self.traces_endpoint.or(lower_endpoint(lower.traces_endpoint)),
            logs_endpoint: self.logs_endpoint.or(lower_endpoint(lower.logs_endpoint)),
            protocol: self.protocol.or(lower.protocol),
            headers: self.headers.or(lower.headers),
            timeout_ms: self.timeout_ms.or(lower.timeout_ms),
            compression: self.compression.or(lower.compression),
            certificate: self.certificate.or(lower.certificate),
            client_certificate: self.client_certificate.or(lower.client_certificate),
            client_key: self.client_key.or(lower.client_key),
            insecure: self.insecure.or(lower.insecure),
        }
    }

    /// The whole configuration of a signal, or `None` when its export is switched off.
    pub fn resolve(self, signal: Signal) -> Result<Option<Config>, ConfigError> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        let protocol = self.protocol.unwrap_or_default();
        let own = match signal {
            Signal::Traces => self.traces_endpoint,
            Signal::Logs => self.logs_endpoint,
        };
        let endpoint_given = self.endpoint.is_some() || own.is_some();
        let endpoint = match protocol {
            Protocol::Grpc => {
                let url = own.or(self.endpoint);
                grpc_endpoint(
                    url.as_deref().unwrap_or(DEFAULT_GRPC_ENDPOINT),
                    self.insecure.unwrap_or(false),
                )?
            }
            Protocol::HttpProtobuf => match (own, self.endpoint) {
                (Some(whole), _) => http_endpoint(&whole, "")?,
                (None, base) => {
                    http_endpoint(base.as_deref().unwrap_or(DEFAULT_HTTP_ENDPOINT), signal.path())?
                }
            },
        };
        let timeout = match self.timeout_ms {
            None => DEFAULT_TIMEOUT,
            Some(0) => {
                return Err(ConfigError::new(
                    "OTLP timeout 0",
                    "no request could ever succeed",
                    "give milliseconds, such as 10000",
                ));
            }
            Some(milliseconds) => Duration::from_millis(milliseconds).min(LONGEST_TIMEOUT),
        };
        let identity = match (self.client_certificate, self.client_key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            (given, _) => {
                let (has, misses) = if given.is_some() {
                    ("client certificate", "client key")
                } else {
                    ("client key", "client certificate")
                };
                return Err(ConfigError::new(
                    format!("the OTLP {has}"),
                    format!("the {misses} that belongs to it is not given"),
                    "set both or none",
                ));
            }
        };
        Ok(Some(Config {
            signal,
            protocol,
            endpoint,
            endpoint_given,
            headers: header_map(self.headers.unwrap_or_default())?,
            timeout,
            compression: self.compression.unwrap_or_default(),
            authority: self.certificate,
            identity,
        }))
    }
}

/// Where to send, and how: ready for a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What is sent.
    pub signal: Signal,
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// The request's URL; with gRPC scheme and authority only.
    pub endpoint: Uri,
    /// Whether anyone named an endpoint; else it is the standard local one, where nobody may listen.
    pub endpoint_given: bool,
    /// Headers of every request; values are marked sensitive.
    pub headers: HeaderMap,
    /// Time for one request, connection included.
    pub timeout: Duration,
    /// How bodies are packed.
    pub compression: Compression,
    /// PEM file of the CA to trust instead of the system's.
    pub authority: Option<PathBuf>,
    /// What names us to the server.
    pub identity: Option<Identity>,
}

impl Config {
    /// Whether the connection is encrypted.
    pub fn tls(&self) -> bool {
        self.endpoint.scheme() == Some(&Scheme::HTTPS)
    }
}

/// A client certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A value of a variable; the error names the variable.
fn parsed<T: FromStr<Err = ConfigError>>((variable, value): (String, String)) -> Result<T, ConfigError> {
    value.parse().map_err(|error: ConfigError| ConfigError {
        setting: format!("{} from {variable}", error.setting),
        ..error
    })
}

fn milliseconds((variable, value): (String, String)) -> Result<u64, ConfigError> {
    value.parse().map_err(|_| {
        ConfigError::new(
            format!("{variable}={value}"),
            "it is not a whole number",
            "give milliseconds, such as 10000",
        )
    })
}

fn has_scheme(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?', '#']))
}

fn http_endpoint(url: &str, path: &str) -> Result<Uri, ConfigError> {
    if !has_scheme(url) {
        return Err(ConfigError::new(
            format!("OTLP endpoint `{url}`"),
            "it has no scheme",
            format!("write `http://{url}` or `https://{url}`"),
        ));
    }
    let base = if path.is_empty() { url } else { url.trim_end_matches('/') };
    checked(url, &format!("{base}{path}"))
}

/// Scheme and authority: the path of a gRPC call is the method.
fn grpc_endpoint(url: &str, insecure: bool) -> Result<Uri, ConfigError> {
    let whole = match (has_scheme(url), insecure) {
        (true, _) => url.to_owned(),
        (false, true) => format!("http://{url}"),
        (false, false) => format!("https://{url}"),
    };
    let mut parts = checked(url, &whole)?.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| unusable(url, &error.to_string()))
}

fn checked(given: &str, url: &str) -> Result<Uri, ConfigError> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| unusable(given, &error.to_string()))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {}
        _ => return Err(unusable(given, "its scheme is neither http nor https")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(unusable(given, "it names no host"));
    }
    if let Some(port) = uri.authority().and_then(|authority| port_of(authority.as_str()))
        && !port.parse().is_ok_and(|port: u16| port > 0)
    {
        return Err(unusable(given, &format!("`{port}` is no port: 1 to 65535 are")));
    }
    Ok(uri)
}

/// What is said of the port, if anything is.
fn port_of(authority: &str) -> Option<&str> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after = host.rsplit(']').next().unwrap_or_default();
    after.split_once(':').map(|(_, port)| port).filter(|port| !port.is_empty())
}

fn unusable(url: &str, why: &str) -> ConfigError {
    ConfigError::new(
        format!("OTLP endpoint `{url}`"),
        why,
        format!("give a URL such as {DEFAULT_HTTP_ENDPOINT} (HTTP) or {DEFAULT_GRPC_ENDPOINT} (gRPC)"),
    )
}

fn header_map(headers: Headers) -> Result<HeaderMap, ConfigError> {
    let mut map = HeaderMap::with_capacity(headers.0.len());
    for (key, value) in headers.0 {
        let unfit = |what| {
            ConfigError::new(
                format!("OTLP header `{key}`"),
                format!("its {what} has letters that HTTP does not allow"),
                "correct it in the OTLP headers",
            )
        };
        let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| unfit("name"))?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| unfit("value"))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
