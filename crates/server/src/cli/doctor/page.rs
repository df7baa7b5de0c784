//! What is said over HTTP: the handshake of a WebSocket as a page and a program make it, and what should not be open.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, DATE, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::way::{Way, in_time};
use super::{CLOCK_OFF_MAX_S, Finding};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A page that nobody has allowed: names that end so belong to nobody.
const FOREIGN_ORIGIN: &str = "https://doctor.invalid";

const PASS_UPGRADE: &str = "the proxy has to pass the headers Upgrade and Connection on, over HTTP/1.1; \
deploy/proxies has a configuration for nginx, Caddy and HAProxy";

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Asks; returns also what the hub takes for the time, in seconds since 1970.
pub(super) async fn look(way: &Way, origin: Option<&str>) -> (Vec<Finding>, Option<u64>) {
    let mut findings = Vec::new();
    let plain = handshake(way, None).await;
    let server_time = plain.as_ref().ok().and_then(|answer| date(&answer.headers));
    findings.push(of_upgrade(&plain));
    if plain.is_ok_and(|answer| answer.status == StatusCode::SWITCHING_PROTOCOLS) {
        if let Some(origin) = origin {
            findings.push(of_origin(origin, &handshake(way, Some(origin)).await));
        }
        findings.push(of_foreign(&handshake(way, Some(FOREIGN_ORIGIN)).await));
    }
    if let Some(server_time) = server_time {
        findings.push(of_clock(server_time));
    }
    findings.push(of_metrics(way, &get(way, "/metrics", &[]).await));
    (findings, server_time)
}

async fn handshake(way: &Way, origin: Option<&str>) -> io::Result<Answer> {
    let mut headers = vec![
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, "ZmFuZmFyZSBkb2N0b3IgIQ=="),
    ];
    headers.extend(origin.map(|origin| (ORIGIN, origin)));
    get(way, "/connection/websocket", &headers).await
}

async fn get(way: &Way, path: &str, headers: &[(http::HeaderName, &str)]) -> io::Result<Answer> {
    let asking = async {
        let stream = way.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with the answer, or with the time for it.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        let mut request = Request::get(format!("{}{path}", way.address.prefix())).header(HOST, way.address.authority());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let text = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => Bytes::new(),
            _ => Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?.to_bytes(),
        };
        Ok(Answer { status: head.status, headers: head.headers, text: String::from_utf8_lossy(&text).into_owned() })
    };
    timeout(ANSWER_TIMEOUT, asking).await.unwrap_or_else(|_| Err(in_time()))
}

fn date(headers: &HeaderMap) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn of_upgrade(answer: &io::Result<Answer>) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let remedy = "what is there speaks no HTTP/1.1, or ends connections: see its log";
            return Finding::problem("upgrade", error.to_string(), remedy);
        }
    };
    let said = answer.text.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
    let text = format!("HTTP {}: {said}", answer.status.as_u16());
    match answer.status.as_u16() {
        101 => Finding::good("upgrade", "a WebSocket is opened"),
        400 | 426 => Finding::problem("upgrade", text, PASS_UPGRADE),
        404 => Finding::problem("upgrade", text, "the proxy has to pass /connection/websocket on to the nodes"),
        421 => Finding::problem("upgrade", text, "put this host into listen.allowed_hosts of the nodes"),
        502 | 504 => {
            Finding::problem("upgrade", text, "the proxy cannot reach a node: are they running, and where it looks?")
        }
        503 => Finding::problem("upgrade", text, "no node takes sessions: `fanfare check ready` at each says why"),
        301 | 302 | 307 | 308 => Finding::problem(
            "upgrade",
            text,
            "clients do not follow redirects of a WebSocket: give them the address it leads to",
        ),
        _ => Finding::problem("upgrade", text, "is this the address of a Fanfare hub?"),
    }
}

fn of_origin(origin: &str, answer: &io::Result<Answer>) -> Finding {
    match answer {
        Ok(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS => {
            Finding::good("origin", format!("pages of {origin} are let in"))
        }
        Ok(answer) if answer.status == StatusCode::FORBIDDEN => Finding::problem(
            "origin",
            format!("pages of {origin} are refused"),
            format!(
                "put \"{origin}\" into listen.allowed_origins; if it is the hub's own host, the proxy changes Host or X-Forwarded-Proto"
            ),
        ),
        Ok(answer) => Finding::problem("origin", format!("HTTP {}", answer.status.as_u16()), "see `upgrade`"),
        Err(error) => Finding::problem("origin", error.to_string(), "see `upgrade`"),
    }
}

fn of_foreign(answer: &io::Result<Answer>) -> Finding {
    match answer {
        Ok(answer) if answer.status == StatusCode::FORBIDDEN => Finding::good("foreign", "pages of others are refused"),
        Ok(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS => Finding::warning(
            "foreign",
            "any page may connect, with whatever cookies its visitor has",
            "name your pages in listen.allowed_origins instead of \"*\"",
        ),
        Ok(answer) => Finding::skipped("foreign", format!("HTTP {}", answer.status.as_u16())),
        Err(error) => Finding::skipped("foreign", error.to_string()),
    }
}

fn of_clock(server_time: u64) -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now.abs_diff(server_time) {
        // The header counts whole seconds.
        off if off <= 2 => Finding::good("clock", "its clock and ours agree"),
        off if off <= CLOCK_OFF_MAX_S => Finding::good("clock", format!("its clock and ours differ by {off} s")),
        off => Finding::warning(
            "clock",
            format!("its clock and ours differ by {off} s"),
            "tokens are judged by the clock of the nodes: let all machines that make or judge them keep time (NTP)",
        ),
    }
}

fn of_metrics(way: &Way, answer: &io::Result<Answer>) -> Finding {
    match answer {
        Ok(answer) if answer.text.contains("fanfare_gateway_sessions") && !is_inside(way.address.host()) => {
            Finding::warning(
                "metrics",
                "/metrics can be read by everybody who reaches the hub",
                "keep /metrics, /healthz and /readyz inside, as the configurations in deploy/proxies do",
            )
        }
        Ok(answer) if answer.text.contains("fanfare_gateway_sessions") => {
            Finding::good("metrics", "they can be read from here, which is inside")
        }
        _ => Finding::good("metrics", "they cannot be read from here"),
    }
}

/// Whether a host is of this machine or of a network of one's own.
fn is_inside(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        // A name without dots is one of a network of one's own.
        Err(_) => !host.contains('.') || host.ends_with(".internal") || host.ends_with(".local"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn answered(status: u16, text: &str) -> io::Result<Answer> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, headers: HeaderMap::new(), text: text.to_owned() })
    }

    #[test]
    fn each_way_to_fail_has_its_remedy() {
        assert_eq!(of_upgrade(&answered(101, "")).verdict, Verdict::Good);
        for (status, remedy) in [
            (400, "Upgrade and Connection"),
            (404, "/connection/websocket"),
            (421, "allowed_hosts"),
            (502, "cannot reach a node"),
            (503, "check ready"),
            (302, "redirects"),
            (200, "address of a Fanfare hub"),
        ] {
            let finding = of_upgrade(&answered(status, "words\nmore"));
            assert_eq!((finding.verdict, finding.text), (Verdict::Problem, format!("HTTP {status}: words")));
            assert!(finding.remedy.is_some_and(|text| text.contains(remedy)), "{status}");
        }
    }

    #[test]
    fn pages_are_judged_by_their_origin() {
        assert_eq!(of_origin("https://a", &answered(403, "")).verdict, Verdict::Problem);
        assert_eq!(of_origin("https://a", &answered(101, "")).verdict, Verdict::Good);
        assert_eq!(of_foreign(&answered(101, "")).verdict, Verdict::Warning);
        assert_eq!(of_foreign(&answered(403, "")).verdict, Verdict::Good);
    }

    #[test]
    fn metrics_are_for_the_inside() {
        let judged = |host: &str| {
            let way = Way::new(fanfare_client::Address::parse(host).unwrap(), None);
            of_metrics(&way, &answered(200, "fanfare_gateway_sessions 1")).verdict
        };
        assert_eq!(judged("hub.example.com:80"), Verdict::Warning);
        for inside in ["127.0.0.1:8000", "10.0.0.1:80", "[::1]:80", "hub:80", "hub.internal:80"] {
            assert_eq!(judged(inside), Verdict::Good, "{inside}");
        }
    }

    #[test]
    fn clocks_may_differ_by_half_a_minute() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(
            [now, now - 20, now + 40].map(|time| of_clock(time).verdict),
            [Verdict::Good, Verdict::Good, Verdict::Warning]
        );
    }
}
