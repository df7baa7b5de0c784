//! Origins of web pages as they are written in the configuration: `https://app.example.com`, `https://*.example.com`, or `*`
//! for any.

/// Why a text is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No `SCHEME://` in front.
    #[error("holds {0:?}, which has no scheme")]
    NoScheme(String),
    /// A path, a query, a user or a slash at the end.
    #[error("holds {0:?}, which is more than an origin")]
    More(String),
    /// A star elsewhere than for the first label of a domain.
    #[error("holds {0:?}, but a star stands for the first name of a domain only")]
    Pattern(String),
    /// A port that browsers leave out.
    #[error("holds {0:?}, but browsers leave this port out")]
    DefaultPort(String),
    /// What cannot stand in an origin.
    #[error("holds {0:?}, which is not an origin")]
    Other(String),
}

impl Refused {
    /// What to write in its place; `general` says what fits at all.
    pub(crate) fn hint(&self, general: &str) -> String {
        match self {
            Self::NoScheme(text) if !text.is_empty() => format!("write \"https://{text}\""),
            Self::More(text) => {
                origin_of(text).map_or_else(|| general.to_owned(), |origin| format!("write {origin:?}"))
            }
            Self::DefaultPort(text) => {
                let (origin, _port) = text.rsplit_once(':').expect("it was refused for its port");
                format!("write {origin:?}")
            }
            _ => general.to_owned(),
        }
    }
}

/// Reads an origin; scheme and host become lower case, as browsers send them.
pub(crate) fn read(text: &str) -> Result<String, Refused> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, host)) = lower.split_once("://") else {
        return Err(Refused::NoScheme(text.to_owned()));
    };
    check(scheme, host, text)?;
    Ok(lower)
}

fn check(scheme: &str, host: &str, text: &str) -> Result<(), Refused> {
    let text = || text.to_owned();
    if host.contains(['/', '?', '#', '@']) {
        return Err(Refused::More(text()));
    }
    // Before the last name alone it would let in whoever registers one.
    let host = host.strip_prefix("*.").filter(|domain| domain.contains('.')).unwrap_or(host);
    if host.contains('*') {
        return Err(Refused::Pattern(text()));
    }
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let in_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if scheme.is_empty() || host.is_empty() || !scheme.chars().all(in_scheme) || !host.chars().all(in_host) {
        return Err(Refused::Other(text()));
    }
    match (scheme, host.rsplit_once(':')) {
        ("http", Some((_, "80"))) | ("https", Some((_, "443"))) => Err(Refused::DefaultPort(text())),
        _ => Ok(()),
    }
}

fn origin_of(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read() {
        for (text, read_as) in [
            ("*", "*"),
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:8443", "https://app.example.com:8443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(read_as));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let refusal =
            |text: &str| read(text).map_err(|refused| (refused.to_string(), refused.hint("general"))).unwrap_err();
        for (text, complaint, hint) in [
            ("app.example.com", "which has no scheme", r#"write "https://app.example.com""#),
            ("https://app.example.com/", "which is more than an origin", r#"write "https://app.example.com""#),
            ("https://u@a.b/c?d", "which is more than an origin", r#"write "https://a.b""#),
            ("https://*.com", "but a star stands for the first name of a domain only", "general"),
            ("https://*.*.example.com", "but a star stands for the first name of a domain only", "general"),
            ("https://app*.example.com", "but a star stands for the first name of a domain only", "general"),
            ("https://a.b:443", "but browsers leave this port out", r#"write "https://a.b""#),
            ("https://", "which is not an origin", "general"),
            ("https://a b", "which is not an origin", "general"),
        ] {
            assert_eq!(refusal(text), (format!("holds {text:?}, {complaint}"), hint.to_owned()));
        }
    }
}
