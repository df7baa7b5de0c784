//! From a path to what is called.

use crate::call::Method;
use crate::error::Failure;

/// What a path under `/api` means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/api/METHOD`
    Method(Method),
    /// `/api/publish/CHANNEL`, the channel still percent-encoded.
    Publish(&'a str),
    /// `/api/openapi.json`
    Document,
}

impl<'a> Route<'a> {
    pub(crate) fn find(path: &'a str) -> Result<Self, Failure> {
        let rest = path.strip_prefix("/api").unwrap_or_default().trim_start_matches('/');
        if let Some(channel) = rest.strip_prefix("publish/") {
            return Ok(Self::Publish(channel));
        }
        match rest {
            "openapi.json" => Ok(Self::Document),
            "" => Err(Failure::not_found("a method belongs to the path, as in /api/publish; see /api/openapi.json")),
            name => Method::named(name).map(Self::Method).map_err(Failure::from_unknown_method),
        }
    }

    /// The method for metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Method(method) => method.name(),
            Self::Publish(_) => Method::Publish.name(),
            Self::Document => "openapi",
        }
    }

    pub(crate) fn check_http_method(&self, method: &http::Method) -> Result<(), Failure> {
        match self {
            Self::Document if matches!(*method, http::Method::GET | http::Method::HEAD) => Ok(()),
            Self::Document => Err(Failure::http_method("GET, HEAD", "the document is read with GET")),
            _ if *method == http::Method::POST => Ok(()),
            _ => Err(Failure::http_method("POST", "use POST; with curl, -d DATA does so")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_path() {
        for method in Method::ALL {
            assert_eq!(Route::find(&format!("/api/{}", method.name())).unwrap(), Route::Method(method));
        }
        assert_eq!(Route::find("/api/openapi.json").unwrap(), Route::Document);
    }

    #[test]
    fn a_channel_in_the_path_may_hold_slashes() {
        assert_eq!(Route::find("/api/publish/news").unwrap(), Route::Publish("news"));
        assert_eq!(Route::find("/api/publish/a/b%20c").unwrap(), Route::Publish("a/b%20c"));
        assert_eq!(Route::find("/api/publish/").unwrap(), Route::Publish(""));
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in ["/api", "/api/", "/api/publsh", "/api/PUBLISH", "/api/rpc", "/api/info/", "/api/history/news"] {
            assert!(Route::find(path).is_err(), "{path}");
        }
    }
}
