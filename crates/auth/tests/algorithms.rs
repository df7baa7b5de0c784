//! Every algorithm that a key can be for, keys by name, and at least sixty hostile tokens.

#![expect(clippy::unwrap_used, reason = "a test program: helpers outside of tests may panic too")]

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use fanfare_auth::{
    Algorithm, KeyError, KeyMaterial, KeyOptions, KeyRefusal, Options, OptionsError, Secret, TokenError, Uses, Verifier,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_000_000;

/// Key pairs of a backend.
struct Pairs {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

static OURS: LazyLock<Pairs> = LazyLock::new(Pairs::generate);
static THEIRS: LazyLock<Pairs> = LazyLock::new(Pairs::generate);

impl Pairs {
    fn generate() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn public_pem(&self, algorithm: Algorithm) -> String {
        match &algorithm.name()[..2] {
            "RS" | "PS" => pem(self.rsa.public_key()),
            "ES" if algorithm == Algorithm::ES256 => pem(self.p256.public_key()),
            "ES" => pem(self.p384.public_key()),
            _ => pem(self.ed.public_key()),
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rsa = |padding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        let hmac_of = |digest| hmac::sign(&hmac::Key::new(digest, SECRET.as_bytes()), message).as_ref().to_vec();
        match algorithm {
            "HS256" => hmac_of(hmac::HMAC_SHA256),
            "HS384" => hmac_of(hmac::HMAC_SHA384),
            "HS512" => hmac_of(hmac::HMAC_SHA512),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            other => panic!("nobody signs with {other}"),
        }
    }

    /// A token with this header, signed with this algorithm, whatever the header says.
    fn token(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn honest(&self, algorithm: &str, claims: &str) -> String {
        self.token(algorithm, &format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#), claims)
    }
}

fn pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    let der = key.as_der().unwrap();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
}

fn algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::NAMES.iter().map(|name| Algorithm::named(name).unwrap())
}

fn material(algorithm: Algorithm) -> KeyMaterial {
    match algorithm.is_shared() {
        true => KeyMaterial::Secret(Secret::new(SECRET.to_owned())),
        false => KeyMaterial::PublicPem(OURS.public_pem(algorithm)),
    }
}

fn key(name: &str, algorithm: Algorithm) -> KeyOptions {
    let material = material(algorithm);
    KeyOptions { name: name.to_owned(), algorithm, material, key_id: None, accept_until: None, uses: Uses::Both }
}

fn verifier(keys: Vec<KeyOptions>) -> Verifier {
    Verifier::new(Options { keys, ..Options::default() }).unwrap()
}

fn reason(verifier: &Verifier, token: &str) -> String {
    verifier.connection(token, NOW).unwrap_err().to_string()
}

// What is accepted.

#[test]
fn each_algorithm_vouches_for_its_own_tokens_and_no_others() {
    for algorithm in algorithms() {
        let verifier = verifier(vec![key("main", algorithm)]);
        for name in Algorithm::NAMES {
            let token = OURS.honest(name, r#"{"sub":"42"}"#);
            let user = verifier.connection(&token, NOW).map(|claims| claims.user);
            assert_eq!(user.is_ok(), *name == algorithm.name(), "{algorithm} {name}: {user:?}");
        }
        if !algorithm.is_shared() {
            let foreign = THEIRS.honest(algorithm.name(), r#"{"sub":"42"}"#);
            assert!(reason(&verifier, &foreign).contains("signature"), "{algorithm}");
        }
    }
}

#[test]
fn all_keys_together_vouch_for_all_tokens() {
    let verifier = verifier(algorithms().map(|algorithm| key(algorithm.name(), algorithm)).collect());
    for name in Algorithm::NAMES {
        assert_eq!(verifier.connection(&OURS.honest(name, r#"{"sub":"42"}"#), NOW).unwrap().user, "42", "{name}");
    }
}

#[test]
fn a_key_id_is_compared_where_one_is_configured() {
    let named = KeyOptions { key_id: Some("k1".to_owned()), ..key("main", Algorithm::ES256) };
    let verifier = verifier(vec![named]);
    let token = |header: &str| OURS.token("ES256", header, r#"{"sub":"42"}"#);
    assert!(verifier.connection(&token(r#"{"alg":"ES256","kid":"k1"}"#), NOW).is_ok());
    for header in [r#"{"alg":"ES256"}"#, r#"{"alg":"ES256","kid":"K1"}"#, r#"{"alg":"ES256","kid":""}"#] {
        assert!(reason(&verifier, &token(header)).contains("kid"), "{header}");
    }
}

#[test]
fn a_key_is_accepted_until_its_end_date() {
    let old = KeyOptions { accept_until: Some(NOW + 10), ..key("old", Algorithm::RS256) };
    let new = KeyOptions { key_id: Some("new".to_owned()), ..key("new", Algorithm::RS256) };
    let verifier = verifier(vec![old, new]);
    let token = OURS.honest("RS256", r#"{"sub":"42"}"#);
    assert!(verifier.connection(&token, NOW + 9).is_ok());
    let refused = verifier.connection(&token, NOW + 10).unwrap_err().to_string();
    assert!(refused.contains("accept_until"), "{refused}");
    let renewed = OURS.token("RS256", r#"{"alg":"RS256","kid":"new"}"#, r#"{"sub":"42"}"#);
    assert!(verifier.connection(&renewed, NOW + 10).is_ok());
}

#[test]
fn keys_can_be_for_one_kind_of_token() {
    let connections = KeyOptions { uses: Uses::Connections, ..key("c", Algorithm::EdDSA) };
    let subscriptions = KeyOptions { uses: Uses::Subscriptions, ..key("s", Algorithm::ES384) };
    let verifier = verifier(vec![connections, subscriptions]);
    let (connection, subscription) = (r#"{"sub":"42"}"#, r#"{"sub":"42","channel":"news"}"#);
    assert!(verifier.connection(&OURS.honest("EdDSA", connection), NOW).is_ok());
    assert!(verifier.subscription(&OURS.honest("ES384", subscription), NOW).is_ok());
    assert!(reason(&verifier, &OURS.honest("ES384", connection)).contains("other kind"));
    let refused = verifier.subscription(&OURS.honest("EdDSA", subscription), NOW).unwrap_err().to_string();
    assert!(refused.contains("other kind"), "{refused}");
}

#[test]
fn each_key_says_why_it_does_not_vouch() {
    let verifier = verifier(vec![
        key("other", Algorithm::HS256),
        KeyOptions { key_id: Some("x".to_owned()), ..key("named", Algorithm::ES256) },
        KeyOptions { accept_until: Some(1), ..key("retired", Algorithm::ES256) },
        KeyOptions { uses: Uses::Subscriptions, ..key("subs", Algorithm::ES256) },
        key("good", Algorithm::ES256),
    ]);
    let judged = verifier.verdicts(&OURS.honest("ES256", "{}"), false, NOW).unwrap();
    let judged: Vec<_> = judged.into_iter().map(|verdict| (verdict.key, verdict.judged)).collect();
    let said = |name: &str, judged| (format!("auth.keys.{name}"), judged);
    let expected = [
        said("other", Err(KeyRefusal::Algorithm)),
        said("named", Err(KeyRefusal::KeyId)),
        said("retired", Err(KeyRefusal::Retired)),
        said("subs", Err(KeyRefusal::Use)),
        said("good", Ok(())),
    ];
    assert_eq!(judged, expected);
}

#[test]
fn issued_at_has_thirty_seconds_of_leeway() {
    let verifier = verifier(vec![key("main", Algorithm::HS256)]);
    let judged = |claims: &str| verifier.connection(&OURS.honest("HS256", claims), NOW);
    assert!(judged(r#"{"iat":1000030}"#).is_ok());
    assert_eq!(judged(r#"{"iat":1000031}"#), Err(TokenError::NotYetValid));
}

#[test]
fn a_cap_on_the_lifetime_demands_an_expiry_within_it() {
    let lifetime_max = Some(Duration::from_secs(600));
    let keys = vec![key("main", Algorithm::HS256)];
    let verifier = Verifier::new(Options { keys, lifetime_max, ..Options::default() }).unwrap();
    let judged = |claims: &str| verifier.connection(&OURS.honest("HS256", claims), NOW).map(|claims| claims.expire_at);
    assert_eq!(judged(r#"{"iat":1000000,"exp":1000600}"#), Ok(Some(NOW + 600)));
    assert!(judged(r#"{"iat":999900,"exp":1000500}"#).is_ok());
    assert!(judged(r#"{"iat":1000020,"exp":1000620}"#).is_ok(), "the issuer's clock may be ahead");
    for long in [
        "{}",
        r#"{"iat":1000000}"#,
        r#"{"iat":1000030,"exp":1000631}"#,
        r#"{"iat":1000000,"exp":1000601}"#,
        r#"{"iat":999900,"exp":1000501}"#,
        r#"{"exp":253402300799}"#,
        r#"{"iat":5,"exp":1000001}"#,
    ] {
        assert!(matches!(judged(long), Err(TokenError::Invalid(_))), "{long}");
    }
}

/// It was judged from "now", so that a token with a far `exp` became good as the time came, and could not be forgotten.
#[test]
fn a_cap_on_the_lifetime_demands_when_a_token_was_issued() {
    let lifetime_max = Some(Duration::from_secs(600));
    let keys = vec![key("main", Algorithm::HS256)];
    let verifier = Verifier::new(Options { keys, lifetime_max, ..Options::default() }).unwrap();
    let judged = |claims: &str| verifier.connection(&OURS.honest("HS256", claims), NOW);
    let Err(TokenError::Invalid(reason)) = judged(r#"{"exp":1000600}"#) else { panic!("it is taken") };
    assert!(reason.contains("iat") && reason.contains("auth.token_lifetime_max"), "{reason}");
    assert!(matches!(judged(r#"{"iat":null,"exp":1000600}"#), Err(TokenError::Invalid(_))));
}

// What no key is made of.

#[track_caller]
fn check_unfit(algorithm: Algorithm, material: KeyMaterial, mentions: &str) {
    let keys = vec![KeyOptions { material, ..key("main", algorithm) }];
    let Err(OptionsError::Key { name, error }) = Verifier::new(Options { keys, ..Options::default() }) else {
        panic!("{algorithm} takes it");
    };
    assert_eq!(name, "main");
    assert!(error.to_string().contains(mentions), "{error}");
}

#[test]
fn a_key_of_another_kind_is_refused() {
    for algorithm in algorithms().filter(|algorithm| !algorithm.is_shared()) {
        let kind = |other: Algorithm| match &other.name()[..2] {
            "RS" | "PS" => "rsa",
            _ => other.name(),
        };
        for other in algorithms().filter(|other| !other.is_shared() && kind(*other) != kind(algorithm)) {
            check_unfit(algorithm, KeyMaterial::PublicPem(OURS.public_pem(other)), "not a public key for");
        }
        check_unfit(algorithm, material(Algorithm::HS256), "needs a public key");
        check_unfit(algorithm, KeyMaterial::PublicPem(String::new()), "no PEM");
        let garbage = "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n";
        check_unfit(algorithm, KeyMaterial::PublicPem(garbage.to_owned()), "not a public key for");
    }
}

#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    let pem = OURS.public_pem(Algorithm::RS256);
    check_unfit(Algorithm::HS256, KeyMaterial::PublicPem(pem.clone()), "needs a secret");
    check_unfit(Algorithm::HS256, KeyMaterial::Secret(Secret::new(pem.clone())), "PEM");
    let hmac_secret = Some(Secret::new(pem));
    let error = Verifier::new(Options { hmac_secret, ..Options::default() }).unwrap_err();
    assert_eq!(error, OptionsError::Secret(KeyError::SecretIsPem));
}

#[test]
fn a_secret_is_as_long_as_the_digest() {
    for (algorithm, bytes) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        let secret = |bytes: usize| KeyMaterial::Secret(Secret::new(SECRET[..bytes].to_owned()));
        check_unfit(algorithm, secret(bytes - 1), "bytes");
        verifier(vec![KeyOptions { material: secret(bytes), ..key("main", algorithm) }]);
    }
    check_unfit(Algorithm::HS256, KeyMaterial::Secret(Secret::new(String::new())), "0 bytes");
}

#[test]
fn an_rsa_key_of_1024_bits_is_refused() {
    let small = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDZLuGH8k+/rQSin4BKGWQmM7bI\n\
        hY1EjvIcT/EdYNl16iBIhNYKQGHVU2erve/28Abb+0lBPoKVTWU7OhZIiUlvAulK\n\
        EYspnEo01q1xUh3fssbnGnPdgaP0qqTP/89KiabrcKxV6oFXFhGrJfexrFuIyz4J\n\
        AIvL86CHoJ0ORu+dZQIDAQAB\n-----END PUBLIC KEY-----\n";
    for algorithm in [Algorithm::RS256, Algorithm::PS512] {
        check_unfit(algorithm, KeyMaterial::PublicPem(small.to_owned()), "2048");
    }
}

// What hostile clients bring.

/// A node with a key of each family, that demands an audience, an issuer and a short life.
fn strict() -> Verifier {
    let keys = ["HS256", "RS256", "ES256", "EdDSA"].map(|name| key(name, Algorithm::named(name).unwrap()));
    Verifier::new(Options {
        keys: keys.into(),
        audience: Some("hub".to_owned()),
        issuer: Some("shop".to_owned()),
        lifetime_max: Some(Duration::from_secs(3_600)),
        ..Options::default()
    })
    .unwrap()
}

const GOOD: &str = r#"{"sub":"42","aud":"hub","iss":"shop","iat":1000000,"exp":1000600}"#;

/// Claims that are good but for what stands in place of one of them.
fn with(claim: &str, text: &str) -> String {
    let mut claims =
        vec![("sub", r#""42""#), ("aud", r#""hub""#), ("iss", r#""shop""#), ("exp", "1000600"), ("iat", "1000000")];
    claims.retain(|(name, _)| *name != claim);
    let mut texts: Vec<String> = claims.iter().map(|(name, text)| format!(r#""{name}":{text}"#)).collect();
    if !text.is_empty() {
        texts.push(format!(r#""{claim}":{text}"#));
    }
    format!("{{{}}}", texts.join(","))
}

/// A header in base64, a claim part in base64, and a signature that fits both, put together by hand.
fn raw(header: &str, claims: &str) -> String {
    let message = format!("{header}.{claims}");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(OURS.sign("HS256", message.as_bytes())))
}

fn b64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Headers with an honest signature of HS256, unless they say otherwise.
fn hostile_headers() -> Vec<String> {
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let headers: Vec<String> = vec![
        r#"{"alg":"none"}"#.into(),
        r#"{"alg":"None"}"#.into(),
        r#"{"alg":"nOnE"}"#.into(),
        r#"{"alg":""}"#.into(),
        r#"{"alg":null}"#.into(),
        r#"{"alg":["HS256"]}"#.into(),
        r#"{"alg":256}"#.into(),
        r#"{"alg":"hs256"}"#.into(),
        r#"{"alg":"HS256 "}"#.into(),
        r#"{"alg":"HS256\u0000"}"#.into(),
        r#"{"alg":"ES512"}"#.into(),
        r#"{"alg":"RS1"}"#.into(),
        r#"{"alg":"HS384"}"#.into(),
        r#"{"alg":"PS256"}"#.into(),
        r#"{"alg":"RS256"}"#.into(),
        r#"{"alg":"ES256"}"#.into(),
        r#"{"alg":"EdDSA"}"#.into(),
        r#"{"typ":"JWT"}"#.into(),
        r#"{"alg":"none","alg":"HS256"}"#.into(),
        r#"{"alg":"HS256","alg":"none"}"#.into(),
        r#"{"alg":"HS256","kid":["a"]}"#.into(),
        r#"{"alg":"HS256","kid":{"a":1}}"#.into(),
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#.into(),
        r#"{"alg":"HS256","crit":[]}"#.into(),
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#.into(),
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#.into(),
        r#"{"alg":"HS256","typ":"logout+jwt"}"#.into(),
        r#"{"alg":"HS256","typ":"dpop+jwt"}"#.into(),
        r#"{"alg":"HS256","typ":"secevent+jwt"}"#.into(),
        r#"{"alg":"HS256","typ":""}"#.into(),
        r#"{"alg":"HS256","typ":5}"#.into(),
        r#"{"alg":"dir","enc":"A256GCM"}"#.into(),
        r#"["HS256",null,null,null]"#.into(),
        r#""HS256""#.into(),
        "null".into(),
        "HS256".into(),
        String::new(),
        r#"{"alg":"HS256"}{}"#.into(),
        format!(r#"{{"alg":"HS256","kid":{deep}}}"#),
        format!(r#"{{"alg":{deep}}}"#),
    ];
    headers.iter().map(|header| OURS.token("HS256", header, GOOD)).collect()
}

/// Claims in an honestly signed token.
fn hostile_claims() -> Vec<String> {
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let claims: Vec<String> = vec![
        with("exp", ""),
        with("exp", "null"),
        with("exp", "1e300"),
        with("exp", "1e999"),
        with("exp", "-1"),
        with("exp", r#""1000600""#),
        with("exp", "true"),
        with("exp", "[1000600]"),
        with("exp", "{}"),
        with("exp", "NaN"),
        with("exp", "1000600000"),
        with("exp", "1000000"),
        with("exp", "18446744073709551617"),
        with("exp", &deep),
        with("nbf", "1000031"),
        with("nbf", r#""0""#),
        with("iat", "1000031"),
        with("iat", "-5"),
        with("iat", "996999"),
        with("aud", ""),
        with("aud", r#""hub2""#),
        with("aud", r#""HUB""#),
        with("aud", r#"" hub""#),
        with("aud", r#"[]"#),
        with("aud", r#"["other"]"#),
        with("aud", r#"["hub",5]"#),
        with("aud", r#"[["hub"]]"#),
        with("aud", r#"{"hub":true}"#),
        with("aud", "5"),
        with("iss", ""),
        with("iss", r#""shop/""#),
        with("iss", r#"["shop"]"#),
        with("iss", "null"),
        with("sub", "42"),
        with("sub", r#"["42"]"#),
        with("sub", r#"{"$ne":null}"#),
        with("channel", r#""news\u0000""#),
        with("channels", r#""news""#),
        with("channels", r#"["news\u0000"]"#),
        with("subs", r#"["news"]"#),
        with("subs", r#"{"news":{"override":5}}"#),
        with("expire_at", r#""never""#),
        with("expire_at", "1e300"),
        with("info", &deep),
        with("b64info", r#""!!!""#),
        r#"{"sub":"42","sub":"admin","aud":"hub","iss":"shop","exp":1000600}"#.into(),
        r#"{"sub":"42","aud":"hub","iss":"shop","exp":1000600,"exp":1000601}"#.into(),
        r#"{"sub":"42","aud":"other","aud":"hub","iss":"shop","exp":1000600}"#.into(),
        format!("{GOOD}{GOOD}"),
        format!("[{GOOD}]"),
        format!("\"{}\"", b64(GOOD)),
        String::new(),
        "null".into(),
        GOOD.replace('}', ""),
        GOOD.replace('"', "'"),
    ];
    claims.iter().map(|claims| OURS.honest("HS256", claims)).collect()
}

/// What is put together wrongly.
fn hostile_shapes() -> Vec<String> {
    let header = r#"{"alg":"HS256"}"#;
    let good = OURS.token("HS256", header, GOOD);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let padded = URL_SAFE.encode(r#"{"alg":"HS256" }"#);
    let standard = STANDARD.encode(r#"{"alg":"HS256","kid":"???>>>"}"#);
    assert!(padded.ends_with('=') && standard.contains(['+', '/']), "these forms have to differ");
    let invalid_utf8 =
        [br#"{"sub":""#.as_slice(), b"\xff\xfe", br#"","aud":"hub","iss":"shop","exp":1000600}"#].concat();
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let public_pem = OURS.public_pem(Algorithm::RS256);
    let confused = |secret: &[u8]| {
        let message = format!("{}.{}", b64(header), b64(GOOD));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", b64(tag.as_ref()))
    };
    let rsa_der = OURS.rsa.public_key().as_der().unwrap();
    vec![
        String::new(),
        ".".into(),
        "..".into(),
        "....".into(),
        message.to_owned(),
        format!("{message}."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        format!("{message}.{}", &signature[..signature.len() - 1]),
        format!("{message}.{signature}A"),
        format!("{message}.{}", b64([0; 32])),
        format!("{message}.{}", b64([0; 64])),
        format!("{message}.{}", b64("")),
        raw(&padded, &b64(GOOD)),
        raw(&standard, &b64(GOOD)),
        raw(&b64(header), &format!("{}=", b64(GOOD))),
        raw(&b64(header), &b64(invalid_utf8)),
        raw(&b64(header), &b64(utf16)),
        raw(&b64(header), &b64([b"\xef\xbb\xbf".as_slice(), GOOD.as_bytes()].concat())),
        raw(&b64(header), "%%%%"),
        raw(&b64(b"\xff\xff"), &b64(GOOD)),
        raw("ü", &b64(GOOD)),
        raw(&b64(header), &b64(" ".repeat(100_000))),
        raw(&b64(format!(r#"{{"alg":"HS256","x":"{}"}}"#, "a".repeat(70_000))), &b64(GOOD)),
        confused(public_pem.as_bytes()),
        confused(public_pem.trim().as_bytes()),
        confused(rsa_der.as_ref()),
        confused(b""),
        OURS.token("RS256", r#"{"alg":"PS256"}"#, GOOD),
        OURS.token("PS256", r#"{"alg":"RS256"}"#, GOOD),
        OURS.token("ES256", r#"{"alg":"EdDSA"}"#, GOOD),
        THEIRS.token("RS256", r#"{"alg":"RS256"}"#, GOOD),
        THEIRS.token("ES256", r#"{"alg":"ES256"}"#, GOOD),
        THEIRS.token("EdDSA", r#"{"alg":"EdDSA"}"#, GOOD),
        // An ECDSA signature of zeros is one for every message where r and s are not checked.
        format!("{}.{}.{}", b64(r#"{"alg":"ES256"}"#), b64(GOOD), b64([0; 64])),
        format!("{}.{}.{}", b64(r#"{"alg":"RS256"}"#), b64(GOOD), b64([0; 256])),
        format!("{}.{}.{}", b64(r#"{"alg":"EdDSA"}"#), b64(GOOD), b64([0; 64])),
    ]
}

/// Headers that offer a key, or a place to fetch one from, with a signature of the attacker's.
fn offered_keys() -> Vec<String> {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let offers = [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"http://127.0.0.1:9/keys.json""#.into(),
        r#""x5u":"http://127.0.0.1:9/cert.pem""#.into(),
        r#""x5c":["MIIB"]"#.into(),
        r#""kid":"../../../../dev/null""#.into(),
        r#""kid":"http://127.0.0.1:9/key""#.into(),
        r#""kid":"' OR 1=1 --""#.into(),
        r#""kid":"| sleep 10""#.into(),
        r#""kid":"auth.hmac_secret""#.into(),
    ];
    offers.iter().map(|offer| THEIRS.token("EdDSA", &format!(r#"{{"alg":"EdDSA",{offer}}}"#), GOOD)).collect()
}

#[test]
fn hostile_tokens_are_refused() {
    let verifier = strict();
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        assert_eq!(verifier.connection(&OURS.honest(algorithm, GOOD), NOW).unwrap().user, "42", "the tests' own token");
    }
    let tokens = [hostile_headers(), hostile_claims(), hostile_shapes(), offered_keys()].concat();
    assert!(tokens.len() >= 60, "{}", tokens.len());
    for (number, token) in tokens.iter().enumerate() {
        let judged = verifier.connection(token, NOW);
        assert!(judged.is_err(), "{number}: {:.300} is taken as {judged:?}", token);
        assert!(verifier.subscription(token, NOW).is_err(), "{number}: {:.300}", token);
    }
}

#[test]
fn es512_and_none_are_refused_by_name() {
    let verifier = verifier(vec![key("main", Algorithm::HS256)]);
    let named = |alg: &str| reason(&verifier, &OURS.token("HS256", &format!(r#"{{"alg":"{alg}"}}"#), "{}"));
    assert!(named("ES512").contains("ES512, which is not accepted"));
    assert!(named("none").contains("not signed (alg none)") && named("NONE").contains("alg none"));
    assert!(!named("s3cret").contains("s3cret"), "what a token says goes nowhere");
}

#[test]
fn access_tokens_have_a_type_of_their_own() {
    let verifier = verifier(vec![key("main", Algorithm::HS256)]);
    for name in ["JWT", "jwt", "at+jwt", "application/at+jwt", "application/jwt"] {
        let token = OURS.token("HS256", &format!(r#"{{"alg":"HS256","typ":"{name}"}}"#), "{}");
        assert!(verifier.connection(&token, NOW).is_ok(), "{name}");
    }
}

/// Run by hand: `cargo test --release -p fanfare-auth --test algorithms -- --ignored --nocapture`.
#[ignore = "it measures"]
#[test]
fn verifications_a_second() {
    for algorithm in algorithms() {
        let verifier = verifier(vec![key("main", algorithm)]);
        let token = OURS.honest(algorithm.name(), GOOD);
        let (started, mut count) = (std::time::Instant::now(), 0_u32);
        while started.elapsed() < Duration::from_millis(500) {
            assert!(verifier.connection(&token, NOW).is_ok());
            count += 1;
        }
        let each = started.elapsed().as_secs_f64() * 1e6 / f64::from(count);
        println!("{algorithm}: {each:.1} \u{b5}s a token, {:.0} a second", 1e6 / each);
    }
}
