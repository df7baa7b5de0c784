//! What a client's bad frames get (rows 1 to 17 and 20 of the table of bad input), with a client beside that
//! behaves and misses nothing. Rows 18 and 19 are about compression, which there is none of.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::{Duration, Instant};

use fanfare_testkit::bad_input::case;
use fanfare_testkit::{Raw, Setup, Stage, client_frame, on_1_and_3_shards};

on_1_and_3_shards!(
    violations_are_closed_with_their_code,
    text_that_is_not_utf_8_is_closed_wherever_it_is_cut,
    what_follows_a_close_is_ignored,
    a_close_that_is_not_answered_ends_the_socket,
    floods_of_control_frames_without_reading,
    the_type_of_a_frame_is_not_judged,
);

const MESSAGE_BYTES_MAX: usize = 1_000;

async fn stage(shards: usize) -> Stage {
    Stage::set_up(Setup::new(shards).sessions(|options| options.message_bytes_max = MESSAGE_BYTES_MAX)).await
}

/// A header and nothing behind it: the marker of the length and its bytes.
fn declared(first: u8, marker: u8, length: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | marker], length].concat()
}

fn in_pieces(first: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let opcode = if at == 0 { first & 0x0F } else { 0 };
        client_frame(if at == last { 0x80 | opcode } else { opcode }, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

async fn violations_are_closed_with_their_code(shards: usize) {
    let mut stage = stage(shards).await;
    let half = [b' '; MESSAGE_BYTES_MAX / 2 + 1];
    let rows = [
        (case(1, "declared"), "too large by what is declared", declared(0x81, 126, &1_001_u16.to_be_bytes())),
        (case(1, "declared"), "far too large", declared(0x82, 127, &(1_u64 << 40).to_be_bytes())),
        (case(2, "fragments"), "too large together", in_pieces(0x81, &[&half, &half])),
        (
            case(2, "fragments"),
            "the second one only declared",
            [client_frame(0x01, &half), vec![0x80, 0xFE, 3, 0xE8]].concat(),
        ),
        (case(3, "beyond 63 bits"), "2^63", declared(0x82, 127, &(1_u64 << 63).to_be_bytes())),
        (case(3, "beyond 63 bits"), "2^64-1", declared(0x82, 127, &u64::MAX.to_be_bytes())),
        (case(3, "63 bits"), "2^63-1", declared(0x82, 127, &(u64::MAX >> 1).to_be_bytes())),
        (case(4, "form"), "a small length in 16 bits", declared(0x81, 126, &125_u16.to_be_bytes())),
        (case(4, "form"), "a small length in 64 bits", declared(0x81, 127, &126_u64.to_be_bytes())),
        (case(5, "bit"), "RSV1", client_frame(0xC1, b"{}")),
        (case(5, "bit"), "RSV2", client_frame(0xA1, b"{}")),
        (case(5, "bit"), "RSV3 on a ping", client_frame(0x99, b"")),
        (case(7, "unmasked"), "not masked", vec![0x81, 2, b'{', b'}']),
        (case(8, "length"), "a ping of 126 bytes", client_frame(0x89, &[b'x'; 126])),
        (case(8, "length"), "a close of 126 bytes", client_frame(0x88, &[b'x'; 126])),
        (case(9, "half"), "half a ping", client_frame(0x09, b"")),
        (case(9, "half"), "half a close", client_frame(0x08, b"")),
        (case(10, "continuation"), "a continuation of nothing", client_frame(0x80, b"{}")),
        (
            case(10, "interleaved"),
            "a text within another",
            [client_frame(0x01, b"{"), client_frame(0x81, b"{}")].concat(),
        ),
        (case(12, "one byte"), "a close of one byte", client_frame(0x88, b"x")),
        (case(12, "reason"), "a reason that is not UTF-8", client_frame(0x88, b"\x03\xE8\xFF")),
        (case(15, "pings"), "too many pings", client_frame(0x89, b"").repeat(120)),
        (case(16, "pongs"), "too many pongs", client_frame(0x8A, b"x").repeat(120)),
        (
            case(17, "empty"),
            "too many fragments",
            [client_frame(0x01, b""), client_frame(0, b"").repeat(1_024)].concat(),
        ),
        // What fills 1,000 bytes one at a time is too large before it is too many.
        (case(17, "one byte"), "131 k", [client_frame(0x01, b" "), client_frame(0, b" ").repeat(131_000)].concat()),
    ];
    for (case, what, bytes) in rows {
        stage.closes(what, case, &bytes).await;
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        stage.closes(&format!("opcode {opcode}"), case(6, "opcode"), &client_frame(0x80 | opcode, b"")).await;
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 5_000] {
        stage.closes(&format!("code {code}"), case(12, "code"), &client_frame(0x88, &code.to_be_bytes())).await;
    }
    stage.is_clean().await;
}

/// Row 11, by the classes of Autobahn's 6.*: the connection ends when the frame with it is whole.
async fn text_that_is_not_utf_8_is_closed_wherever_it_is_cut(shards: usize) {
    let mut stage = stage(shards).await;
    let text = case(11, "text");
    let texts: [(&str, &[u8]); 9] = [
        ("a surrogate", b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"),
        ("a lone continuation byte", b"a\x80"),
        ("a start without its continuation", b"a\xC3 "),
        ("an overlong slash", b"\xC0\xAF"),
        ("an overlong NUL", b"\xE0\x80\x80"),
        ("over U+10FFFF", b"\xF4\x90\x80\x80"),
        ("five bytes", b"\xF8\x88\x80\x80\x80"),
        ("a byte that never occurs", b"\xFE"),
        ("cut off", b"\xCE\xBA\xE1\xBD"),
    ];
    for (what, bad) in texts {
        stage.closes(what, text, &client_frame(0x81, bad)).await;
        let bytes: Vec<&[u8]> = bad.chunks(1).collect();
        stage.closes(what, text, &in_pieces(0x81, &bytes)).await;
        let mut raw = stage.raw().await;
        let mut segments = client_frame(0x81, bad);
        let last = segments.pop().unwrap();
        for byte in segments {
            raw.write(&[byte]).await;
        }
        stage.closes_on(raw, what, text, &[last]).await;
    }
    // Fast: a message that is wrong already is not waited for.
    stage.closes("unfinished", text, &client_frame(0x01, b"\xED\xA0\x80")).await;
    // In segments, and all of it good.
    let mut raw = stage.raw().await;
    let command = r#"{"id":1,"connect":{"name":"κόσμε"}}"#.as_bytes();
    let pieces: Vec<&[u8]> = command.chunks(1).collect();
    for byte in in_pieces(0x81, &pieces) {
        raw.write(&[byte]).await;
    }
    assert!(raw.frame().await.unwrap().payload.starts_with(b"{\"id\":1,\"connect\""));
    drop(raw);
    stage.is_clean().await;
}

/// Row 13.
async fn what_follows_a_close_is_ignored(shards: usize) {
    let mut stage = stage(shards).await;
    let behind_close = case(13, "behind");
    let close = client_frame(0x88, &1000_u16.to_be_bytes());
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    for behind in [&connect[..], &[0xFF; 1_000], &client_frame(0x88, &4_000_u16.to_be_bytes())] {
        let mut raw = stage.raw().await;
        let asked = Instant::now();
        raw.write(&[&close[..], behind].concat()).await;
        assert_eq!(raw.frame().await.unwrap().close_code(), Some(behind_close.close()));
        assert_eq!(raw.frame().await, None, "the node ends its side, and says nothing more");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    }
    stage.moved(behind_close, 0.0, 3.0).await;
    assert_eq!(stage.node.metric("fanfare_gateway_violations_total").await, 0.0);
    stage.goes_on("what is behind a close").await;
    stage.is_clean().await;
}

/// Row 14: whoever neither answers nor ends its side is cut off.
async fn a_close_that_is_not_answered_ends_the_socket(shards: usize) {
    let mut stage = stage(shards).await;
    let silence = case(14, "silence");
    let mut raw = stage.raw().await;
    raw.write(&client_frame(0x83, b"")).await;
    assert_eq!(raw.frame().await.unwrap().close_code(), Some(silence.close()));
    // It stays and says nothing.
    stage.moved(silence, 0.0, 1.0).await;
    stage.goes_on("a close without an answer").await;
    drop(raw);
    stage.is_clean().await;
}

/// Rows 15 and 16, attack M1: the answers wait for someone who never reads, and are bounded before any login.
async fn floods_of_control_frames_without_reading(shards: usize) {
    let mut stage = stage(shards).await;
    let mut floods = Vec::new();
    for _ in 0..20 {
        let mut client = stage.node.client().narrow().open().await;
        client.send_bytes(&client_frame(0x89, &[b'x'; 125]).repeat(200)).await;
        floods.push(client);
    }
    stage.moved(case(15, "pings"), 0.0, 20.0).await;
    // 50 pongs of 127 bytes for each second that the 200 pings fell into, of which there are two.
    let waiting = stage.node.metric("fanfare_gateway_outbox_bytes").await;
    assert!(waiting <= 20.0 * 2.0 * 51.0 * 127.0, "{waiting} bytes wait");
    stage.goes_on("floods of pings").await;
    drop(floods);
    stage.is_clean().await;
}

/// Row 20, where the protocol holds: the encoding was agreed on, and a text may carry Protobuf.
async fn the_type_of_a_frame_is_not_judged(shards: usize) {
    let mut stage = stage(shards).await;
    case(20, "other type").is_fine();
    let mut binary = stage.raw().await;
    binary.write(&client_frame(0x82, br#"{"id":1,"connect":{}}"#)).await;
    assert_eq!(binary.frame().await.unwrap().first, 0x81);
    let mut text = Raw::upgrade(stage.node.address(), "format=protobuf", b"").await;
    text.write(&client_frame(0x81, &[4, 0x08, 1, 0x22, 0])).await;
    assert_eq!(text.frame().await.unwrap().first, 0x82);
    drop((binary, text));
    stage.goes_on("frames of the other type").await;
    stage.is_clean().await;
}
