//! What does the user's own backend say?
//!
//! [`Hooks`] is the [`Backend`](fanfare_gateway::Backend) that sessions ask: one POST of JSON for each question, with
//! the fields of the field's usual "proxy" contract (protocol §21), signed as Standard Webhooks say. It knows HTTP as a
//! client; it knows no sessions, no sockets of clients, and nobody's rights.
//!
//! What holds:
//!
//! - **H1** The targets are those of the configuration. Nothing that a client or a backend says becomes part of one, and
//!   redirects are not followed.
//! - **H2** A question takes `timeout` at most, with all its tries; an answer is bounded in bytes.
//! - **H3** So many questions of a hook are under way at most; one more is refused at once, and counted.
//! - **H4** A question is asked again only where a repeat does no harm: connect, refresh, subscribe and sub_refresh when
//!   there was no connection or the answer was 502, 503 or 504; publish and rpc only when nothing of the request was
//!   sent. All tries have the same `webhook-id`.
//! - **H5** A backend that does not answer is left alone for a while (`breaker`), then one question tries.
//! - **H6** An answer is as hostile as what a client says: judged before it is believed. One that cannot be used grants
//!   nothing.
//! - **H7** A question that nobody waits for any more is given up, with its connection.

#![warn(missing_docs)]

mod answer;
mod breaker;
mod hook;
mod hooks;
pub mod limits;
mod metrics;
mod options;
mod pool;
mod question;
mod signature;

pub use hooks::Hooks;
pub use metrics::Metrics;
pub use options::{HookOptions, Options, is_header_for_hooks};
pub use signature::{KeyError, SigningKey};
