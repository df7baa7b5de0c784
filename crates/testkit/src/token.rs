//! Tokens for tests: signed with the node's secret, with any claims, right or wrong ones.

use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_auth::{Issuer, NewToken, Secret};
use fanfare_protocol::Channel;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

/// What the nodes of tests verify tokens with.
pub const SECRET: &str = "a secret for tests of thirty-two bytes";

/// Unix time in seconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("this machine's clock is past 1970").as_secs()
}

/// A connection token of a user, without anything else.
pub fn connection(user: &str) -> String {
    let token = NewToken { user: user.to_owned(), ..NewToken::default() };
    Issuer::new(&Secret::new(SECRET.to_owned())).connection(&token)
}

/// A subscription token of a user for a channel, without anything else.
pub fn subscription(user: &str, channel: &str) -> String {
    let token = NewToken { user: user.to_owned(), ..NewToken::default() };
    let channel = Channel::parse(channel).expect("tests name channels that exist");
    Issuer::new(&Secret::new(SECRET.to_owned())).subscription(&token, &channel)
}

/// A token with just these claims.
pub fn with_claims(claims: &Value) -> String {
    signed_with(SECRET, claims)
}

/// A token with just these claims, signed with another secret.
pub fn signed_with(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("JSON claims can be signed")
}
