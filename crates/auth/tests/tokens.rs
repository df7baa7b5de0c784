//! Tokens as they come from outside: what is believed, and what is refused with which error.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fanfare_auth::{
    Allowed, ConnectionClaims, Options, OptionsError, Secret, SubscriptionClaims, TokenError, TokenId, Verifier,
    limits::TOKEN_BYTES_MAX,
};
use fanfare_protocol::{Channel, SubscriptionOverrides};
use jsonwebtoken::{Algorithm, EncodingKey};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_000_000;

fn options() -> Options {
    Options { hmac_secret: Some(Secret::new(SECRET.to_owned())), ..Options::default() }
}

fn verifier() -> Verifier {
    Verifier::new(options()).expect("the secret is long enough")
}

fn signed_with(secret: &str, algorithm: Algorithm, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).expect("an HMAC key signs");
    format!("{message}.{signature}")
}

fn token(claims: &str) -> String {
    signed_with(SECRET, Algorithm::HS256, r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

fn connection(claims: &str) -> Result<ConnectionClaims, TokenError> {
    verifier().connection(&token(claims), NOW)
}

fn subscription(claims: &str) -> Result<SubscriptionClaims, TokenError> {
    verifier().subscription(&token(claims), NOW)
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("a valid name")
}

#[track_caller]
fn check_invalid<T: std::fmt::Debug>(result: Result<T, TokenError>, mentions: &str) {
    match result {
        Err(TokenError::Invalid(reason)) => assert!(reason.contains(mentions), "{reason:?} lacks {mentions:?}"),
        other => panic!("expected an invalid token, got {other:?}"),
    }
}

// Who.

#[test]
fn the_subject_is_the_user_and_may_be_missing() {
    assert_eq!(connection(r#"{"sub":"42"}"#).unwrap().user, "42");
    assert_eq!(connection(r#"{"sub":""}"#).unwrap().user, "");
    assert_eq!(connection(r#"{"sub":null}"#).unwrap().user, "");
    let token = Some(TokenId { id: None, issued_at: 1 });
    assert_eq!(connection(r#"{"iat":1}"#).unwrap(), ConnectionClaims { token, ..ConnectionClaims::default() });
}

#[test]
fn unknown_claims_are_ignored() {
    assert_eq!(connection(r#"{"sub":"42","meta":{"a":[1]},"roles":["x"],"azp":7}"#).unwrap().user, "42");
}

#[test]
fn claims_of_a_wrong_type_are_invalid() {
    for (claims, name) in [
        (r#"{"sub":42}"#, "sub"),
        (r#"{"jti":7}"#, "jti"),
        (r#"{"sub":["42"]}"#, "sub"),
        (r#"{"exp":"2000000"}"#, "exp"),
        (r#"{"exp":{}}"#, "exp"),
        (r#"{"exp":true}"#, "exp"),
        (r#"{"nbf":"1"}"#, "nbf"),
        (r#"{"iat":"1"}"#, "iat"),
        (r#"{"expire_at":"1"}"#, "expire_at"),
        (r#"{"aud":5}"#, "aud"),
        (r#"{"aud":["a",5]}"#, "aud"),
        (r#"{"iss":5}"#, "iss"),
        (r#"{"channels":"news"}"#, "channels"),
        (r#"{"channels":[1]}"#, "channels"),
        (r#"{"subs":["news"]}"#, "subs"),
        (r#"{"subs":{"news":1}}"#, "subs"),
        (r#"{"subs":{"news":{"override":1}}}"#, "override"),
        (r#"{"channel":1}"#, "channel"),
        (r#"{"b64info":1}"#, "b64info"),
    ] {
        check_invalid(connection(claims), name);
    }
    for (claims, name) in [
        (r#"{"channel":1}"#, "channel"),
        (r#"{"channel":"a","client":1}"#, "client"),
        (r#"{"channel":"a","b64data":{}}"#, "b64data"),
        (r#"{"channel":"a","override":[1]}"#, "override"),
    ] {
        check_invalid(subscription(claims), name);
    }
}

#[test]
fn claims_that_are_no_object_or_doubled_are_invalid() {
    for claims in [
        "",
        "null",
        "5",
        "\"x\"",
        "not json",
        r#"{"sub":"a","sub":"b"}"#,
        r#"{"sub":"a"} {}"#,
        "{\"sub\":\"\u{0}\"}",
        r#"["a",null,null,null,null,null,null,null,null,null,null,null,null,null,null,null]"#,
    ] {
        check_invalid(connection(claims), "");
    }
}

#[test]
fn a_refusal_repeats_nothing_of_the_token() {
    let error = connection(r#"{"sub":"ann","exp":"s3cret","channels":["née"]}"#).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let error = connection(r#"{"sub":"ann","channels":["née"]}"#).unwrap_err();
    assert!(!error.to_string().contains("née"), "{error}");
}

// When.

#[test]
fn a_token_is_good_until_its_expiry_without_leeway() {
    assert_eq!(connection(r#"{"exp":1000001}"#).unwrap().expire_at, Some(NOW + 1));
    assert_eq!(connection(r#"{"exp":1000000}"#), Err(TokenError::Expired));
    assert_eq!(connection(r#"{"exp":999990}"#), Err(TokenError::Expired));
    assert_eq!(connection(r#"{"exp":0}"#), Err(TokenError::Expired));
    assert_eq!(subscription(r#"{"channel":"a","exp":0}"#), Err(TokenError::Expired));
}

#[test]
fn fractional_dates_are_accepted() {
    assert_eq!(connection(r#"{"exp":1000001.75}"#).unwrap().expire_at, Some(NOW + 1));
    assert_eq!(connection(r#"{"exp":1.5e6}"#).unwrap().expire_at, Some(1_500_000));
    assert_eq!(connection(r#"{"exp":999999.9}"#), Err(TokenError::Expired));
    assert!(connection(r#"{"nbf":999999.5,"iat":12.25}"#).is_ok());
}

#[test]
fn dates_that_are_none_are_invalid_and_overflow_nothing() {
    for date in ["1e300", "1e999", "-1", "-0.5", "-1e300", "18446744073709551616", "1700000000000"] {
        for claim in ["exp", "nbf", "iat", "expire_at"] {
            check_invalid(connection(&format!(r#"{{"{claim}":{date}}}"#)), claim);
        }
    }
}

#[test]
fn not_before_has_thirty_seconds_of_leeway() {
    assert!(connection(r#"{"nbf":1000030}"#).is_ok());
    assert_eq!(connection(r#"{"nbf":1000031}"#), Err(TokenError::NotYetValid));
    assert_eq!(subscription(r#"{"channel":"a","nbf":1000031}"#), Err(TokenError::NotYetValid));
    assert!(verifier().connection(&token(r#"{"nbf":5}"#), u64::MAX).is_ok());
}

#[test]
fn expire_at_overrides_what_the_connection_gets_but_not_the_tokens_own_expiry() {
    assert_eq!(connection(r#"{"exp":1000010,"expire_at":1000999}"#).unwrap().expire_at, Some(1_000_999));
    assert_eq!(connection(r#"{"exp":1000010,"expire_at":0}"#).unwrap().expire_at, None);
    assert_eq!(connection(r#"{"expire_at":1000999}"#).unwrap().expire_at, Some(1_000_999));
    assert_eq!(connection(r#"{"exp":5,"expire_at":1000999}"#), Err(TokenError::Expired));
    assert_eq!(subscription(r#"{"channel":"a","exp":1000010,"expire_at":0}"#).unwrap().expire_at, None);
}

// Signature and algorithm.

#[test]
fn the_signature_is_judged_before_the_expiry() {
    let other =
        signed_with("another secret of thirty-two bytes", Algorithm::HS256, r#"{"alg":"HS256"}"#, r#"{"exp":5}"#);
    check_invalid(verifier().connection(&other, NOW), "signature");
    check_invalid(verifier().subscription(&other, NOW), "signature");
    assert_eq!(connection(r#"{"exp":5}"#), Err(TokenError::Expired));
}

#[test]
fn a_changed_token_is_invalid() {
    let good = token(r#"{"sub":"42"}"#);
    let parts: Vec<&str> = good.split('.').collect();
    let admin = URL_SAFE_NO_PAD.encode(r#"{"sub":"admin"}"#);
    check_invalid(verifier().connection(&format!("{}.{admin}.{}", parts[0], parts[2]), NOW), "signature");
    check_invalid(verifier().connection(&format!("{}.{}.", parts[0], parts[1]), NOW), "");
    check_invalid(verifier().connection(&format!("{}.{}.{}", parts[0], parts[1], &parts[2][..20]), NOW), "");
    assert!(verifier().connection(&good, NOW).is_ok());
}

#[test]
fn what_is_no_token_is_invalid() {
    for text in ["", ".", "..", "...", "a.b.c", "garbage", "e30.e30.e30", "\u{0}.\u{0}.\u{0}", "ü.ü.ü"] {
        check_invalid(verifier().connection(text, NOW), "");
        check_invalid(verifier().subscription(text, NOW), "");
    }
}

#[test]
fn no_algorithm_but_ours_is_accepted() {
    let claims = r#"{"sub":"42"}"#;
    for name in ["none", "None", "NONE", "nOnE", "", "HS1", "hs256"] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        check_invalid(verifier().connection(&signed_with(SECRET, Algorithm::HS256, &header, claims), NOW), "");
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(claims));
        check_invalid(verifier().connection(&unsigned, NOW), "");
    }
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS384", "HS512"] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        check_invalid(verifier().connection(&signed_with(SECRET, Algorithm::HS256, &header, claims), NOW), "HS256");
    }
    for (name, algorithm) in [("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        check_invalid(verifier().connection(&signed_with(SECRET, algorithm, &header, claims), NOW), "HS256");
    }
    check_invalid(verifier().connection(&signed_with(SECRET, Algorithm::HS256, "{}", claims), NOW), "");
    check_invalid(
        verifier().connection(&signed_with(SECRET, Algorithm::HS256, r#"{"alg":["HS256"]}"#, claims), NOW),
        "",
    );
    check_invalid(
        verifier().connection(&signed_with(SECRET, Algorithm::HS256, r#"{"alg":"none","alg":"HS256"}"#, claims), NOW),
        "",
    );
}

#[test]
fn keys_offered_by_the_token_itself_are_not_used() {
    let own = "a key that the attacker chose, long enough";
    let jwk = format!(r#"{{"kty":"oct","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(own));
    for hint in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"http://127.0.0.1:1/keys""#.to_owned(),
        r#""kid":"../../../dev/null""#.to_owned(),
        r#""x5u":"http://127.0.0.1:1/""#.to_owned(),
    ] {
        let header = format!(r#"{{"alg":"HS256",{hint}}}"#);
        let forged = signed_with(own, Algorithm::HS256, &header, r#"{"sub":"admin"}"#);
        check_invalid(verifier().connection(&forged, NOW), "signature");
        let with_empty_key = signed_with("", Algorithm::HS256, &header, r#"{"sub":"admin"}"#);
        check_invalid(verifier().connection(&with_empty_key, NOW), "signature");
        let honest = signed_with(SECRET, Algorithm::HS256, &header, r#"{"sub":"42"}"#);
        assert_eq!(verifier().connection(&honest, NOW).unwrap().user, "42");
    }
}

#[test]
fn a_critical_extension_that_is_not_known_is_refused() {
    let header = r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#;
    check_invalid(verifier().connection(&signed_with(SECRET, Algorithm::HS256, header, "{}"), NOW), "crit");
}

#[test]
fn a_long_token_is_refused_and_the_longest_is_not() {
    let long = |bytes: usize| token(&format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes)));
    let fits = long(40_000);
    assert!(fits.len() < TOKEN_BYTES_MAX);
    assert!(verifier().connection(&fits, NOW).is_ok());
    check_invalid(verifier().connection(&long(TOKEN_BYTES_MAX), NOW), "longer");
    check_invalid(verifier().subscription(&long(1_000_000), NOW), "longer");
}

#[test]
fn deep_claims_are_refused_without_harm() {
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for claim in ["sub", "info", "subs", "aud", "iss", "exp", "channels"] {
        check_invalid(connection(&format!(r#"{{"{claim}":{nested}}}"#)), claim);
    }
    check_invalid(subscription(&format!(r#"{{"channel":"a","override":{nested}}}"#)), "override");
    assert!(connection(&format!(r#"{{"sub":"42","unknown":{nested}}}"#)).is_ok());
}

// Audience and issuer.

#[test]
fn audience_counts_only_where_one_is_configured() {
    let strict = Verifier::new(Options { audience: Some("hub".to_owned()), ..options() }).unwrap();
    for good in [r#"{"aud":"hub"}"#, r#"{"aud":["other","hub"]}"#] {
        assert!(strict.connection(&token(good), NOW).is_ok(), "{good}");
    }
    for bad in ["{}", r#"{"aud":null}"#, r#"{"aud":"Hub"}"#, r#"{"aud":[]}"#, r#"{"aud":["other"]}"#, r#"{"aud":""}"#] {
        check_invalid(strict.connection(&token(bad), NOW), "audience");
        assert!(connection(bad).is_ok(), "{bad}");
    }
}

#[test]
fn issuer_counts_only_where_one_is_configured() {
    let strict = Verifier::new(Options { issuer: Some("shop".to_owned()), ..options() }).unwrap();
    assert!(strict.connection(&token(r#"{"iss":"shop"}"#), NOW).is_ok());
    for bad in ["{}", r#"{"iss":null}"#, r#"{"iss":"Shop"}"#, r#"{"iss":""}"#] {
        check_invalid(strict.connection(&token(bad), NOW), "issuer");
        assert!(connection(bad).is_ok(), "{bad}");
    }
}

#[test]
fn audience_and_issuer_hold_for_subscription_tokens_too() {
    let strict = Verifier::new(Options { audience: Some("hub".to_owned()), ..options() }).unwrap();
    assert!(strict.subscription(&token(r#"{"channel":"a","aud":"hub"}"#), NOW).is_ok());
    check_invalid(strict.subscription(&token(r#"{"channel":"a"}"#), NOW), "audience");
}

// Info and data.

#[test]
fn info_is_kept_byte_for_byte() {
    assert_eq!(&connection(r#"{"info":{"a": 1.50, "b":"\u00e9"}}"#).unwrap().info[..], br#"{"a": 1.50, "b":"\u00e9"}"#);
    assert!(connection("{}").unwrap().info.is_empty());
}

#[test]
fn base64_info_must_be_json_and_beats_the_plain_one() {
    let encoded = STANDARD.encode(r#"{"a":1}"#);
    let claims = connection(&format!(r#"{{"info":5,"b64info":"{encoded}"}}"#)).unwrap();
    assert_eq!(&claims.info[..], br#"{"a":1}"#);
    assert_eq!(&connection(r#"{"info":5,"b64info":""}"#).unwrap().info[..], b"5");
    check_invalid(connection(r#"{"b64info":"%%%"}"#), "base64");
    check_invalid(connection(&format!(r#"{{"b64info":"{}"}}"#, STANDARD.encode("boom"))), "JSON");
    check_invalid(connection(&format!(r#"{{"b64info":"{}"}}"#, STANDARD.encode(b"\"\xff\""))), "JSON");
    check_invalid(subscription(&format!(r#"{{"channel":"a","b64data":"{}"}}"#, STANDARD.encode("{"))), "JSON");
}

#[test]
fn info_deeper_than_a_payload_may_be_is_invalid() {
    let deep = |levels: usize| format!(r#"{{"info":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(connection(&deep(60)).is_ok());
    check_invalid(connection(&deep(70)), "deep");
}

// Channels.

#[test]
fn channels_become_server_side_subscriptions() {
    let claims = connection(r#"{"channels":["news","","ns:x","news"]}"#).unwrap();
    let names: Vec<&str> = claims.subs.keys().map(Channel::as_str).collect();
    assert_eq!(names, ["news", "ns:x"]);
}

#[test]
fn subs_beat_channels_and_carry_their_options() {
    let claims = connection(
        r#"{"channels":["other"],"subs":{"":{},"plain":null,"news":{"info":{"n":1},"b64data":"eyJkIjoyfQ==","override":{"presence":{"value":true}}}}}"#,
    );
    let subs = claims.unwrap().subs;
    assert_eq!(subs.keys().map(Channel::as_str).collect::<Vec<_>>(), ["news", "plain"]);
    let news = &subs[&channel("news")];
    assert_eq!((&news.info[..], &news.data[..]), (&br#"{"n":1}"#[..], &br#"{"d":2}"#[..]));
    assert_eq!(news.overrides, SubscriptionOverrides { presence: Some(true), ..SubscriptionOverrides::default() });
    assert_eq!(subs[&channel("plain")], fanfare_auth::ServerSubscription::default());
}

#[test]
fn names_outside_the_grammar_make_the_token_invalid() {
    let long = "a".repeat(256);
    for name in ["née", "a\\u0000", "a\\nb", long.as_str()] {
        check_invalid(connection(&format!(r#"{{"channels":["ok","{name}"]}}"#)), "channel");
        check_invalid(connection(&format!(r#"{{"subs":{{"{name}":{{}}}}}}"#)), "channel");
        check_invalid(subscription(&format!(r#"{{"channel":"{name}"}}"#)), "channel");
    }
}

#[test]
fn the_two_kinds_of_token_are_not_mistaken_for_each_other() {
    check_invalid(connection(r#"{"sub":"42","channel":"news"}"#), "channel");
    check_invalid(subscription(r#"{"sub":"42"}"#), "channel");
    check_invalid(subscription(r#"{"sub":"42","channel":""}"#), "channel");
    assert!(connection(r#"{"sub":"42","channel":""}"#).is_ok());
}

#[test]
fn a_subscription_token_grants_what_it_says() {
    let claims = subscription(
        r#"{"sub":"42","channel":"$room","client":"c1","exp":1000060,"info":{"i":1},"data":[2],"override":{"force_recovery":{"value":false}}}"#,
    );
    let expected = SubscriptionClaims {
        user: "42".to_owned(),
        channel: channel("$room"),
        client: Some("c1".to_owned()),
        info: br#"{"i":1}"#[..].into(),
        data: b"[2]"[..].into(),
        expire_at: Some(1_000_060),
        overrides: SubscriptionOverrides { force_recovery: Some(false), ..SubscriptionOverrides::default() },
        allowed: Allowed::NOTHING,
        token: TokenId::default(),
    };
    assert_eq!(claims.unwrap(), expected);
}

#[test]
fn a_token_says_which_it_is() {
    let of = |claims: &str| connection(claims).unwrap().token.unwrap();
    assert_eq!(of(r#"{"jti":"t1","iat":999990}"#), TokenId { id: Some("t1".to_owned()), issued_at: 999_990 });
    assert_eq!(of(r#"{"jti":"","iat":null}"#), TokenId::default(), "what does not say when counts as issued at 0");
    let token = subscription(r#"{"channel":"news","jti":"t2","iat":7.9}"#).unwrap().token;
    assert_eq!(token, TokenId { id: Some("t2".to_owned()), issued_at: 7 });
    check_invalid(connection(r#"{"jti":7}"#), "jti");
    check_invalid(subscription(r#"{"channel":"news","jti":["t"]}"#), "jti");
}

// The secret.

#[test]
fn a_short_secret_is_refused_with_a_hint_unless_allowed() {
    let short = |allow_short_secret| Options {
        hmac_secret: Some(Secret::new("secret".to_owned())),
        allow_short_secret,
        ..Options::default()
    };
    let error = Verifier::new(short(false)).err().unwrap();
    assert_eq!(error, OptionsError::SecretTooShort { bytes: 6 });
    for hint in ["32", "openssl rand -hex 32", "auth.allow_short_secret"] {
        assert!(error.to_string().contains(hint), "{error}");
    }
    let lenient = Verifier::new(short(true)).unwrap();
    let token = signed_with("secret", Algorithm::HS256, r#"{"alg":"HS256"}"#, r#"{"sub":"42"}"#);
    assert_eq!(lenient.connection(&token, NOW).unwrap().user, "42");
}

#[test]
fn an_empty_secret_is_refused_even_if_short_ones_are_allowed() {
    let hmac_secret = Some(Secret::new(String::new()));
    let options = Options { hmac_secret, allow_short_secret: true, ..Options::default() };
    assert_eq!(Verifier::new(options).err(), Some(OptionsError::SecretEmpty));
}

#[test]
fn a_secret_of_just_the_length_is_taken() {
    assert!(Verifier::new(options()).is_ok());
}

#[test]
fn without_a_secret_no_token_is_accepted() {
    let closed = Verifier::new(Options::default()).unwrap();
    assert_eq!(closed.connection(&token("{}"), NOW), Err(TokenError::NotConfigured));
    let with_empty_key = signed_with("", Algorithm::HS256, r#"{"alg":"HS256"}"#, r#"{"channel":"a"}"#);
    assert_eq!(closed.subscription(&with_empty_key, NOW), Err(TokenError::NotConfigured));
}
