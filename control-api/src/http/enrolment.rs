mod create;

pub(super) use create::{__path_create, create};
