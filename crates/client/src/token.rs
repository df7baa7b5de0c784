//! Where tokens come from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::limits::TOKEN_TIMEOUT;

type Fetch = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Where a connection or subscription token comes from. Never shows the token.
#[derive(Clone)]
pub struct TokenSource(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<str>),
    Callback(Arc<dyn Fn() -> Fetch + Send + Sync>),
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// The user may not have one: the connection or subscription ends.
    #[error("not authorized")]
    Unauthorized,
    /// Something failed that may work later: tried again with back-off.
    #[error("{0}")]
    Temporary(String),
}

impl TokenSource {
    /// One token for ever. When it expires, the connection or subscription ends.
    pub fn fixed(token: impl Into<Arc<str>>) -> Self {
        Self(Source::Fixed(token.into()))
    }

    /// Asks `fetch` for a token at first and whenever the one at hand has expired. A call that takes longer than
    /// 10 seconds counts as failed. The future may be dropped when the connection ends.
    pub fn callback<F, R>(fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        Self(Source::Callback(Arc::new(move || Box::pin(fetch()))))
    }

    /// Whether another call can give another token.
    pub(crate) fn renews(&self) -> bool {
        matches!(self.0, Source::Callback(_))
    }

    pub(crate) async fn fetch(&self) -> Result<String, TokenError> {
        let fetch = match &self.0 {
            Source::Fixed(token) => return Ok(token.as_ref().to_owned()),
            Source::Callback(fetch) => fetch(),
        };
        match tokio::time::timeout(TOKEN_TIMEOUT, fetch).await {
            Ok(result) => result,
            Err(_) => Err(TokenError::Temporary("the token callback took too long".into())),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Source::Fixed(_) => "TokenSource::fixed(…)",
            Source::Callback(_) => "TokenSource::callback(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fixed_token_is_given_and_never_shown() {
        let source = TokenSource::fixed("geheim");
        assert_eq!(source.fetch().await.unwrap(), "geheim");
        assert!(!source.renews());
        assert!(!format!("{source:?}").contains("geheim"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_callback_that_hangs_is_given_up() {
        let source = TokenSource::callback(std::future::pending);
        assert!(source.renews());
        assert!(matches!(source.fetch().await, Err(TokenError::Temporary(_))));
    }
}
