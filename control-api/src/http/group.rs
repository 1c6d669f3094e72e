mod add_member;
mod create;
mod delete;
mod get;
mod list;
mod remove_member;

pub(super) use add_member::{__path_add_member, add_member};
pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
pub(super) use get::{__path_get, get};
pub(super) use list::{__path_list, list};
pub(super) use remove_member::{__path_remove_member, remove_member};
