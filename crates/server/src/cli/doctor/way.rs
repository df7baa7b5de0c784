//! The way to a hub, step by step: its name, its addresses, its certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_client::Address;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Finding;
use crate::tls::validity::not_after;

/// For each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A certificate that ends sooner than this should have been renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// A connection to the hub.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Where a hub is, and whom to trust there.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Way {
    pub(super) fn new(address: Address, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { address, tls }
    }

    /// Goes it; returns also whether it leads somewhere.
    pub(super) async fn look(&self) -> (Vec<Finding>, bool) {
        let host = self.address.host();
        let addresses = match self.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                let remedy = "is the name right, and does this machine have a resolver that knows it?";
                return (vec![Finding::problem("name", format!("{host} has no address: {error}"), remedy)], false);
            }
        };
        let listed = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
        let mut findings = vec![Finding::good("name", format!("{host} is {listed}"))];
        let (reached, mut refused) = reach(&addresses).await;
        // This machine has no way to such addresses at all, which says nothing of the hub.
        if !reached.is_empty() {
            refused.retain(|(_, error)| !is_of_this_machine(error));
        }
        findings.push(told_of(&reached, &refused));
        let Some(stream) = reached.into_iter().next() else { return (findings, false) };
        let Some(tls) = &self.tls else { return (findings, true) };
        let (finding, trusted) = self.shake_hands(stream, tls).await;
        findings.push(finding);
        (findings, trusted)
    }

    /// Connects as the first step and the last do. Give it a deadline.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect(self.address.host_and_port()).await?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(self.name()?, stream).await?)),
        }
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let asked = timeout(STEP_TIMEOUT, lookup_host(self.address.host_and_port())).await;
        let found: Vec<SocketAddr> = asked.unwrap_or_else(|_| Err(in_time()))?.take(ADDRESSES_MAX).collect();
        if found.is_empty() { Err(io::Error::other("nobody knows it")) } else { Ok(found) }
    }

    fn name(&self) -> io::Result<ServerName<'static>> {
        let name = ServerName::try_from(self.address.host().to_owned());
        name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    async fn shake_hands(&self, stream: TcpStream, tls: &Arc<ClientConfig>) -> (Finding, bool) {
        let name = match self.name() {
            Ok(name) => name,
            Err(error) => return (Finding::problem("tls", error.to_string(), "use a name or an address"), false),
        };
        let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        match timeout(STEP_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(in_time())) {
            Err(error) => (refused_certificate(&error), false),
            Ok(stream) => {
                let (_, session) = stream.get_ref();
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                let ends = certificate.and_then(|certificate| not_after(certificate.as_ref()));
                (certificate_that_ends(ends), true)
            }
        }
    }
}

pub(super) fn in_time() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Tries each address, all at once.
async fn reach(addresses: &[SocketAddr]) -> (Vec<TcpStream>, Vec<(SocketAddr, io::Error)>) {
    let tries = addresses.iter().map(|address| async move {
        let connected = timeout(STEP_TIMEOUT, TcpStream::connect(address)).await;
        connected.unwrap_or_else(|_| Err(in_time())).map_err(|error| (*address, error))
    });
    let mut reached = (Vec::new(), Vec::new());
    for tried in futures_util::future::join_all(tries).await {
        match tried {
            Ok(stream) => reached.0.push(stream),
            Err(refused) => reached.1.push(refused),
        }
    }
    reached
}

/// Without IPv6 the addresses of that kind cannot even be tried.
fn is_of_this_machine(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
}

fn told_of(reached: &[TcpStream], refused: &[(SocketAddr, io::Error)]) -> Finding {
    let named = refused.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; ");
    match (reached.len(), refused.len()) {
        (0, _) => Finding::problem(
            "connect",
            named,
            "is the proxy or the node running, does it listen on this port, and is there a firewall in between?",
        ),
        (1, 0) => Finding::good("connect", "it takes connections"),
        (count, 0) => Finding::good("connect", format!("all {count} addresses that can be tried take connections")),
        _ => Finding::warning(
            "connect",
            named,
            "some of its addresses do not answer: clients that get one of them wait before they try another",
        ),
    }
}

fn refused_certificate(error: &io::Error) -> Finding {
    let reason = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let remedy = match reason {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "serve the certificates between yours and its root as well (fullchain.pem); with an authority of your own use --ca-file"
        }
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. },
        )) => "renew the certificate, and see why nobody did",
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
        )) => "the certificate does not bear this name: get one that does, or use a name that it bears",
        Some(rustls::Error::InvalidMessage(_)) => "what is there speaks no TLS: is it http:// rather than https://?",
        None if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            "whoever is there hung up: does it speak TLS at all, or is it http:// rather than https://? its log says more"
        }
        _ => "see the log of whatever ends TLS there",
    };
    Finding::problem("tls", error.to_string(), remedy)
}

fn certificate_that_ends(ends: Option<u64>) -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match ends.map(|ends| ends.saturating_sub(now)) {
        None => Finding::good("tls", "its certificate is good"),
        Some(left) if left < RENEWED_BEFORE.as_secs() => Finding::warning(
            "tls",
            format!("its certificate ends in {} days", left / 86_400),
            "renew it; a node takes the new files by itself, a proxy may have to be told",
        ),
        Some(left) => Finding::good("tls", format!("its certificate is good for {} days", left / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn way(address: &str) -> Way {
        Way::new(Address::parse(address).unwrap(), None)
    }

    #[tokio::test]
    async fn nobody_who_listens_is_a_problem() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (found, reached) = way(&address).look().await;
        assert!(reached && found.iter().all(|finding| finding.verdict == Verdict::Good), "{found:?}");
        drop(listener);
        let (found, reached) = way(&address).look().await;
        assert!(!reached && found[1].verdict == Verdict::Problem, "{found:?}");
    }

    #[tokio::test]
    async fn a_name_without_address_is_a_problem() {
        let (found, reached) = way("nobody.invalid:80").look().await;
        assert!(!reached);
        assert_eq!((found.len(), found[0].check, found[0].verdict), (1, "name", Verdict::Problem));
    }

    #[test]
    fn a_certificate_is_to_be_renewed_two_weeks_before_its_end() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let verdict = |days: u64| certificate_that_ends(Some(now + days * 86_400 + 60)).verdict;
        assert_eq!((verdict(13), verdict(15)), (Verdict::Warning, Verdict::Good));
    }
}
