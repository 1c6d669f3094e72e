mod live;
mod ready;

pub(super) use live::{__path_live, live};
pub(super) use ready::{__path_ready, ready};
