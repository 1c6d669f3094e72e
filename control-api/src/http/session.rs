mod create;
mod delete;

pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
