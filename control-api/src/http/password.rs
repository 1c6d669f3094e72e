mod set;

pub(super) use set::{__path_set, set};
