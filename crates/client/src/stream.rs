//! The way to a node: TCP, with TLS where the address asks for it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::address::Address;

/// Where a node is, and whom to trust there.
#[derive(Clone)]
pub(crate) struct Way {
    address: Arc<Address>,
    /// What TLS is spoken with, and the name that the node has to show.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Way {
    pub(crate) fn new(address: &str, tls: Option<Arc<ClientConfig>>) -> Result<Self, Error> {
        let address = Arc::new(Address::parse(address)?);
        if !address.is_tls() {
            return Ok(Self { address, tls: None });
        }
        let tls = tls.ok_or_else(|| Error::NobodyTrusted(address.host_and_port().to_owned()))?;
        let problem = "no certificate can bear its host";
        let name = ServerName::try_from(address.host().to_owned());
        let name = name.map_err(|_| Error::Address { address: address.host().to_owned(), problem })?;
        Ok(Self { address, tls: Some((tls, name)) })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects; give it a deadline. May be dropped.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.address.host_and_port()).await?;
        stream.set_nodelay(true)?;
        let Some((tls, name)) = &self.tls else { return Ok(Stream(Box::new(stream))) };
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name.clone(), stream).await?;
        Ok(Stream(Box::new(stream)))
    }
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection to a node.
pub(crate) struct Stream(Box<dyn Bytes>);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
