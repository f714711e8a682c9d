//! TLS by both protocols: a CA of one's own, client certificates, and errors that say which one is missing.

mod support;

use pollscope_export::answer::Answer;
use pollscope_export::client::{Client, Transport};
use pollscope_export::health::probe;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::PathBuf;
use std::sync::Arc;
use support::{Receiver, config};
use tempfile::TempDir;

const BOTH: [&str; 2] = ["grpc", "http/protobuf"];

/// A CA, and where its certificates lie as PEM files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, pem: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn file(&self) -> String {
        self.write("ca.pem", &self.issuer.pem())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server for `localhost`; with `clients`, one that wants a certificate which that CA signed.
    fn server(&self, clients: Option<&Authority>) -> rustls::ServerConfig {
        let (certificate, key) = self.issue("localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(authority.issuer.der().to_vec())).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config =
            builder.with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

async fn receiver(tls: rustls::ServerConfig) -> (Receiver, String) {
    let receiver = Receiver::start_at("127.0.0.1:0", Some(tls), []).await;
    let endpoint = format!("https://localhost:{}", receiver.address.port());
    (receiver, endpoint)
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_when_it_is_named() {
    let authority = Authority::new();
    for protocol in BOTH {
        let (backend, endpoint) = receiver(authority.server(None)).await;
        let mut variables = vec![("ENDPOINT", endpoint.as_str()), ("PROTOCOL", protocol)];
        let file = authority.file();
        variables.push(("CERTIFICATE", &file));
        let answer = Client::new(&config(&variables)).unwrap().send(Default::default()).await;
        assert_eq!(answer, Answer::Accepted, "{protocol}");
        assert_eq!(backend.seen().len(), 1);
    }
}

#[tokio::test]
async fn another_ca_is_not_and_the_error_names_the_variable() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for protocol in BOTH {
        let (backend, endpoint) = receiver(authority.server(None)).await;
        let file = stranger.file();
        let variables = [("ENDPOINT", endpoint.as_str()), ("PROTOCOL", protocol), ("CERTIFICATE", &file)];
        let error = probe(&config(&variables)).await.unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert!(error.ends_with("by OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
        assert!(backend.seen().is_empty());
    }
}

#[tokio::test]
async fn a_client_certificate_opens_a_server_that_wants_one() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.issue("agent");
    let certificate = clients.write("agent.pem", &certificate.pem());
    let key = clients.write("agent.key", &key.serialize_pem());
    for protocol in BOTH {
        let (backend, endpoint) = receiver(servers.server(Some(&clients))).await;
        let file = servers.file();
        let plain = [("ENDPOINT", endpoint.as_str()), ("PROTOCOL", protocol), ("CERTIFICATE", &file)];
        probe(&config(&plain)).await.unwrap_err();
        assert!(backend.seen().is_empty());

        let named = [&plain[..], &[("CLIENT_CERTIFICATE", &certificate), ("CLIENT_KEY", &key)]].concat();
        probe(&config(&named)).await.unwrap();
        assert_eq!(backend.seen().len(), 1);
    }
}

#[tokio::test]
async fn tls_towards_a_plain_port_is_told() {
    let backend = Receiver::start([]).await;
    let endpoint = format!("https://localhost:{}", backend.address.port());
    let authority = Authority::new();
    let file = authority.file();
    for protocol in BOTH {
        let variables = [
            ("ENDPOINT", endpoint.as_str()),
            ("PROTOCOL", protocol),
            ("CERTIFICATE", &file),
            ("TIMEOUT", "2000"),
        ];
        let error = probe(&config(&variables)).await.unwrap_err().to_string();
        assert!(error.contains("cannot send spans to https://"), "{error}");
        assert!(error.ends_with("if not, write http:// in the endpoint"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    for (path, why) in [(&empty, "holds no certificate"), (&missing, "No such file")] {
        let path = path.to_str().unwrap();
        let error = Client::new(&config(&[("ENDPOINT", "https://localhost:1"), ("CERTIFICATE", path)]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("cannot read the CA certificate from {path}: ")), "{error}");
        assert!(error.contains(why), "{error}");
    }
}
