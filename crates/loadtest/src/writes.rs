//! How many messages a Fanfare puts into a write, by its own metrics: what one read brings may be several writes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::target::Target;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The most that is read of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What nodes have counted since they began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Writes {
    deliveries: f64,
    writes: f64,
}

impl Writes {
    /// Of all these nodes together; `None` if one of them does not say.
    pub(crate) fn now(nodes: &[Target]) -> Option<Self> {
        let each = nodes.iter().map(|node| Self::parse(&metrics(node)?)).collect::<Option<Vec<_>>>()?;
        each.into_iter().reduce(|one, other| Self {
            deliveries: one.deliveries + other.deliveries,
            writes: one.writes + other.writes,
        })
    }

    fn parse(metrics: &str) -> Option<Self> {
        let value = |name: &str| {
            let row = metrics.lines().find_map(|row| row.strip_prefix(name)?.strip_prefix(' '));
            row?.trim().parse::<f64>().ok()
        };
        let deliveries = value("fanfare_gateway_deliveries_total")?;
        Some(Self { deliveries, writes: value("fanfare_gateway_writes_total")? })
    }

    /// Deliveries for each write since then. `None` without any, or if a node has begun anew.
    pub(crate) fn messages_since(self, before: Self) -> Option<f64> {
        let [deliveries, writes] = [self.deliveries - before.deliveries, self.writes - before.writes];
        (deliveries > 0.0 && writes > 0.0).then(|| deliveries / writes)
    }
}

/// The text at `/metrics`, or what there is of it, if the server answers at all.
fn metrics(node: &Target) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&node.address, ANSWER_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", node.host);
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_for_each_write_are_those_of_the_run() {
        let counted = |deliveries: u32, writes: u32| {
            let rows = [
                "# TYPE fanfare_gateway_deliveries_total counter".to_owned(),
                format!("fanfare_gateway_deliveries_total {deliveries}"),
                format!("fanfare_gateway_writes_total {writes}"),
            ];
            Writes::parse(&rows.join("\n")).unwrap()
        };
        let before = counted(100, 50);
        assert_eq!(counted(1_400, 150).messages_since(before), Some(13.0));
        assert_eq!(before.messages_since(before), None);
        assert_eq!(counted(10, 5).messages_since(before), None);
    }

    #[test]
    fn who_has_no_such_metrics_does_not_say() {
        assert_eq!(Writes::parse("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        let nobodys = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(Writes::now(&[nobodys.to_string().parse().unwrap()]), None);
        assert_eq!(Writes::now(&[]), None);
    }
}
