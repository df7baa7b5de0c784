//! What the fuzz targets reach of this crate.

use crate::head::{self, Follows, Scan};

/// What is judged of a head that is taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Its bytes.
    pub bytes: usize,
    /// Bytes of the body behind it, if that is declared by its length.
    pub body_bytes: Option<u64>,
    /// Whether a WebSocket is asked for.
    pub is_websocket: bool,
}

/// Judges the head that some bytes begin with, when they come in pieces of this size. `None` if it is not whole, the
/// status of the answer if it is refused.
///
/// # Errors
/// The status of a refusal.
pub fn head(input: &[u8], piece_bytes: usize) -> Result<Option<Head>, u16> {
    let mut scan = Scan::default();
    for end in (0..input.len()).step_by(piece_bytes.max(1)).chain([input.len()]) {
        let refused = |refusal: head::Refusal| refusal.status().as_u16();
        if let Some(bytes) = scan.take(&input[..end]).map_err(refused)? {
            return head::judge(&input[..bytes]).map(|follows| Some(Head::of(bytes, follows))).map_err(refused);
        }
    }
    Ok(None)
}

impl Head {
    fn of(bytes: usize, follows: Follows) -> Self {
        let body_bytes = match follows {
            Follows::Body(bytes) => Some(bytes),
            Follows::Chunks | Follows::WebSocket => None,
        };
        Self { bytes, body_bytes, is_websocket: follows == Follows::WebSocket }
    }
}
