mod get;

pub(super) use get::{__path_get, get};
