//! Encrypted connections, with certificates made for the test.

use std::path::Path;
use std::sync::Arc;

use fanfare_broker_redis::{Options, Tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::bench::{Bench, address, kept, until};
use crate::server::{Server, free_port};

/// Who signs, and what was signed for the server and for the node.
struct Certificates {
    ca: String,
    server: (String, String),
    node: (String, String),
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "who signs");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        Self { ca: ca.pem(), server: signed("redis.example"), node: signed("node.example") }
    }

    fn client(&self, with_identity: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let trusting = builder.with_root_certificates(roots);
        if !with_identity {
            return Arc::new(trusting.with_no_client_auth());
        }
        let chain = vec![CertificateDer::from_pem_slice(self.node.0.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.node.1.as_bytes()).unwrap();
        Arc::new(trusting.with_client_auth_cert(chain, key).unwrap())
    }
}

/// A server that also listens encrypted, and wants to see a certificate. Debian's can; some others are built without.
fn encrypted(certificates: &Certificates) -> Option<(Arc<Server>, u16)> {
    let server = Server::start()?;
    if !Server::has_tls() {
        assert!(std::env::var_os("FANFARE_REDIS_SERVER").is_some(), "redis-server is built without TLS");
        eprintln!("skipped: the server is built without TLS");
        return None;
    }
    let put = |name: &str, text: &str| {
        let path = server.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, cert) = (put("ca.pem", &certificates.ca), put("cert.pem", &certificates.server.0));
    let key = put("key.pem", &certificates.server.1);
    let port = free_port().unwrap();
    let settings = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    server.kill();
    server.restart_with(&[&settings[..], &["--tls-ca-cert-file", &ca]].concat());
    assert!(Path::new(&ca).exists());
    Some((server, port))
}

fn over(port: u16, tls: Tls) -> impl FnOnce(&mut Options) {
    move |options| {
        options.server = address(&format!("rediss://127.0.0.1:{port}"));
        options.tls = Some(tls);
    }
}

#[tokio::test]
async fn both_connections_are_encrypted_and_certified() {
    let certificates = Certificates::new();
    let Some((server, port)) = encrypted(&certificates) else { return };
    let tls = Tls { client: certificates.client(true), server_name: Some("redis.example".to_owned()) };
    let bench = Bench::with(server, over(port, tls)).await;
    bench.listen("a").await;
    bench.publish("a", kept(&"x".repeat(100_000))).await;
    bench.publish("a", kept("2")).await;
    assert_eq!(bench.seen(2).await[1], "2:2");
    let clients: String = bench.server.run(&["CLIENT", "LIST"]);
    let own = clients.lines().filter(|line| line.contains(&format!("laddr=127.0.0.1:{port}")));
    assert_eq!(own.count(), 2);
}

#[tokio::test]
async fn who_cannot_be_trusted_is_not_connected_to() {
    let certificates = Certificates::new();
    let Some((server, port)) = encrypted(&certificates) else { return };
    let others = Certificates::new();
    let name = Some("redis.example".to_owned());
    for tls in [
        Tls { client: others.client(true), server_name: name.clone() },
        Tls { client: certificates.client(true), server_name: None },
        Tls { client: certificates.client(false), server_name: name },
    ] {
        let bench = Bench::unready(Arc::clone(&server), over(port, tls));
        until("it was tried", || bench.metric("fanfare_redis_connections_lost_total", None) >= 2.0).await;
        assert!(bench.broker.ready().is_err());
    }
}
