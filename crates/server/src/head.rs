//! The head of a request, judged on its raw bytes.
//!
//! hyper is lenient where two readers of the same bytes could disagree: it takes a request without a `Host` or with
//! two, lines that end in a bare line feed, the same `Content-Length` twice, and drops the length beside chunked before
//! a service sees it. A proxy in front may read such a head otherwise, and then takes a part of one request for
//! another. What can be read in two ways is refused here, and hyper sees only the rest. Nothing here waits or
//! allocates; the reader of bytes is [`crate::gate`].

use http::StatusCode;

/// The largest head of a request; then 431.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The longest request line; then 414. Half of the head: a token in a query has 1 to 4 KiB.
const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request; then 431. A browser sends some 15, proxies add some 10. hyper's own bound is the same.
const HEADERS_MAX: usize = 100;

/// What a TLS connection begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// The most digits of a `Content-Length`: 10^18 bytes fit into 64 bits, and no API takes them.
const LENGTH_DIGITS_MAX: usize = 18;

/// Declares the refusals: name, label, status, text.
macro_rules! refusals {
    ($($name:ident = $label:literal, $status:ident, $text:literal;)*) => {
        /// Why a request goes no further.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Refusal {
            $(#[doc = $text] $name,)*
        }

        impl Refusal {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The refusal's name in metrics and logs.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// What the client is told.
            pub(crate) fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    NotHttp = "not_http", BAD_REQUEST, "this is no HTTP request";
    Tls = "tls", BAD_REQUEST, "this port does not speak TLS";
    LineEnd = "line_end", BAD_REQUEST, "lines of a request's head end in CR LF";
    ControlCharacter = "control_character", BAD_REQUEST, "a request's head has no control characters";
    RequestLine = "request_line", BAD_REQUEST, "a request begins with its method, its path and HTTP/1.1";
    Target = "target", BAD_REQUEST, "the path of a request begins with a slash and has no host in front";
    TargetLength = "target_length", URI_TOO_LONG, "a request line has at most 8192 bytes";
    Version = "version", HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here; a proxy may have to be told";
    HeaderLine = "header_line", BAD_REQUEST, "a header has a name, a colon and its value on one line";
    Host = "host", BAD_REQUEST, "a request has exactly one Host";
    Length = "length", BAD_REQUEST, "a request has at most one Content-Length, in digits, and none beside Transfer-Encoding";
    TransferEncoding = "transfer_encoding", BAD_REQUEST, "the only Transfer-Encoding is chunked, once";
    UpgradeBody = "upgrade_body", BAD_REQUEST, "a request for a WebSocket has no body";
    HeadBytes = "head_bytes", REQUEST_HEADER_FIELDS_TOO_LARGE, "a request's head has at most 16384 bytes";
    HeaderCount = "header_count", REQUEST_HEADER_FIELDS_TOO_LARGE, "a request has at most 100 headers";
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// A body of so many bytes, and then another head.
    Body(u64),
    /// A body in chunks: what comes behind it is not looked at, so it must not be another request.
    Chunks,
    /// Frames, if the handshake is accepted.
    WebSocket,
}

/// Looks for the end of a head while its bytes come, each once.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    scanned: usize,
    /// Whether the request line has ended.
    past_request_line: bool,
}

impl Scan {
    /// The length of the head that these bytes begin with, once it is whole. They are those of the last call, and more.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.scanned) {
            let before = &bytes[..self.scanned];
            check_byte(before.last().copied(), byte)?;
            self.scanned += 1;
            if byte == b'\n' {
                if before.ends_with(b"\r\n\r") {
                    return Ok(Some(self.scanned));
                }
                self.past_request_line = true;
            }
            if self.scanned > REQUEST_LINE_BYTES_MAX && !self.past_request_line {
                return Err(Refusal::TargetLength);
            }
            if self.scanned >= HEAD_BYTES_MAX {
                return Err(Refusal::HeadBytes);
            }
        }
        Ok(None)
    }
}

fn check_byte(before: Option<u8>, byte: u8) -> Result<(), Refusal> {
    match (before, byte) {
        (Some(b'\r'), b'\n') => Ok(()),
        (Some(b'\r'), _) | (_, b'\n') => Err(Refusal::LineEnd),
        (None, TLS_HANDSHAKE) => Err(Refusal::Tls),
        (None, byte) if !is_token(byte) => Err(Refusal::NotHttp),
        (_, b'\r' | b'\t') => Ok(()),
        (_, 0..=0x1F | 0x7F) => Err(Refusal::ControlCharacter),
        _ => Ok(()),
    }
}

/// What a name consists of (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token)
}

/// What is collected of the headers.
#[derive(Debug, Default)]
struct Headers {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

/// Judges a whole head, as [`Scan`] found it.
pub(crate) fn judge(head: &[u8]) -> Result<Follows, Refusal> {
    let mut lines = lines(head);
    check_request_line(lines.next().unwrap_or_default())?;
    let mut headers = Headers::default();
    for line in lines {
        headers.take(line)?;
    }
    headers.judge()
}

/// The lines of a head, without their ends and without the empty one that ends it.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    // A carriage return stands nowhere but before a line feed.
    lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::RequestLine);
    };
    check(is_name(method), Refusal::RequestLine)?;
    check(version.starts_with(b"HTTP/"), Refusal::RequestLine)?;
    check(version == b"HTTP/1.1", Refusal::Version)?;
    let is_path = target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS");
    check(is_path && target.iter().all(u8::is_ascii_graphic), Refusal::Target)
}

impl Headers {
    fn take(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.count += 1;
        check(self.count <= HEADERS_MAX, Refusal::HeaderCount)?;
        // A line that goes on from the one before (obs-fold) has no name.
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::HeaderLine)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        check(is_name(name), Refusal::HeaderLine)?;
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            check(is_host(value), Refusal::Host)
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = parse_length(value).filter(|_| self.length.is_none());
            self.length = Some(length.ok_or(Refusal::Length)?);
            Ok(())
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_first = !std::mem::replace(&mut self.chunked, true);
            check(is_first && value.eq_ignore_ascii_case(b"chunked"), Refusal::TransferEncoding)
        } else {
            self.websocket |= name.eq_ignore_ascii_case(b"upgrade") && names_websocket(value);
            Ok(())
        }
    }

    fn judge(&self) -> Result<Follows, Refusal> {
        check(self.hosts == 1, Refusal::Host)?;
        check(!(self.chunked && self.length.is_some()), Refusal::Length)?;
        let has_body = self.chunked || self.length.is_some_and(|length| length > 0);
        check(!(self.websocket && has_body), Refusal::UpgradeBody)?;
        Ok(match (self.websocket, self.chunked) {
            (true, _) => Follows::WebSocket,
            (false, true) => Follows::Chunks,
            (false, false) => Follows::Body(self.length.unwrap_or(0)),
        })
    }
}

/// Whether the value of an `Upgrade` may be taken for a wish for a WebSocket.
pub(crate) fn names_websocket(value: &[u8]) -> bool {
    value.windows(b"websocket".len()).any(|part| part.eq_ignore_ascii_case(b"websocket"))
}

/// A name or an address and perhaps a port: nothing that a proxy could take for a path, a user or a list.
fn is_host(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
    !value.is_empty() && value.iter().all(is_allowed)
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let is_number = (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    digits.parse().ok()
}

fn check(kept: bool, refusal: Refusal) -> Result<(), Refusal> {
    if kept { Ok(()) } else { Err(refusal) }
}

#[cfg(test)]
mod tests;
