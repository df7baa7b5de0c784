//! The server API from outside: requests into the router, with a real broker behind it.

mod batch;
mod broadcast;
mod document;
mod harness;
mod history;
mod http_rules;
mod keys;
mod node;
mod plain;
mod presence;
mod publish;
mod revocations;
mod rights;
mod sessions;
