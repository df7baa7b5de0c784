//! Which path leads where.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use fanfare_gateway::{Companion, Handle};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use prometheus::IntCounterVec;
use tokio::sync::watch;

use crate::arrivals::{Arrivals, Seat, TooMany};
use crate::gate::Gate;
use crate::listener::RefusalLog;
use crate::metrics::Metrics;
use crate::origin::{self, Scheme};
use crate::page;
use crate::readiness::Readiness;

/// Seconds after which an address that made too many connections may try again.
pub(crate) const RETRY_AFTER_SECONDS: &str = "2";

/// Labels of requests refused for the page that they come from, and for the host that they go to.
pub(crate) const ORIGIN: &str = "origin";
pub(crate) const HOST: &str = "misdirected";

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) gateway: Handle,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) metrics: Metrics,
    /// WebSockets that are not opened, by the status of the answer.
    pub(crate) handshakes_refused: IntCounterVec,
    /// Requests refused, by reason.
    pub(crate) refusals: IntCounterVec,
    pub(crate) log: Arc<RefusalLog>,
    pub(crate) allowed_origins: watch::Receiver<Arc<[String]>>,
    pub(crate) allowed_hosts: Arc<[String]>,
    pub(crate) readiness: Readiness,
}

/// The routes of a node: the WebSocket, the API, and what operators look at; in `dev` the demo page too.
pub(crate) fn router(routes: Routes, api: Router, dev: bool) -> Router {
    let counted = middleware::from_fn_with_state(routes.clone(), seat_client);
    let hosts = (!routes.allowed_hosts.is_empty()).then(|| middleware::from_fn_with_state(routes.clone(), check_host));
    let others = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(routes.clone())
        .merge(api)
        .layer(counted);
    let node = Router::new().route("/connection/websocket", any(websocket)).with_state(routes).merge(others);
    if dev {
        node.merge(page::router()).layer(middleware::from_fn(origin::guard_loopback))
    } else {
        let node = node.route("/", get(root));
        // No request is held up for a list that is empty.
        match hosts {
            Some(hosts) => node.layer(hosts),
            None => node,
        }
    }
}

/// Answers requests for the node's own names only, if it has any.
async fn check_host(State(routes): State<Routes>, request: Request, next: Next) -> Response {
    if origin::is_served(request.headers(), &routes.allowed_hosts) {
        return next.run(request).await;
    }
    routes.refused(HOST, "listen.allowed_hosts", &request);
    origin::refuse_host()
}

/// Gives the client that a trusted proxy names its seat while its request is answered, and says whom the API refused.
async fn seat_client(State(routes): State<Routes>, request: Request, next: Next) -> Response {
    let Some(seat) = request.extensions().get::<Arc<Seat>>().map(Arc::clone) else { return next.run(request).await };
    let client = match routes.arrivals.request(&seat, request.headers()) {
        Ok(client) => client,
        Err(why) => return too_many(why),
    };
    let response = next.run(request).await;
    if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && routes.log.may_log(Instant::now())
    {
        let address = client.as_ref().map_or_else(|| seat.peer(), Seat::peer);
        tracing::info!(%address, status = response.status().as_u16(), "a request to the API was refused");
    }
    response
}

impl Routes {
    /// Counts a refusal, and logs some.
    fn refused(&self, reason: &'static str, key: &'static str, request: &Request) {
        self.refusals.with_label_values(&[reason]).inc();
        if self.log.may_log(Instant::now()) {
            let address = request.extensions().get::<Arc<Seat>>().map(|seat| seat.peer());
            tracing::info!(
                reason,
                key,
                address = address.map(tracing::field::display),
                "a request was refused: see this key"
            );
        }
    }

    /// How a request came to the first of us that it met, as far as that is known.
    fn scheme(&self, request: &Request) -> Option<Scheme> {
        let (seat, own) = (request.extensions().get::<Arc<Seat>>(), request.extensions().get::<Scheme>());
        match own {
            Some(Scheme::Https) => Some(Scheme::Https),
            _ if seat.is_some_and(|seat| self.arrivals.trusts(seat)) => Scheme::named(request.headers()),
            _ => None,
        }
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
    let allowed = Arc::clone(&routes.allowed_origins.borrow());
    if !origin::is_allowed(request.headers(), routes.scheme(&request), &allowed) {
        routes.refused(ORIGIN, "listen.allowed_origins", &request);
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
    match routes.readiness.ask().and_then(|known| alive().map(|()| known)) {
        Ok(None) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Some(known)) => (StatusCode::OK, format!("ready\n{known}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn root() -> &'static str {
    "This is a Fanfare node. Clients connect to /connection/websocket, backends to /api.\n"
}
