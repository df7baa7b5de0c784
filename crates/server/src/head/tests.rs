use super::*;

/// Judges bytes as they come: in one piece and one by one.
#[track_caller]
fn read(bytes: &[u8]) -> Result<Option<Follows>, Refusal> {
    let whole = Scan::default().take(bytes);
    let mut scan = Scan::default();
    let pieces = (0..=bytes.len()).map(|length| scan.take(&bytes[..length])).find(|found| *found != Ok(None));
    assert_eq!(whole, pieces.unwrap_or(Ok(None)));
    whole?.map(|length| judge(&bytes[..length])).transpose()
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, refusal: Refusal) {
    assert_eq!(read(bytes.as_ref()), Err(refusal), "{:?}", String::from_utf8_lossy(bytes.as_ref()));
}

#[track_caller]
fn accepted(headers: &str, follows: Follows) {
    let head = format!("POST /api/publish HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    assert_eq!(read(head.as_bytes()), Ok(Some(follows)), "{headers:?}");
}

#[track_caller]
fn refused_with(headers: &str, refusal: Refusal) {
    refused(format!("POST /api/publish HTTP/1.1\r\nHost: x\r\n{headers}\r\n"), refusal);
}

#[test]
fn good_heads_pass() {
    accepted("", Follows::Body(0));
    accepted("Content-Length: 12\r\n", Follows::Body(12));
    accepted("content-length:\t7 \r\nX-Empty:\r\nX-Text: \u{e9} \"a, b\"\r\n", Follows::Body(7));
    accepted("Transfer-Encoding: Chunked\r\n", Follows::Chunks);
    accepted("Connection: Upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 0\r\n", Follows::WebSocket);
    accepted("Upgrade: h2c\r\nContent-Length: 3\r\n", Follows::Body(3));
    for host in ["hub.example", "hub.example:8000", "127.0.0.1", "[::1]:80", "a_b"] {
        assert_eq!(read(format!("GET / HTTP/1.1\r\nHOST: {host}\r\n\r\n").as_bytes()), Ok(Some(Follows::Body(0))));
    }
    assert_eq!(read(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(Some(Follows::Body(0))));
}

#[test]
fn what_is_not_whole_is_waited_for() {
    for part in ["", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
        assert_eq!(read(part.as_bytes()), Ok(None), "{part:?}");
    }
}

#[test]
fn the_request_line() {
    refused(b"\x16\x03\x01\x02\x00", Refusal::Tls);
    refused(b"\x17\x03\x01\x02\x00", Refusal::NotHttp);
    refused(b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::NotHttp);
    for line in ["GET /", "GET  / HTTP/1.1", "GET / x HTTP/1.1", "GET / http/1.1", "G(T / HTTP/1.1", "GET /\tHTTP/1.1"]
    {
        refused(format!("{line}\r\nHost: x\r\n\r\n"), Refusal::RequestLine);
    }
    for version in ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "HTTP/1.1x", "HTTP/"] {
        refused(format!("GET / {version}\r\nHost: x\r\n\r\n"), Refusal::Version);
    }
    for target in ["http://x/", "x", "*", "x:443", "/\u{e9}"] {
        refused(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"), Refusal::Target);
    }
    refused(format!("GET /{}", "x".repeat(20_000)), Refusal::TargetLength);
}

#[test]
fn the_host() {
    refused("GET / HTTP/1.1\r\n\r\n", Refusal::Host);
    refused_with("Host: x\r\n", Refusal::Host);
    refused_with("HOST: y\r\n", Refusal::Host);
    for host in ["", " ", "a b", "a,b", "user@host", "x/path", "x?y", "a\\b"] {
        refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Refusal::Host);
    }
}

#[test]
fn what_can_be_read_in_two_ways() {
    refused_with("Content-Length: 5\r\nContent-Length: 5\r\n", Refusal::Length);
    refused_with("Content-Length: 5\r\ncontent-length: 6\r\n", Refusal::Length);
    for length in ["", "+5", "-1", "5,5", "0x5", "5 5", "1e3", "9999999999999999999"] {
        refused_with(&format!("Content-Length: {length}\r\n"), Refusal::Length);
    }
    refused_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::Length);
    refused_with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Refusal::Length);
    for encoding in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;a=b", "identity", "\u{b}chunked"]
    {
        let refusal = if encoding.starts_with('\u{b}') { Refusal::ControlCharacter } else { Refusal::TransferEncoding };
        refused_with(&format!("Transfer-Encoding: {encoding}\r\n"), refusal);
    }
    refused_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::TransferEncoding);
    refused_with("Transfer-Encoding : chunked\r\n", Refusal::HeaderLine);
    refused_with("X: a\r\n folded\r\n", Refusal::HeaderLine);
    refused_with("X: a\r\n\tfolded: b\r\n", Refusal::HeaderLine);
    refused_with("no colon\r\n", Refusal::HeaderLine);
    refused_with(": no name\r\n", Refusal::HeaderLine);
    refused_with("Upgrade: websocket\r\nContent-Length: 5\r\n", Refusal::UpgradeBody);
    refused_with("Upgrade: h2c, WebSocket\r\nTransfer-Encoding: chunked\r\n", Refusal::UpgradeBody);
}

#[test]
fn bytes_that_do_not_belong_into_a_head() {
    refused("GET / HTTP/1.1\nHost: x\n\n", Refusal::LineEnd);
    refused_with("X: a\nY: b\r\n", Refusal::LineEnd);
    refused_with("X: a\rY: b\r\n", Refusal::LineEnd);
    refused_with("X: a\r\r\n", Refusal::LineEnd);
    for byte in ['\0', '\u{1}', '\u{b}', '\u{1b}', '\u{7f}'] {
        refused_with(&format!("X: a{byte}b\r\n"), Refusal::ControlCharacter);
    }
}

#[test]
fn heads_are_bounded() {
    refused_with(&format!("X: {}\r\n", "x".repeat(80_000)), Refusal::HeadBytes);
    refused_with(&format!("Sec-WebSocket-Protocol: {}x\r\n", " ".repeat(32_000)), Refusal::HeadBytes);
    refused_with(&"X: y\r\n".repeat(200), Refusal::HeaderCount);
    // One is Host.
    accepted(&"X: y\r\n".repeat(99), Follows::Body(0));
    refused_with(&"X: y\r\n".repeat(100), Refusal::HeaderCount);
}

#[test]
fn labels_are_different() {
    let mut labels: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Refusal::ALL.len());
}
