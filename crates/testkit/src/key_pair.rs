//! Key pairs of backends: what signs tokens, and its public half as PEM and as a key of a JWKS.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fanfare_auth::Algorithm;
use serde_json::{Value, json};

/// A key pair for one algorithm: RS256, PS256, ES256, ES384 or EdDSA.
pub struct KeyPair {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

const MADE: &str = "the library makes key pairs and signs with them";

impl KeyPair {
    /// A new pair.
    pub fn new(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect(MADE)),
            Algorithm::ES256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(MADE)),
            Algorithm::ES384 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect(MADE)),
            Algorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate().expect(MADE)),
            other => panic!("no pair is made for {other}"),
        };
        Self { algorithm, pair }
    }

    /// The public half as PEM.
    pub fn public_pem(&self) -> String {
        let der = match &self.pair {
            Pair::Rsa(pair) => der(pair.public_key()),
            Pair::Ec(pair) => der(pair.public_key()),
            Pair::Ed(pair) => der(pair.public_key()),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// The public half as a key of a JWKS, under this key id.
    pub fn jwk(&self, key_id: &str) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                json!({"kty": "RSA", "n": b64(n.big_endian_without_leading_zero()),
                       "e": b64(e.big_endian_without_leading_zero())})
            }
            Pair::Ec(pair) => {
                // A point, not compressed: 4, then both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if self.algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        };
        jwk["kid"] = json!(key_id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        jwk
    }

    /// A token with these claims, that names this key id if there is one.
    pub fn token(&self, key_id: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let Some(key_id) = key_id {
            header["kid"] = json!(key_id);
        }
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", b64(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = if self.algorithm == Algorithm::RS256 { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature).expect(MADE);
                signature
            }
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), message).expect(MADE).as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().expect(MADE).as_ref().to_vec()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
