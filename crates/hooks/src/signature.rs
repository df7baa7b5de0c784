//! Signatures as Standard Webhooks say (symmetric, `v1`): HMAC-SHA256 over `ID.TIMESTAMP.BODY`.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_auth::Secret;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A key that requests are signed with.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

/// Why a secret is no signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin with `whsec_`.
    #[error("does not begin with \"whsec_\"")]
    Prefix,
    /// What follows is not base64.
    #[error("is not base64 behind \"whsec_\"")]
    Base64,
    /// It is too short to be secret, or longer than the standard allows.
    #[error("has {0} bytes behind \"whsec_\"; 24 to 64 are taken")]
    Length(usize),
}

impl SigningKey {
    /// Reads a secret: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        let encoded = secret.expose().strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Base64)?;
        match bytes.len() {
            24..=64 => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            length => Err(KeyError::Length(length)),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// The header `webhook-signature`: a signature by each key.
pub(crate) fn signatures(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    let each = keys.iter().map(|key| format!("v1,{}", STANDARD.encode(sign(key, id, timestamp, body))));
    each.collect::<Vec<_>>().join(" ")
}

fn sign(key: &SigningKey, id: &str, timestamp: u64, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&key.0);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Result<SigningKey, KeyError> {
        SigningKey::parse(&Secret::new(secret.to_owned()))
    }

    /// The example of the standard's reference libraries.
    #[test]
    fn it_signs_as_the_standard_says() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_key_signs() {
        let keys = [
            key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            key(&format!("whsec_{}", "A".repeat(32))).unwrap(),
        ];
        let signed = signatures(&keys, "msg_1", 1, b"{}");
        let parts: Vec<_> = signed.split(' ').collect();
        assert!(
            parts.len() == 2 && parts[0] != parts[1] && parts.iter().all(|part| part.starts_with("v1,")),
            "{signed}"
        );
    }

    #[test]
    fn what_is_no_secret_of_the_standard_is_refused() {
        for (secret, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", KeyError::Prefix),
            ("whsec_***", KeyError::Base64),
            ("whsec_c2hvcnQ=", KeyError::Length(5)),
            ("whsec_", KeyError::Length(0)),
        ] {
            assert_eq!(key(secret).map(|_| ()), Err(error), "{secret}");
        }
    }
}
