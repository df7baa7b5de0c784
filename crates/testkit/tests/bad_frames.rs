//! What a client's bad frames get (rows 1 to 17 and 20 of the table of bad input), with a client beside that behaves
//! and misses nothing. Rows 18 and 19 are about compression, which there is none of.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::{Duration, Instant};

use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Client, Node, Raw, Setup, client_frame, json, on_1_and_3_shards};

on_1_and_3_shards!(
    violations_are_closed_with_their_code,
    text_that_is_not_utf_8_is_closed_wherever_it_is_cut,
    what_follows_a_close_is_ignored,
    a_close_that_is_not_answered_ends_the_socket,
    floods_of_control_frames_without_reading,
    the_type_of_a_frame_is_not_judged,
);

const MESSAGE_BYTES_MAX: usize = 1_000;

/// A node and a client on it that behaves.
struct Stage {
    node: Node,
    canary: Client,
    published: u64,
}

impl Stage {
    async fn set(shards: usize) -> Self {
        let node = Setup::new(shards).sessions(|options| options.message_bytes_max = MESSAGE_BYTES_MAX).start().await;
        let mut canary = node.client().connect().await;
        canary.subscribe("news").await;
        Self { node, canary, published: 0 }
    }

    async fn raw(&self) -> Raw {
        Raw::upgrade(self.node.address(), "", b"").await
    }

    /// The one that behaves gets the next publication, and nothing else.
    async fn goes_on(&mut self, what: &str) {
        self.published += 1;
        self.node.publish("news", json!(self.published)).await;
        assert_eq!(self.canary.expect_publication("news").await["offset"], self.published, "{what}");
    }

    async fn violations(&self, reason: &str) -> f64 {
        self.node.metric_row("fanfare_gateway_violations_total", &format!("reason=\"{reason}\"")).await
    }

    /// Nothing is left of all who misbehaved.
    async fn is_clean(&mut self) {
        self.node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
        self.node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
        assert_eq!(self.canary.so_far().await, []);
    }

    /// Sends bytes, which have to be answered with this close code and count for this reason.
    async fn is_closed(&mut self, what: &str, bytes: &[u8], code: u16, reason: &str) {
        let (closes, violations) = (self.node.closes(code).await, self.violations(reason).await);
        let mut raw = self.raw().await;
        raw.write(bytes).await;
        let mut last = None;
        while let Some(frame) = raw.frame().await {
            last = Some(frame);
        }
        let last = last.unwrap_or_else(|| panic!("{what}: no close frame"));
        assert_eq!(last.close_code(), Some(code), "{what}");
        assert_eq!(self.node.closes(code).await, closes + 1.0, "{what}");
        assert_eq!(self.violations(reason).await, violations + 1.0, "{what}: {reason}");
        self.goes_on(what).await;
    }
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
    let mut stage = Stage::set(shards).await;
    let half = [b' '; MESSAGE_BYTES_MAX / 2 + 1];
    let rows = [
        ("1: too large by what is declared", declared(0x81, 126, &1_001_u16.to_be_bytes()), 1009, "message_bytes"),
        ("1: far too large", declared(0x82, 127, &(1_u64 << 40).to_be_bytes()), 1009, "message_bytes"),
        ("2: fragments too large together", in_pieces(0x81, &[&half, &half]), 1009, "message_bytes"),
        (
            "2: the second one only declared",
            [client_frame(0x01, &half), vec![0x80, 0xFE, 3, 0xE8]].concat(),
            1009,
            "message_bytes",
        ),
        ("3: 2^63", declared(0x82, 127, &(1_u64 << 63).to_be_bytes()), 1002, "length_form"),
        ("3: 2^64-1", declared(0x82, 127, &u64::MAX.to_be_bytes()), 1002, "length_form"),
        ("3: 2^63-1", declared(0x82, 127, &(u64::MAX >> 1).to_be_bytes()), 1009, "message_bytes"),
        ("4: a small length in 16 bits", declared(0x81, 126, &125_u16.to_be_bytes()), 1002, "length_form"),
        ("4: a small length in 64 bits", declared(0x81, 127, &126_u64.to_be_bytes()), 1002, "length_form"),
        ("5: RSV1", client_frame(0xC1, b"{}"), 1002, "reserved_bits"),
        ("5: RSV2", client_frame(0xA1, b"{}"), 1002, "reserved_bits"),
        ("5: RSV3 on a ping", client_frame(0x99, b""), 1002, "reserved_bits"),
        ("6: opcode 3", client_frame(0x83, b""), 1002, "opcode"),
        ("6: opcode 7", client_frame(0x87, b""), 1002, "opcode"),
        ("6: opcode 0xB", client_frame(0x8B, b""), 1002, "opcode"),
        ("6: opcode 0xF", client_frame(0x8F, b""), 1002, "opcode"),
        ("7: not masked", vec![0x81, 2, b'{', b'}'], 1002, "unmasked"),
        ("8: a ping of 126 bytes", client_frame(0x89, &[b'x'; 126]), 1002, "control_length"),
        ("8: a close of 126 bytes", client_frame(0x88, &[b'x'; 126]), 1002, "control_length"),
        ("9: half a ping", client_frame(0x09, b""), 1002, "control_fragment"),
        ("9: half a close", client_frame(0x08, b""), 1002, "control_fragment"),
        ("10: a continuation of nothing", client_frame(0x80, b"{}"), 1002, "continuation"),
        (
            "10: a text within another",
            [client_frame(0x01, b"{"), client_frame(0x81, b"{}")].concat(),
            1002,
            "interleaved",
        ),
        ("12: a close of one byte", client_frame(0x88, b"x"), 1002, "close_payload"),
        ("12: a reason that is not UTF-8", client_frame(0x88, b"\x03\xE8\xFF"), 1007, "invalid_text"),
        ("15: too many pings", client_frame(0x89, b"").repeat(120), 1008, "control_rate"),
        ("16: too many pongs", client_frame(0x8A, b"x").repeat(120), 1008, "control_rate"),
        (
            "17: too many fragments",
            [client_frame(0x01, b""), client_frame(0, b"").repeat(1_024)].concat(),
            1008,
            "fragments",
        ),
        (
            "17: 131 k of one byte",
            [client_frame(0x01, b" "), client_frame(0, b" ").repeat(131_000)].concat(),
            1009,
            "message_bytes",
        ),
    ];
    for (what, bytes, code, reason) in rows {
        // What fills 1,000 bytes one at a time is too large before it is too many.
        stage.is_closed(what, &bytes, code, reason).await;
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 5_000] {
        stage
            .is_closed(&format!("12: code {code}"), &client_frame(0x88, &code.to_be_bytes()), 1002, "close_payload")
            .await;
    }
    stage.is_clean().await;
}

/// Row 11, by the classes of Autobahn's 6.*: the connection ends when the frame with it is whole.
async fn text_that_is_not_utf_8_is_closed_wherever_it_is_cut(shards: usize) {
    let mut stage = Stage::set(shards).await;
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
    for (what, text) in texts {
        stage.is_closed(what, &client_frame(0x81, text), 1007, "invalid_text").await;
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        stage.is_closed(what, &in_pieces(0x81, &bytes), 1007, "invalid_text").await;
    }
    // Fast: a message that is wrong already is not waited for.
    stage.is_closed("unfinished", &client_frame(0x01, b"\xED\xA0\x80"), 1007, "invalid_text").await;
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
    let mut stage = Stage::set(shards).await;
    let close = client_frame(0x88, &1000_u16.to_be_bytes());
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    for behind in [&connect[..], &[0xFF; 1_000], &client_frame(0x88, &4_000_u16.to_be_bytes())] {
        let mut raw = stage.raw().await;
        let asked = Instant::now();
        raw.write(&[&close[..], behind].concat()).await;
        assert_eq!(raw.frame().await.unwrap().close_code(), Some(1000));
        assert_eq!(raw.frame().await, None, "the node ends its side, and says nothing more");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    }
    stage.goes_on("behind a close").await;
    stage.is_clean().await;
    let none = stage.node.metric("fanfare_gateway_violations_total").await;
    assert_eq!(none, 0.0);
}

/// Row 14: whoever neither answers nor ends its side is cut off.
async fn a_close_that_is_not_answered_ends_the_socket(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut raw = stage.raw().await;
    raw.write(&client_frame(0x83, b"")).await;
    assert_eq!(raw.frame().await.unwrap().close_code(), Some(1002));
    // It stays and says nothing.
    stage.node.metric_becomes("fanfare_gateway_sockets_cut_total", 1.0).await;
    stage.node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    stage.goes_on("a close without an answer").await;
    drop(raw);
    stage.is_clean().await;
}

/// Rows 15 and 16, attack M1: the answers wait for someone who never reads, and are bounded before any login.
async fn floods_of_control_frames_without_reading(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut floods = Vec::new();
    for _ in 0..20 {
        let mut client = stage.node.client().narrow().open().await;
        client.send_bytes(&client_frame(0x89, &[b'x'; 125]).repeat(200)).await;
        floods.push(client);
    }
    let ended = || async { (stage.violations("control_rate").await == 20.0).then_some(()) };
    eventually("all floods to be ended", ended).await;
    // 50 pongs of 127 bytes for each second that the 200 pings fell into, of which there are two.
    let waiting = stage.node.metric("fanfare_gateway_outbox_bytes").await;
    assert!(waiting <= 20.0 * 2.0 * 51.0 * 127.0, "{waiting} bytes wait");
    stage.goes_on("floods of pings").await;
    drop(floods);
    stage.is_clean().await;
}

/// Row 20, where the protocol holds: the encoding was agreed on, and a text may carry Protobuf.
async fn the_type_of_a_frame_is_not_judged(shards: usize) {
    let mut stage = Stage::set(shards).await;
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
