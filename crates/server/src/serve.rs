//! Running a node from the command line. To be filled in with the node.

use std::net::SocketAddr;

use crate::cli::{ConfigFlags, Failure};

/// Why a node could not be run.
pub type Error = Failure;

/// What `fanfare dev` was told.
#[derive(Debug)]
pub struct DevOptions {
    /// Where to listen; refused unless it is a loopback address.
    pub listen: SocketAddr,
}

/// What `fanfare serve` was told.
#[derive(Debug)]
pub struct ServeOptions {
    /// Where the configuration is, and what overrides it.
    pub flags: ConfigFlags,
}

/// Runs a node for this machine until it is told to stop.
pub fn dev(options: DevOptions) -> Result<(), Error> {
    Err(Failure::failed(format!("cannot listen on {} yet", options.listen)))
}

/// Runs a node until it is told to stop.
pub fn serve(options: ServeOptions) -> Result<(), Error> {
    Err(Failure::failed(format!("cannot serve {:?} yet", options.flags.config)))
}
