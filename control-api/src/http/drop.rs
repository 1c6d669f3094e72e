mod list;

pub(super) use list::{__path_list, list};
