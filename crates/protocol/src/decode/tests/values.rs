//! What stands in a JSON command.

use super::*;

#[test]
fn only_an_object_is_a_command() {
    for text in ["null", "[]", "[{\"id\":1}]", "1", "\"x\"", "true", "x", "{\"id\":1", "\u{feff}{}"] {
        refused(text);
    }
}

#[test]
fn an_array_never_stands_for_a_message() {
    refused(r#"{"id":1,"connect":[]}"#);
    refused(r#"{"id":1,"connect":["token"]}"#);
    refused(r#"{"id":1,"connect":{"subs":{"a":["chan"]}}}"#);
}

#[test]
fn a_known_key_may_appear_once() {
    refused(r#"{"id":1,"id":1}"#);
    refused(r#"{"id":1,"connect":{},"connect":null}"#);
    refused(r#"{"id":1,"publish":{"channel":"a","data":1,"data":2}}"#);
    refused(r#"{"id":1,"publish":{"channel":"a","ch\u0061nnel":"b"}}"#);
    refused(r#"{"id":1,"connect":{"headers":{"a":"1","a":"2"}}}"#);
    assert_eq!(one(r#"{"later":1,"later":2,"id":3}"#).id, 3);
}

#[test]
fn keys_are_matched_exactly_and_refused_in_another_case() {
    refused(r#"{"ID":1}"#);
    refused(r#"{"id":1,"Connect":{}}"#);
    refused(r#"{"id":1,"publish":{"channel":"a","Data":1}}"#);
    assert_eq!(one(r#"{"id":1,"connec":1,"connects":2}"#).kind(), None);
    assert_eq!(one(r#"{"\u0069d":7}"#).id, 7);
}

#[test]
fn null_is_zero_for_plain_fields_and_no_message() {
    let command = one(r#"{"id":1,"connect":null,"subscribe":{"channel":null,"recover":null,"offset":null,"tf":null}}"#);
    assert_eq!(command.connect, None);
    assert_eq!(command.subscribe, Some(crate::SubscribeRequest::default()));
    let connect = one(r#"{"id":1,"connect":{"subs":{"a":null},"headers":null}}"#).connect.unwrap();
    assert_eq!(connect.subs["a"], crate::SubscribeRequest::default());
    assert!(connect.headers.is_empty());
}

#[test]
fn null_is_a_payload_and_a_missing_one_is_empty() {
    let data = |frame| one(frame).publish.unwrap().data;
    assert_eq!(data(r#"{"publish":{"data":null}}"#), "null");
    assert_eq!(data(r#"{"publish":{}}"#), "");
}

#[test]
fn a_payload_is_kept_byte_for_byte() {
    for payload in [r#"{ "a":1,"a" : 1e400 }"#, "\"\\u0041\\ud800\"", "[1,\r2]", "-0", "12345678901234567890"] {
        let command = one(format!(r#"{{"publish":{{"data": {payload} }}}}"#));
        assert_eq!(command.publish.unwrap().data, payload);
    }
}

#[test]
fn a_payload_that_is_no_json_is_refused() {
    for payload in ["", "x", "01", "[1,]", "{\"a\"}", "\"\t\"", "1 2"] {
        refused(format!(r#"{{"publish":{{"data":{payload}}}}}"#));
    }
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for id in ["-1", "4294967296", "1.0", "1e3", "\"1\"", "true", "[]", "18446744073709551616"] {
        refused(format!(r#"{{"id":{id}}}"#));
    }
    refused(r#"{"connect":{"token":1}}"#);
    refused(r#"{"connect":{"headers":{"a":1}}}"#);
    refused(r#"{"subscribe":{"recover":1}}"#);
    refused(r#"{"subscribe":{"channel":"\ud800"}}"#);
    assert_eq!(one(r#"{"id":4294967295}"#).id, u32::MAX);
}

#[test]
fn unknown_keys_are_skipped_whatever_they_hold() {
    assert_eq!(one(r#"{"a":{"b":[null,{"c":"\n"}]},"id":1,"d":1e999}"#).id, 1);
    refused(r#"{"a":{"b":[},"id":1}"#);
}

#[test]
fn a_payload_of_two_hundred_thousand_levels_passes_through() {
    let payload = "[".repeat(200_000) + &"]".repeat(200_000);
    let command = one(format!(r#"{{"id":1,"publish":{{"data":{payload}}},"unknown":{payload}}}"#));
    assert_eq!(command.publish.as_ref().unwrap().data, payload);
    let mut out = Vec::new();
    Encoding::Json.encode_command(&command, &mut out);
    assert_eq!(json(&out), [Ok(command)]);
}

#[test]
fn nesting_without_end_is_refused_where_messages_nest() {
    refused("[".repeat(200_000));
    refused(format!(r#"{{"publish":{{"data":{}}}}}"#, "[".repeat(200_000)));
    refused(format!(r#"{{"connect":{}"#, r#"{"subs":"#.repeat(50_000)));
    refused(format!(r#"{{"subscribe":{{"tf":{}"#, r#"{"nodes":["#.repeat(50_000)));
}
