//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use fanfare_gateway::{Companion, Handle};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use prometheus::IntCounterVec;

use crate::arrivals::{Arrivals, Seat, TooMany};
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::origin;
use crate::page;

/// Seconds after which an address that made too many connections may try again.
pub(crate) const RETRY_AFTER_SECONDS: &str = "2";

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) gateway: Handle,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) metrics: Metrics,
    /// By the status of the answer.
    pub(crate) handshakes_refused: IntCounterVec,
    pub(crate) allowed_origins: Arc<[String]>,
    /// Whether the node should get new connections; the text says why not.
    pub(crate) ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// The routes of a node: the WebSocket, the API, and what operators look at; in `dev` the demo page too.
pub(crate) fn router(routes: Routes, api: Router, dev: bool) -> Router {
    let node = Router::new()
        .route("/connection/websocket", any(websocket))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(routes)
        .merge(api);
    if dev {
        node.merge(page::router()).layer(middleware::from_fn(origin::guard_loopback))
    } else {
        node.route("/", get(root))
    }
}

async fn websocket(State(routes): State<Routes>, request: Request) -> Response {
    let response = handshake(&routes, request);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        routes.handshakes_refused.with_label_values(&[response.status().as_str()]).inc();
    }
    response
}

fn handshake(routes: &Routes, mut request: Request) -> Response {
    if !origin::is_allowed(request.headers(), &routes.allowed_origins) {
        tracing::info!(key = "listen.allowed_origins", "a page of a foreign origin was refused: see this key");
        return origin::refuse();
    }
    if let Some(seat) = request.extensions_mut().remove::<Arc<Seat>>() {
        match routes.arrivals.handshake(&seat, request.headers()) {
            Ok(seat) => _ = request.extensions_mut().insert(Companion::new(seat)),
            Err(why) => return too_many(why),
        }
    }
    routes.gateway.upgrade::<Gate>(&mut request).into_response()
}

fn too_many(why: TooMany) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], why.text()).into_response()
}

async fn metrics(State(routes): State<Routes>) -> Response {
    match routes.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whether the node works: if not, it should be started anew.
async fn healthz(State(routes): State<Routes>) -> (StatusCode, &'static str) {
    if routes.gateway.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n")
    }
}

/// Whether the node should get new connections.
async fn readyz(State(routes): State<Routes>) -> (StatusCode, String) {
    let alive = || routes.gateway.is_alive().then_some(()).ok_or_else(|| "a shard does not answer".to_owned());
    match (routes.ready)().and_then(|()| alive()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn root() -> &'static str {
    "This is a Fanfare node. Clients connect to /connection/websocket, backends to /api.\n"
}
