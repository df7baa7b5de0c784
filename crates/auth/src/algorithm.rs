//! How tokens may be signed.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    VerificationAlgorithm,
};

/// A way of signing that a key can be for. ES512 and `none` are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// What an algorithm checks with.
pub(crate) enum Scheme {
    /// A secret that both sides know.
    Shared(hmac::Algorithm),
    /// A public key.
    Public(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    /// The names of all, in the order of the registry (RFC 7518 §3.1).
    pub const NAMES: &[&str] =
        &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

    const ALL: &[Self] = &[
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The algorithm of this name, exactly as the registry writes it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in headers.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether it wants a secret; the others want a public key.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    pub(crate) fn is_rsa(self) -> bool {
        matches!(self, Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512)
    }

    /// The shortest secret that it may be used with: as long as its digest (RFC 7518 §3.2).
    pub fn secret_bytes_min(self) -> usize {
        match self {
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => crate::limits::SECRET_BYTES_MIN,
        }
    }

    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::HS256 => Scheme::Shared(hmac::HMAC_SHA256),
            Self::HS384 => Scheme::Shared(hmac::HMAC_SHA384),
            Self::HS512 => Scheme::Shared(hmac::HMAC_SHA512),
            Self::RS256 => Scheme::Public(&RSA_PKCS1_2048_8192_SHA256),
            Self::RS384 => Scheme::Public(&RSA_PKCS1_2048_8192_SHA384),
            Self::RS512 => Scheme::Public(&RSA_PKCS1_2048_8192_SHA512),
            Self::PS256 => Scheme::Public(&RSA_PSS_2048_8192_SHA256),
            Self::PS384 => Scheme::Public(&RSA_PSS_2048_8192_SHA384),
            Self::PS512 => Scheme::Public(&RSA_PSS_2048_8192_SHA512),
            Self::ES256 => Scheme::Public(&ECDSA_P256_SHA256_FIXED),
            Self::ES384 => Scheme::Public(&ECDSA_P384_SHA384_FIXED),
            Self::EdDSA => Scheme::Public(&ED25519),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are_written() {
        for (algorithm, name) in Algorithm::ALL.iter().zip(Algorithm::NAMES) {
            assert_eq!((Algorithm::named(name), algorithm.name()), (Some(*algorithm), *name));
        }
        for name in ["none", "None", "", "ES512", "hs256", "HS1", "ES256K", "RSA1_5", "EDDSA"] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }
}
