//! How does a node reach another server over HTTP?
//!
//! [`Endpoint`] is a URL that is asked, judged once; [`connect`] makes a connection to it, over TLS where the URL says
//! so, to an address that may be connected to ([`Trust`]). What is said on the connection is for others. Whoever uses it
//! bounds the time.

#![warn(missing_docs)]

mod address;
mod connect;
mod endpoint;

pub use address::{ADDRESSES_MAX, AddressError, Trust};
pub use connect::{ConnectError, Stream, connect};
pub use endpoint::{Endpoint, EndpointError};
