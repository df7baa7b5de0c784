//! What hooks are run with: validated, plain data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_gateway::Hook;
use fanfare_outbound::Endpoint;
use fanfare_protocol::PayloadLimits;
use http::{HeaderName, HeaderValue};

use crate::signature::SigningKey;

/// All hooks.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Each that there is.
    pub hooks: BTreeMap<Hook, HookOptions>,
    /// What payloads, info and data in answers may be.
    pub payload: PayloadLimits,
}

/// One hook.
#[derive(Debug, Clone)]
pub struct HookOptions {
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// Whom to trust on the way.
    pub tls: Arc<rustls::ClientConfig>,
    /// Time for an answer, with all tries.
    pub timeout: Duration,
    /// Questions under way; one more is refused.
    pub in_flight_max: usize,
    /// Largest answer.
    pub answer_bytes_max: usize,
    /// Headers of the client's request that are passed on.
    pub pass_headers: Vec<HeaderName>,
    /// Headers that are added.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What requests are signed with; without one they are not.
    pub signing_keys: Vec<SigningKey>,
}

/// Whether a header can be passed on or added: none that HTTP, the body or the signature has for itself.
pub fn is_header_for_hooks(name: &HeaderName) -> bool {
    const OWN: &[&str] = &[
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = name.as_str();
    !OWN.contains(&name) && !name.starts_with("webhook-") && !name.starts_with("sec-websocket-")
}
