//! What TLS costs, against the same node without: memory of an idle connection, CPU of a connect and of a delivery.
//!
//! A plain node and one with TLS take turns in one run. A certificate of the kind that is usual: ECDSA on P-256.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use crate::clients::{Clients, Target};
use crate::node::Node;
use crate::{Outcome, PUBLICATIONS_PER_TURN, node_turn, say};

/// Subscribers of a delivery.
const SUBSCRIBERS: usize = 1_000;

/// Connects under way at once where each needs the ticket of one before it.
const RESUMING: usize = 4;

/// A certificate in files, and clients that trust it.
struct Certificate {
    files: [PathBuf; 2],
    full: Arc<ClientConfig>,
    resuming: Arc<ClientConfig>,
}

pub(crate) async fn run(connections: usize, turns: usize) -> Outcome {
    let certificate = Certificate::make()?;
    let [cert, key] = [0, 1].map(|at| certificate.files[at].to_string_lossy().into_owned());
    let plain = Node::start_without_pings().await?;
    let tls = Node::start_tls([&cert, &key], Arc::clone(&certificate.full)).await?;
    let full = Target { tls: Some(Arc::clone(&certificate.full)), ..Target::from(tls.address()) };
    // First, since the connections that publish are closed when they lie idle.
    deliver(&plain, &tls, &full, turns).await?;
    idle(&plain, &tls, &full, connections).await?;
    let few = |target: &Target, tls| Target { tls, concurrency: RESUMING, ..target.clone() };
    let (bare, whole) = (few(&plain.address().into(), None), few(&full, Some(Arc::clone(&certificate.full))));
    let resuming = few(&full, Some(Arc::clone(&certificate.resuming)));
    for turn in 1..=turns {
        let without = connect(&plain, bare.clone(), connections).await?;
        let whole = connect(&tls, whole.clone(), connections).await?;
        let resumed = connect(&tls, resuming.clone(), connections).await?;
        say(&format!(
            "connect {turn}: {without:.0} µs of CPU a session without TLS, {whole:.0} with, {resumed:.0} resumed: \
             {:.0} and {:.0} handshakes a second on one core",
            1e6 / (whole - without).max(1.0),
            1e6 / (resumed - without).max(1.0)
        ))?;
    }
    Ok(())
}

async fn idle(plain: &Node, tls: &Node, full: &Target, connections: usize) -> Outcome {
    let without = resident(plain, plain.address().into(), connections).await?;
    let with = resident(tls, full.clone(), connections).await?;
    say(&format!(
        "idle: {connections} connections, {without} bytes each without TLS, {with} with: {:.2} times",
        with as f64 / without.max(1) as f64
    ))
}

async fn resident(node: &Node, target: Target, connections: usize) -> io::Result<u64> {
    let warm = Clients::connect(target.clone(), 300).await?;
    let before = node.process().resident_bytes()?;
    let clients = Clients::connect(target, connections).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = node.process().resident_bytes()?;
    drop((warm, clients));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    Ok(after.saturating_sub(before) / connections as u64)
}

/// Microseconds of CPU for a session that connects and subscribes.
async fn connect(node: &Node, target: Target, sessions: usize) -> io::Result<f64> {
    let before = node.process().cpu()?;
    let clients = Clients::connect(target, sessions).await?;
    let cpu = node.process().cpu()? - before;
    drop(clients);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    Ok(cpu.as_secs_f64() * 1e6 / sessions as f64)
}

async fn deliver(plain: &Node, tls: &Node, full: &Target, turns: usize) -> Outcome {
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(117));
    let without = Clients::connect(plain.address(), SUBSCRIBERS).await?;
    let with = Clients::connect(full.clone(), SUBSCRIBERS).await?;
    let (without_bytes, with_bytes) =
        (without.learn_frame(plain, &payload).await?, with.learn_frame(tls, &payload).await?);
    let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / (PUBLICATIONS_PER_TURN * SUBSCRIBERS) as f64;
    let mut ratios = Vec::new();
    for turn in 1..=turns {
        let one = each(node_turn(plain, &without, without_bytes, &payload).await?);
        let other = each(node_turn(tls, &with, with_bytes, &payload).await?);
        say(&format!(
            "deliver {turn}: {one:.2} µs of CPU a delivery without TLS, {other:.2} with, {:.2}",
            other / one
        ))?;
        ratios.push(other / one);
    }
    ratios.sort_by(f64::total_cmp);
    say(&format!(
        "deliver: {:.2} times with TLS (median of {turns})",
        ratios.get(turns / 2).copied().unwrap_or_default()
    ))
}

impl Certificate {
    fn make() -> Result<Self, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        let folder = std::env::temp_dir().join(format!("fanfare-benches-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let files = [folder.join("cert.pem"), folder.join("key.pem")];
        std::fs::write(&files[0], certificate.pem())?;
        std::fs::write(&files[1], key.serialize_pem())?;
        let client = || -> Result<ClientConfig, rustls::Error> {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone())?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            Ok(versions.with_root_certificates(roots).with_no_client_auth())
        };
        let mut full = client()?;
        full.resumption = Resumption::disabled();
        Ok(Self { files, full: Arc::new(full), resuming: Arc::new(client()?) })
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        if let Some(folder) = self.files[0].parent() {
            // What is left lies among temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
