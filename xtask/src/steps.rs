//! What the steps do, each in a room of its own.

pub(crate) mod autobahn;
pub(crate) mod browser;
pub(crate) mod checker;
pub(crate) mod deny;
pub(crate) mod deploy;
pub(crate) mod docs;
pub(crate) mod fuzz;
pub(crate) mod go;
pub(crate) mod image;
pub(crate) mod instructions;
pub(crate) mod js;
pub(crate) mod programs;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod rust;
