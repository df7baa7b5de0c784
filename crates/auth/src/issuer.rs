//! Makes tokens: for `dev`, for the command line, for tests. Backends make theirs with any JWT library.

use fanfare_protocol::Channel;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Secret;

/// What a new token says. What is empty or `None` is left out.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// The user id; `""` is the anonymous user.
    pub user: String,
    /// Unix time in seconds when it was made.
    pub issued_at: Option<u64>,
    /// Unix time in seconds from when it is valid.
    pub not_before: Option<u64>,
    /// Unix time in seconds when it expires.
    pub expires_at: Option<u64>,
    /// Connection info, or channel info in a subscription token.
    pub info: Option<Box<RawValue>>,
    /// Channels that the connection is subscribed to by the server; for connection tokens.
    pub channels: Vec<Channel>,
    /// The one client id that a subscription token is for.
    pub client: Option<String>,
    /// The audience.
    pub audience: Option<String>,
    /// The issuer.
    pub issuer: Option<String>,
}

/// Signs tokens with HS256.
pub struct Issuer(EncodingKey);

#[derive(Default, Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl Issuer {
    /// An issuer that signs with this secret.
    pub fn new(secret: &Secret) -> Self {
        Self(EncodingKey::from_secret(secret.expose().as_bytes()))
    }

    /// A connection token.
    pub fn connection(&self, token: &NewToken) -> String {
        let channels = token.channels.iter().map(Channel::as_str).collect();
        self.sign(&Claims { channels, ..common(token) })
    }

    /// A subscription token for one channel.
    pub fn subscription(&self, token: &NewToken, channel: &Channel) -> String {
        self.sign(&Claims { channel: Some(channel.as_str()), client: token.client.as_deref(), ..common(token) })
    }

    /// A token with just these claims, right or wrong ones: for tests.
    pub fn of_claims(&self, claims: &Value) -> String {
        self.sign(claims)
    }

    fn sign(&self, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.0)
            .expect("plain claims are JSON, and an HMAC key signs with HS256")
    }
}

fn common(token: &NewToken) -> Claims<'_> {
    Claims {
        sub: &token.user,
        iat: token.issued_at,
        nbf: token.not_before,
        exp: token.expires_at,
        info: token.info.as_deref(),
        aud: token.audience.as_deref(),
        iss: token.issuer.as_deref(),
        ..Claims::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Verifier};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn verifier() -> Verifier {
        let hmac_secret = Some(Secret::new(SECRET.to_owned()));
        Verifier::new(Options { hmac_secret, ..Options::default() }).unwrap()
    }

    fn issuer() -> Issuer {
        Issuer::new(&Secret::new(SECRET.to_owned()))
    }

    #[test]
    fn a_connection_token_says_what_it_was_given() {
        let news = Channel::parse("news").unwrap();
        let token = NewToken {
            user: "42".to_owned(),
            expires_at: Some(2_000),
            info: Some(RawValue::from_string(r#"{"name":"Ann"}"#.to_owned()).unwrap()),
            channels: vec![news.clone()],
            ..NewToken::default()
        };
        let claims = verifier().connection(&issuer().connection(&token), 1_000).unwrap();
        assert_eq!((claims.user.as_str(), claims.expire_at), ("42", Some(2_000)));
        assert_eq!(&claims.info[..], br#"{"name":"Ann"}"#);
        assert!(claims.subs.contains_key(&news));
    }

    #[test]
    fn a_subscription_token_is_for_its_channel_and_client() {
        let token = NewToken { client: Some("c1".to_owned()), ..NewToken::default() };
        let signed = issuer().subscription(&token, &Channel::parse("$news").unwrap());
        let claims = verifier().subscription(&signed, 1_000).unwrap();
        assert_eq!((claims.channel.as_str(), claims.client.as_deref()), ("$news", Some("c1")));
        assert!(verifier().connection(&signed, 1_000).is_err());
    }

    #[test]
    fn a_token_of_another_secret_is_refused() {
        let other = Issuer::new(&Secret::new(SECRET.to_uppercase()));
        assert!(verifier().connection(&other.connection(&NewToken::default()), 1_000).is_err());
    }
}
