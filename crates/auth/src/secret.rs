//! Secrets: text that must not show up in a log or in an error.

use std::fmt;

/// A secret. [`fmt::Debug`] and [`fmt::Display`] show that there is one, never what it is.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself. Never hand it to a log, a message or a metric.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this secret, in a time that tells at most the secret's length.
    pub fn matches(&self, shown: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), shown.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_shown() {
        let secret = Secret::new("correct horse".to_owned());
        let shown = format!("{secret} {secret:?} {:#?}", Some(&secret));
        assert!(!shown.contains("horse"), "{shown}");
        assert!(shown.contains("[redacted]"), "{shown}");
    }

    #[test]
    fn it_matches_itself_and_nothing_else() {
        let secret = Secret::new("correct horse".to_owned());
        assert!(secret.matches("correct horse"));
        for other in ["", "correct", "correct horsf", "correct horse ", "Correct horse"] {
            assert!(!secret.matches(other), "{other:?}");
        }
    }
}
