//! Who is a client, and what may it do?
//!
//! This crate reads tokens and says what they grant: [`Verifier`] turns the text that a client shows into
//! [`ConnectionClaims`] or [`SubscriptionClaims`], or into a [`TokenError`]; [`access`] says what a client may
//! subscribe to without a token. [`Issuer`] makes tokens for the command line and for tests, [`inspect`] shows
//! what is in one. A [`Pattern`] says which channels a right is for. It knows no sockets, no sessions and no clock:
//! the time is passed in.
//!
//! Tokens are signed with HS256 and one secret. Where other algorithms and key sets will come in is written
//! at the top of `verifier.rs`.

#![warn(missing_docs)]

pub mod access;
mod claims;
mod inspection;
mod issuer;
pub mod limits;
mod pattern;
mod secret;
mod verifier;

pub use claims::{ConnectionClaims, ServerSubscription, SubscriptionClaims};
pub use inspection::{Inspection, inspect};
pub use issuer::{Issuer, NewToken};
pub use pattern::{Pattern, PatternError};
pub use secret::Secret;
pub use verifier::{Options, OptionsError, TokenError, Verifier};
