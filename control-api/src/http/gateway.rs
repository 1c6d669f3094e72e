mod create;
mod delete;
mod get;
mod health;
mod list;
mod renew_token;
mod stream;
mod update;

pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
pub(super) use get::{__path_get, get};
pub(super) use health::{__path_health, health};
pub(super) use list::{__path_list, list};
pub(super) use renew_token::{__path_renew_token, renew_token};
pub(super) use stream::{__path_stream, stream};
pub(super) use update::{__path_update, update};
