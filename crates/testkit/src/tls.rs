//! TLS for tests: certificates of an authority of their own, and a way for clients that speak none.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::patience::within;

/// A folder with a certificate for this machine and its key, which is deleted when this is dropped.
pub struct Certificate {
    authority: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    folder: PathBuf,
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// An authority of its own, and a certificate that is good for years.
    pub fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fanfare-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let root = params.self_signed(&key).expect("a certificate can be made");
        std::fs::write(folder.join("ca.pem"), root.pem()).expect("a file can be written");
        let certificate = Self { authority: Issuer::new(params, key), root: root.der().clone(), folder };
        certificate.renew(2099);
        certificate
    }

    /// Puts another certificate with another key in place of this one; returns it.
    pub fn renew(&self, last_year: i32) -> CertificateDer<'static> {
        let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let mut params = CertificateParams::new(names).expect("good names");
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate can be made");
        self.write("key.pem", &key.serialize_pem());
        self.write("cert.pem", &certificate.pem());
        certificate.der().clone()
    }

    /// Writes one of its files, which nobody else may read.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// Where one of its files is: `cert.pem`, `key.pem`, `ca.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where all of them are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a client needs that trusts it and remembers tickets.
    pub fn client(&self) -> ClientConfig {
        self.client_of(rustls::DEFAULT_VERSIONS)
    }

    /// The same for these versions of TLS.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("the root is good");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        versions.expect("there are versions").with_root_certificates(roots).with_no_client_auth()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Connects with TLS.
pub async fn connect_tls(address: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = within("a TCP connection", TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    shake_hands(stream, client).await
}

/// Makes the client's side of a handshake on a connection.
pub async fn shake_hands(stream: TcpStream, client: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    within("a TLS handshake", TlsConnector::from(Arc::clone(client)).connect(name, stream)).await
}

/// Takes plain connections and carries them on with TLS; it ends when it is dropped.
pub struct Tunnel {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Tunnel {
    /// A tunnel to a node.
    pub async fn start(node: SocketAddr, client: ClientConfig) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut task = JoinSet::new();
        task.spawn(carry_all(listener, node, Arc::new(client)));
        Self { address, _task: task }
    }

    /// Where it takes plain connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn carry_all(listener: TcpListener, node: SocketAddr, client: Arc<ClientConfig>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let client = Arc::clone(&client);
        connections.spawn(async move {
            if let Err(error) = carry(stream, node, &client).await {
                eprintln!("a tunnel ended: {error}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut plain: TcpStream, node: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<()> {
    plain.set_nodelay(true)?;
    // Little room on the way, so that the node soon notices who does not read.
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let stream = socket.connect(node).await?;
    stream.set_nodelay(true)?;
    let mut stream = shake_hands(stream, client).await?;
    copy_bidirectional(&mut plain, &mut stream).await.map(drop)
}
