//! The demo page: its files, and the headers that they go out with.
//!
//! Everything is in the binary and nothing is loaded from elsewhere. Whether the page is served at all is
//! the caller's matter.

use axum::Router;
use axum::routing::get;
use http::header;

/// Scripts and styles come from the node alone; the page talks to nobody else.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; connect-src 'self' ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CSS: &str = "text/css; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

const fn asset(path: &'static str, content_type: &'static str, body: &'static str) -> Asset {
    Asset { path, content_type, body }
}

const ASSETS: [Asset; 11] = [
    asset("/", HTML, include_str!("page/index.html")),
    asset("/page.css", CSS, include_str!("page/page.css")),
    asset("/page.js", JAVASCRIPT, include_str!("page/page.js")),
    asset("/page/connection.js", JAVASCRIPT, include_str!("page/connection.js")),
    asset("/page/dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    asset("/page/feed.js", JAVASCRIPT, include_str!("page/feed.js")),
    asset("/page/latency.js", JAVASCRIPT, include_str!("page/latency.js")),
    asset("/page/notices.js", JAVASCRIPT, include_str!("page/notices.js")),
    asset("/page/publish.js", JAVASCRIPT, include_str!("page/publish.js")),
    asset("/page/roster.js", JAVASCRIPT, include_str!("page/roster.js")),
    asset("/page/icon.svg", SVG, include_str!("page/icon.svg")),
];

/// Routes of the page, to be merged into the node's router.
pub(crate) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    ASSETS.iter().fold(Router::new(), |router, asset| router.route(asset.path, get(move || async { serve(asset) })))
}

type Headers = [(header::HeaderName, &'static str); 5];

fn serve(asset: &'static Asset) -> (Headers, &'static str) {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A rebuilt node shows its own page at once, not the one that the browser remembers.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, asset.body)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Request, Response, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).expect("the path is valid");
        router::<()>().oneshot(request).await.expect("a router does not fail")
    }

    #[tokio::test]
    async fn every_file_goes_out_with_its_type_and_the_policy() {
        for asset in &ASSETS {
            let response = get(asset.path).await;
            assert_eq!(response.status(), StatusCode::OK, "{}", asset.path);
            assert_eq!(response.headers()[header::CONTENT_TYPE], asset.content_type);
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_part_of_the_page_is_not_served() {
        assert_eq!(get("/page/secret.js").await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in &ASSETS {
            let links = asset.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!links.contains("http://") && !links.contains("https://"), "{} names another host", asset.path);
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let named = |asset: &Asset| {
            let quoted = asset.body.split('"').filter(|text| text.starts_with("/page")).map(str::to_owned);
            quoted.collect::<Vec<_>>()
        };
        for path in ASSETS.iter().flat_map(named) {
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{path} is named but not served");
        }
    }
}
