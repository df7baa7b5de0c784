//! Shows what is in a token without believing any of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::TokenError;
use crate::limits::TOKEN_BYTES_MAX;

/// What is in a token. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The header: algorithm and key hints.
    pub header: Value,
    /// The claims.
    pub claims: Value,
}

/// Decodes a token for the eyes of its owner. Never decide anything by the result: it is not verified.
///
/// # Errors
/// [`TokenError::Invalid`] for what is no token.
pub fn inspect(token: &str) -> Result<Inspection, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Invalid(format!("it is longer than {TOKEN_BYTES_MAX} bytes").into()));
    }
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [header, claims, _signature] = parts[..] else {
        return Err(TokenError::Invalid("a token has three parts, separated by dots".into()));
    };
    Ok(Inspection { header: part(header)?, claims: part(claims)? })
}

fn part(encoded: &str) -> Result<Value, TokenError> {
    let decoded = URL_SAFE_NO_PAD.decode(encoded);
    let decoded = decoded.map_err(|_| TokenError::Invalid("a part of it is not base64url".into()))?;
    serde_json::from_slice(&decoded).map_err(|_| TokenError::Invalid("a part of it does not hold JSON".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Issuer, NewToken, Secret};

    #[test]
    fn header_and_claims_are_shown() {
        let issuer = Issuer::new(&Secret::new("any".to_owned()));
        let token = issuer.connection(&NewToken { user: "42".to_owned(), ..NewToken::default() });
        let shown = inspect(&format!(" {token}\n")).unwrap();
        assert_eq!(shown.header["alg"], "HS256");
        assert_eq!(shown.claims["sub"], "42");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let deep = URL_SAFE_NO_PAD.encode("[".repeat(30_000));
        for text in ["", "a.b", "a.b.c.d", "!.!.!", "e30.bm90IGpzb24.x", &format!("e30.{deep}.x"), &"a".repeat(70_000)]
        {
            assert!(matches!(inspect(text), Err(TokenError::Invalid(_))), "{:.20}", text);
        }
    }
}
