mod create;
mod delete;
mod get;
mod list;
mod replace;

pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
pub(super) use get::{__path_get, get};
pub(super) use list::{__path_list, list};
pub(super) use replace::{__path_replace, replace};
