//! The gateway daemon as a library, so that tests can use its parts.

pub mod dataplane;
