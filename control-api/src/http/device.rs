mod counters;
mod delete;
mod enrol;
mod get;
mod list;
mod profile;
mod update;
mod wg_quick;

pub(super) use counters::{__path_counters, counters};
pub(super) use delete::{__path_delete, delete};
pub(super) use enrol::{__path_enrol, enrol};
pub(super) use get::{__path_get, get};
pub(super) use list::{__path_list, list};
pub(super) use profile::{__path_profile, profile};
pub(super) use update::{__path_update, update};
pub(super) use wg_quick::{__path_wg_quick, wg_quick};
