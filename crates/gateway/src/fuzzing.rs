//! What the fuzz targets reach of this crate. Each panics where something does not hold.

use http::Request;

use crate::connection::wire::verdicts;
use crate::upgrade;

/// The header check has to agree with tungstenite on these bytes, which come in pieces of these sizes.
pub fn header_check(input: &[u8], pieces: &[usize]) {
    verdicts::check_agrees(input, pieces).expect("the check and tungstenite agree");
}

/// The adapter has to come to the same with these bytes, whether at once or in pieces of these sizes.
pub fn inbound(input: &[u8], pieces: &[usize]) {
    verdicts::pieces_do_not_matter(input, pieces).expect("how bytes are cut does not matter");
}

/// The status that a handshake is answered with.
pub fn handshake(request: &Request<()>) -> u16 {
    upgrade::answer(request).status().as_u16()
}
