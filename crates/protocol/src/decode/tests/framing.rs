//! Units of a JSON frame, and what belongs to none.

use super::*;

#[test]
fn a_line_feed_stands_between_commands() {
    assert_eq!(ids(&json("{\"id\":1}\n{\"id\":2}")), [Some(1), Some(2)]);
    assert_eq!(ids(&json("{\"id\":1}\n{\"id\":2}\n")), [Some(1), Some(2)]);
}

#[test]
fn crlf_between_commands_is_accepted() {
    assert_eq!(ids(&json("{\"id\":1}\r\n{\"id\":2}\r\n")), [Some(1), Some(2)]);
}

#[test]
fn a_blank_line_ends_the_frame() {
    refused("\n{\"id\":1}");
    refused("\n");
    refused("\r\n");
    refused(" \t");
    assert_eq!(ids(&json("{\"id\":1}\n\n{\"id\":2}")), [Some(1), None]);
    assert_eq!(ids(&json("{\"id\":1}\r\n\r\n{\"id\":2}")), [Some(1), None]);
    assert_eq!(ids(&json("{\"id\":1}\n\n")), [Some(1), None]);
}

#[test]
fn an_empty_frame_is_an_error() {
    assert_eq!(json(""), [Err(DecodeError::Empty)]);
    assert_eq!(protobuf(""), [Err(DecodeError::Empty)]);
}

#[test]
fn commands_before_an_error_are_read_and_none_after_it() {
    assert_eq!(ids(&json("{\"id\":1}\n{]\n{\"id\":3}")), [Some(1), None]);
    let mut frames = Encoding::Json.decode_commands(b"{]");
    assert!(frames.next().unwrap().is_err());
    assert!(frames.next().is_none() && frames.next().is_none());
}

#[test]
fn the_empty_object_is_a_pong() {
    assert!(one("{}").is_pong());
    assert!(one(" { } \r\n").is_pong());
}

#[test]
fn a_command_of_unknown_fields_alone_is_no_pong() {
    refused(r#"{"x":1}"#);
    refused(r#"{"id":0}"#);
    refused(r#"{"connect":null}"#);
    let unknown = [3, 0xfa, 0x07, 0];
    assert!(matches!(protobuf(unknown)[..], [Err(DecodeError::Malformed(_))]));
    assert_eq!(Encoding::Json.decode_replies(br#"{"x":1}"#).next(), Some(Ok(Reply::default())));
}

#[test]
fn text_after_an_object_is_refused() {
    refused(r#"{"id":1}{"id":2}"#);
    refused(r#"{"id":1} x"#);
    refused(r#"{"id":1},"#);
}

#[test]
fn invalid_utf8_is_told_apart_and_nothing_of_the_frame_is_read() {
    for frame in [&b"\xff"[..], b"{\"id\":1,\"rpc\":{\"data\":\"\xc3\x28\"}}", b"{}\n{}\xed\xa0\x80"] {
        assert_eq!(json(frame), [Err(DecodeError::InvalidUtf8)]);
    }
}

#[test]
fn errors_never_quote_the_input() {
    for frame in [r#"{"connect":{"token":1,"x":"secret"}}"#, r#"{"id":"secret"}"#, r#"{"secret"}"#] {
        let error = json(frame).remove(0).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
