mod create;
mod delete;
mod enrolment_token;
mod get;
mod list;
mod password_link;
mod update;

pub(super) use create::{__path_create, create};
pub(super) use delete::{__path_delete, delete};
pub(super) use enrolment_token::{__path_enrolment_token, enrolment_token};
pub(super) use get::{__path_get, get};
pub(super) use list::{__path_list, list};
pub(super) use password_link::{__path_password_link, password_link};
pub(super) use update::{__path_update, update};
