//! A port of this machine whose connections, through TLS where there is any, are each served by a task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A connection, whatever it goes through.
pub(crate) type Connection = Box<dyn Bytes>;

/// Both directions of it.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// The port; it ends, with all connections, when it is dropped.
pub(crate) struct Port {
    address: SocketAddr,
    scheme: &'static str,
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Port {
    /// Listens, and has each connection served by what `serve` makes of it.
    pub(crate) async fn start<F>(
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        serve: impl Fn(Connection) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let accepted = Arc::<AtomicUsize>::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, acceptor, Arc::clone(&accepted), Arc::new(serve)));
        Self { address, scheme, accepted, _task: task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Connections that were made.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    accepted: Arc<AtomicUsize>,
    serve: Arc<impl Fn(Connection) -> F + Send + Sync + 'static>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::SeqCst);
        let (tls, serve) = (tls.clone(), Arc::clone(&serve));
        connections.spawn(async move {
            let Some(tls) = tls else { return serve(Box::new(stream)).await };
            if let Ok(stream) = tls.accept(stream).await {
                serve(Box::new(stream)).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
