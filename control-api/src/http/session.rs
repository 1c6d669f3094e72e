mod create;
mod delete;
mod list;
mod revoke;

pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
pub(super) use list::{__path_list, list};
pub(super) use revoke::{__path_revoke, revoke};
