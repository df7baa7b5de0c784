//! The first part of a token: what it says of its own signature. Nothing of it is believed: the algorithm and the
//! key id only choose among keys that are here, each with an algorithm of its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Algorithm, TokenError};

/// What is read of a header. What else it offers (`jku`, `jwk`, `x5u`, `x5c`) is not even read.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Written {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Box<RawValue>>,
}

/// Media types of tokens that grant something (RFC 7519 §5.1, RFC 9068 §2.1). A logout token or a proof of
/// possession of the same issuer has another one, and is no leave to come in.
const TYPES: &[&str] = &["jwt", "at+jwt"];

impl Header {
    /// The header in the first part of a token.
    pub(crate) fn decode(encoded: &str) -> Result<Self, TokenError> {
        let malformed = || TokenError::Invalid("its header is not one JSON object with an algorithm".into());
        let text = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed())?;
        // Without this a struct would also be read from an array, by position.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed());
        }
        let written: Written = serde_json::from_slice(&text).map_err(|_| malformed())?;
        check_extensions(&written)?;
        check_type(&written)?;
        Ok(Self { algorithm: algorithm(&written.alg)?, key_id: written.kid })
    }
}

fn algorithm(name: &str) -> Result<Algorithm, TokenError> {
    Algorithm::named(name).ok_or_else(|| match name {
        "ES512" => TokenError::Invalid("it is signed with ES512, which is not accepted; use ES384 or ES256".into()),
        _ if name.eq_ignore_ascii_case("none") => {
            TokenError::Invalid("it is not signed (alg none), which is never accepted".into())
        }
        // The name is the token's, and goes nowhere.
        _ => TokenError::Invalid("it is signed with an algorithm that is not known".into()),
    })
}

/// `crit` lists extensions that a reader has to understand or refuse (RFC 7515 §4.1.11); we have none.
fn check_extensions(written: &Written) -> Result<(), TokenError> {
    match written.crit {
        Some(_) => Err(TokenError::Invalid("its header demands an extension (crit) that is not known".into())),
        None => Ok(()),
    }
}

fn check_type(written: &Written) -> Result<(), TokenError> {
    let Some(name) = &written.typ else { return Ok(()) };
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("application/").unwrap_or(&name);
    match TYPES.contains(&name) {
        true => Ok(()),
        false => Err(TokenError::Invalid("its type (typ) is neither JWT nor at+jwt".into())),
    }
}
