//! How do backends publish and ask?
//!
//! The HTTP server API: `POST /api/METHOD` with a JSON body, `POST /api/publish/CHANNEL` with the payload as the
//! body, and `GET /api/openapi.json`, which describes both. This crate judges requests at the border (keys,
//! sizes, fields, the channel grammar, whether a payload is JSON) and hands what is left to the broker. It knows
//! no sessions and no sockets: what concerns a user goes through [`fanfare_broker::Nodes::control`].
//!
//! One request takes this way: `route` finds what is called (404, 405), `authentication` who calls (401),
//! `body` reads what is sent (415, 413, 408), `request` reads it as JSON (400), `caller` judges whether the key may
//! do that (error 103), `operations` does it.

#![warn(missing_docs)]

mod authentication;
mod batch;
mod body;
mod call;
mod caller;
mod document;
mod endpoint;
mod error;
mod json;
mod key;
mod limits;
mod metrics;
mod operations;
mod plain;
mod refusals;
mod request;
mod route;
mod suggestion;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanfare_broker::Broker;
use fanfare_broker::namespaces::Namespaces;

pub use authentication::Authentication;
pub use key::{Key, Scope};
pub use limits::Limits;
pub use metrics::Metrics;

/// What the server API is run with.
pub struct Api {
    /// Does what is asked.
    pub broker: Arc<dyn Broker>,
    /// Options of channels.
    pub namespaces: Arc<Namespaces>,
    /// Who may ask.
    pub auth: Authentication,
    /// How much may be asked at once.
    pub limits: Limits,
    /// How long tokens live at most (`auth.token_lifetime_max`), after which their revocation may be forgotten.
    pub token_lifetime_max: Option<Duration>,
}

/// The routes of the server API, all under `/api`.
pub fn router(api: Api) -> Router {
    router_with_metrics(api, Metrics::default())
}

/// Like [`router`], counting into metrics that the caller keeps to register them.
pub fn router_with_metrics(api: Api, metrics: Metrics) -> Router {
    endpoint::router(api, metrics)
}
