//! What has to hold of the header check and of the adapter behind it, for any bytes: for properties and fuzz targets.
//!
//! What the check lets pass tungstenite takes too, and what tungstenite refuses for its framing the check has refused
//! with the code that is due. How the bytes of a connection are cut makes no difference.

use fanfare_protocol::FrameCheck;
use tokio_tungstenite::tungstenite::error::CapacityError;

use super::*;

const MESSAGE_BYTES_MAX: usize = 300;

/// What tungstenite has no bound for is without one here too.
const LIMITS: FrameLimits = FrameLimits {
    message_bytes_max: MESSAGE_BYTES_MAX as u32,
    fragments_max: u32::MAX,
    control_frames_per_second: u32::MAX,
};

/// Holds the header check against tungstenite, on bytes that come in pieces of these sizes, over and over.
pub(crate) fn check_agrees(input: &[u8], pieces: &[usize]) -> Result<(), String> {
    let (accepted, violation) = judge(input, pieces);
    let at_once = judge(input, &[usize::MAX]);
    if (accepted, violation) != at_once {
        return Err(format!("{accepted} bytes and {violation:?} in pieces, at once {at_once:?}"));
    }
    if let Some(left) = refusal(&input[..accepted]).filter(|error| code(error).is_some()) {
        return Err(format!("the check let pass: {left:?}"));
    }
    let found = refusal(input).as_ref().and_then(code);
    match (violation.map(|violation| violation.disconnect().code), found) {
        (_, None) => Ok(()),
        (Some(own), Some(found)) if own == found => Ok(()),
        // The check found something in front of the length that tungstenite looks at first.
        (Some(1002), Some(1009)) => Ok(()),
        (own, found) => Err(format!("the check says {own:?}, tungstenite {found:?}")),
    }
}

/// tungstenite's judgement of some bytes: `None` if it waits for more or was closed in order.
fn refusal(input: &[u8]) -> Option<Error> {
    let mut websocket = websocket();
    let mut wire = Wire { input, output: Vec::new() };
    loop {
        match websocket.read(&mut wire) {
            Ok(_) => {}
            Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => return None,
            Err(error) => return Some(error),
        }
    }
}

fn websocket() -> WebSocketContext {
    WebSocketContext::new(Role::Server, Some(limits::websocket_config(MESSAGE_BYTES_MAX)))
}

/// The code that a violation found by tungstenite gets (RFC 6455 §7.4.1); `None` for what stands in a payload.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Utf8(_) => None,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(1009),
        Error::Protocol(_) => Some(1002),
        other => panic!("not expected of bytes: {other}"),
    }
}

fn judge(input: &[u8], pieces: &[usize]) -> (usize, Option<FrameViolation>) {
    let mut check = FrameCheck::new();
    let mut accepted = 0;
    for piece in cut(input, pieces) {
        let judged = check.take(piece, &LIMITS, 1);
        accepted += judged.accepted;
        if judged.violation.is_some() || judged.accepted < piece.len() {
            return (accepted, judged.violation);
        }
    }
    (accepted, None)
}

/// The input in pieces of these sizes, over and over.
fn cut<'a>(input: &'a [u8], pieces: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = input;
    let mut sizes = pieces.iter().cycle();
    std::iter::from_fn(move || {
        let size = *sizes.next()?;
        let (piece, behind) = rest.split_at(rest.len().min(size.max(1)));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What a connection's bytes come to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    pongs: u32,
    ended: Option<Result<(), FrameViolation>>,
    answers: Vec<u8>,
}

/// Takes some bytes at once and in pieces of these sizes, over and over: it has to come to the same, and what is
/// answered has to be whole frames.
pub(crate) fn pieces_do_not_matter(input: &[u8], pieces: &[usize]) -> Result<(), String> {
    let (at_once, in_pieces) = (outcome(input, &[usize::MAX]), outcome(input, pieces));
    if at_once != in_pieces {
        return Err(format!("at once {at_once:?}, in pieces {in_pieces:?}"));
    }
    if !are_control_frames(&at_once.answers) {
        return Err(format!("answered with {:?}", at_once.answers));
    }
    Ok(())
}

fn outcome(input: &[u8], pieces: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut intake = Intake::new(true);
    for piece in cut(input, pieces) {
        let (inbound, answers) = intake.take(piece, &LIMITS, 1);
        outcome.messages.extend(inbound.messages);
        outcome.pongs += inbound.pongs;
        outcome.answers.extend(answers);
        outcome.ended = inbound.ended;
        if outcome.ended.is_some() {
            break;
        }
    }
    outcome
}

/// Whether bytes are pongs, and at the end perhaps a close, as a server sends them.
fn are_control_frames(mut bytes: &[u8]) -> bool {
    while let [first, length @ 0..=125, rest @ ..] = bytes {
        let is_known = *first == 0x8A || *first == 0x88;
        let Some(behind) = rest.get(usize::from(*length)..).filter(|_| is_known) else { return false };
        bytes = behind;
    }
    bytes.is_empty()
}
