mod get;
mod replace;

pub(super) use get::{__path_get, get};
pub(super) use replace::{__path_replace, replace};
