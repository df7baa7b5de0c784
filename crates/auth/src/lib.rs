//! Who is a client, and what may it do?
//!
//! This crate reads tokens and says what they grant: [`Verifier`] turns the text that a client shows into
//! [`ConnectionClaims`] or [`SubscriptionClaims`], or into a [`TokenError`]; [`access`] says what a client may
//! do in a channel, and why. [`Issuer`] makes tokens for the command line and for tests, [`inspect`] shows
//! what is in one. A [`Pattern`] says which channels a right is for, of a client or of a key of the server API. It
//! knows no sockets, no sessions and no clock: the time is passed in.
//!
//! Tokens are signed with secrets or with private keys whose public halves are configured, each for one algorithm.

#![warn(missing_docs)]

pub mod access;
mod algorithm;
mod claims;
mod header;
mod inspection;
mod issuer;
mod key;
mod key_set;
pub mod limits;
mod pattern;
mod pem;
mod remote;
mod rights;
mod secret;
mod verifier;

pub use algorithm::Algorithm;
pub use claims::{ConnectionClaims, ServerSubscription, SubscriptionClaims, TokenId};
pub use inspection::{Inspection, inspect};
pub use issuer::{Issuer, NewToken};
pub use key::{KeyError, KeyMaterial, KeyOptions, KeyRefusal, Uses};
pub use key_set::{KeySet, KeySetError};
pub use pattern::{Pattern, PatternError};
pub use pem::PemError;
pub use remote::{Held, KeySource, RemoteIssuer};
pub use rights::{Allowed, Operation, Rights, Roles, Rules};
pub use secret::Secret;
pub use verifier::{KeyVerdict, Options, OptionsError, TokenError, Verifier};
