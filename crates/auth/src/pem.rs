//! Public keys out of PEM text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a text holds no public key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no block of PEM in it.
    #[error("it holds no PEM block; a public key begins with -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// There is more than one block.
    #[error("it holds several PEM blocks; one key stands in one file")]
    Several,
    /// It is the private half.
    #[error("it holds a private key, which does not belong here: `openssl pkey -pubout` makes the public one of it")]
    Private,
    /// It is a certificate.
    #[error("it holds a certificate: `openssl x509 -pubkey -noout` makes the public key of it")]
    Certificate,
    /// It is something else.
    #[error("it holds something else than a public key")]
    Other,
    /// The block is not base64.
    #[error("its PEM block is not base64")]
    NotBase64,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The one public key in a text, as DER: a SubjectPublicKeyInfo, or an RSAPublicKey.
pub(crate) fn public_key(text: &str) -> Result<Vec<u8>, PemError> {
    let (_, after) = text.split_once(BEGIN).ok_or(PemError::NotPem)?;
    let (label, after) = after.split_once(DASHES).ok_or(PemError::NotPem)?;
    let (body, rest) = after.split_once("-----END ").ok_or(PemError::NotPem)?;
    check_label(label)?;
    if rest.contains(BEGIN) {
        return Err(PemError::Several);
    }
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| PemError::NotBase64)
}

fn check_label(label: &str) -> Result<(), PemError> {
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Ok(()),
        "CERTIFICATE" => Err(PemError::Certificate),
        _ if label.ends_with("PRIVATE KEY") => Err(PemError::Private),
        _ => Err(PemError::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_public_key_is_taken() {
        let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        assert_eq!(public_key(&pem("PUBLIC KEY", "AQ\nID")), Ok(vec![1, 2, 3]));
        assert_eq!(public_key(&format!("# a remark\n{}", pem("RSA PUBLIC KEY", "AQID"))), Ok(vec![1, 2, 3]));
        for (text, error) in [
            (String::new(), PemError::NotPem),
            ("-----BEGIN PUBLIC KEY-----\nAQID\n".to_owned(), PemError::NotPem),
            (pem("PUBLIC KEY", "AQ*D"), PemError::NotBase64),
            (pem("PUBLIC KEY", "AQID").repeat(2), PemError::Several),
            (pem("PRIVATE KEY", "AQID"), PemError::Private),
            (pem("EC PRIVATE KEY", "AQID"), PemError::Private),
            (pem("CERTIFICATE", "AQID"), PemError::Certificate),
            (pem("EC PARAMETERS", "AQID"), PemError::Other),
        ] {
            assert_eq!(public_key(&text), Err(error), "{text}");
        }
    }
}
