//! Keys that an issuer publishes (JWKS, RFC 7517), out of bytes that came from elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::Algorithm;
use crate::key::Key;
use crate::limits::PUBLISHED_KEYS_MAX;

/// The keys of one issuer, each for one algorithm.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why there are no keys in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not a key set.
    #[error("it is not a JSON object with a list of keys")]
    Malformed,
    /// It has more keys than anybody needs.
    #[error("it has more than {PUBLISHED_KEYS_MAX} keys")]
    TooMany,
    /// None of its keys can judge a token.
    #[error("none of its keys is a public key for an algorithm that is known")]
    NoneFit,
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<Value>,
}

/// A key as it is published (RFC 7517 §4). What is private in it is not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys in a text. Those that cannot judge a token are left out: secrets, keys for encryption, kinds and
    /// algorithms that are not known.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let written: Written = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        if written.keys.len() > PUBLISHED_KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<Key> = written.keys.into_iter().filter_map(published).collect();
        if keys.is_empty() { Err(KeySetError::NoneFit) } else { Ok(Self { keys }) }
    }

    /// Whether a token that names this key id, or none, can be judged.
    pub fn has(&self, key_id: Option<&str>) -> bool {
        self.keys.iter().any(|key| key.may_be(key_id))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

fn published(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let for_signing = jwk.r#use.as_deref().is_none_or(|word| word == "sig");
    let for_verifying = jwk.key_ops.as_ref().is_none_or(|words| words.iter().any(|word| word == "verify"));
    if !for_signing || !for_verifying {
        return None;
    }
    let (algorithm, encoded) = material(&jwk)?;
    Key::published(algorithm, jwk.kid, &encoded)
}

/// The algorithm of a key and its bytes as the library reads them. Where the key does not say its algorithm, its kind
/// does; for RSA that is RS256.
fn material(jwk: &Jwk) -> Option<(Algorithm, Vec<u8>)> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let algorithm = jwk.alg.as_deref().map_or(Some(Algorithm::RS256), Algorithm::named)?;
            let fits = algorithm.is_rsa();
            fits.then(|| Some((algorithm, rsa_der(&bytes(&jwk.n)?, &bytes(&jwk.e)?)))).flatten()
        }
        ("EC", Some("P-256")) => curve(jwk, Algorithm::ES256, 32),
        ("EC", Some("P-384")) => curve(jwk, Algorithm::ES384, 48),
        ("OKP", Some("Ed25519")) => {
            let fits = jwk.alg.as_deref().is_none_or(|alg| alg == "EdDSA" || alg == "Ed25519");
            fits.then(|| Some((Algorithm::EdDSA, bytes(&jwk.x)?))).flatten()
        }
        _ => None,
    }
}

fn curve(jwk: &Jwk, algorithm: Algorithm, coordinate_bytes: usize) -> Option<(Algorithm, Vec<u8>)> {
    let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
    let fits = jwk.alg.as_deref().is_none_or(|alg| alg == algorithm.name());
    if !fits || x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    // A point that is not compressed (SEC 1 §2.3.3).
    Some((algorithm, [&[4], x.as_slice(), y.as_slice()].concat()))
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}

/// An RSAPublicKey (RFC 8017 §A.1.1): the sequence of two numbers.
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    tagged(0x30, &[number(modulus), number(exponent)].concat())
}

/// A number that is not negative: a leading bit of 1 would be the sign.
fn number(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = &big_endian[zeros..];
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    tagged(0x02, &[sign, digits].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut encoded = vec![tag];
    match content.len() {
        0..0x80 => encoded.push(content.len() as u8),
        // At most 8 bytes, so that the count fits beside the bit.
        _ => encoded.push(0x80 | length.len() as u8),
    }
    if content.len() >= 0x80 {
        encoded.extend_from_slice(length);
    }
    encoded.extend_from_slice(content);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}"#;

    fn parse(keys: &str) -> Result<usize, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).map(|set| set.len())
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":5}"#, "<html>", &"[".repeat(100_000)] {
            assert_eq!(KeySet::parse(text.as_bytes()).map(|_| ()), Err(KeySetError::Malformed), "{:.20}", text);
        }
        assert_eq!(parse(&vec![ED; PUBLISHED_KEYS_MAX + 1].join(",")), Err(KeySetError::TooMany));
        assert_eq!(parse(&vec![ED; PUBLISHED_KEYS_MAX].join(",")), Ok(PUBLISHED_KEYS_MAX));
    }

    #[test]
    fn keys_that_cannot_judge_are_left_out() {
        for key in [
            r#"{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY","alg":"HS256"}"#.to_owned(),
            ED.replace("\"kid\"", "\"use\":\"enc\",\"kid\""),
            ED.replace("\"kid\"", "\"key_ops\":[\"sign\"],\"kid\""),
            ED.replace("\"kid\"", "\"alg\":\"HS256\",\"kid\""),
            ED.replace("Ed25519", "Ed448"),
            ED.replace("11qY", "11"),
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"RSA","alg":"HS256","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"RSA","alg":"none","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-521","x":"AQAB","y":"AQAB"}"#.to_owned(),
            "5".to_owned(),
            "null".to_owned(),
        ] {
            assert_eq!(parse(&key), Err(KeySetError::NoneFit), "{key}");
            assert_eq!(parse(&format!("{key},{ED}")), Ok(1), "{key}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_id() {
        let set = KeySet::parse(format!(r#"{{"keys":[{ED}]}}"#).as_bytes()).unwrap();
        assert!(set.has(Some("a")) && set.has(None) && !set.has(Some("b")));
    }
}
