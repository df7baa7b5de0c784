//! The judge of raw heads, held against the parser that hyper uses, and the handshake behind it.
//!
//! What the judge takes has one meaning: where the head ends, whose it is, how long its body is.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// As the judge has it.
const HEADERS_MAX: usize = 100;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (pieces, input) = fanfare_fuzz::pieces(data);
    let judged = fanfare_server::fuzzing::head(input, pieces[0]);
    assert_eq!(judged, fanfare_server::fuzzing::head(input, usize::MAX), "how the bytes come does not matter");
    let Ok(Some(head)) = judged else { return };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    // What the judge takes and hyper does not, hyper answers with 400.
    let Ok(httparse::Status::Complete(bytes)) = parsed.parse(input) else { return };
    assert_eq!(bytes, head.bytes, "where the head ends");
    assert_eq!(parsed.version, Some(1));
    let Some(request) = request(&parsed) else { return };
    assert_eq!(count(request.headers(), "host"), 1);
    assert!(count(request.headers(), "content-length") + count(request.headers(), "transfer-encoding") <= 1);
    let declared = request.headers().get("content-length").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    let is_chunked = count(request.headers(), "transfer-encoding") == 1;
    match head.body_bytes {
        Some(bytes) => assert!(!is_chunked && declared.unwrap_or(0) == bytes),
        None => assert!(is_chunked || head.is_websocket),
    }
    let status = fanfare_gateway::fuzzing::handshake(&request);
    assert!(matches!(status, 101 | 400 | 405 | 426), "{status}");
    assert!(status != 101 || head.is_websocket, "upgraded without the gate knowing");
});

fn count(headers: &HeaderMap, name: &str) -> usize {
    headers.get_all(name).iter().count()
}

/// The request as a service would see it.
fn request(parsed: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let mut request = Request::builder().method(parsed.method?).uri(parsed.path?);
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    request.body(()).ok()
}
