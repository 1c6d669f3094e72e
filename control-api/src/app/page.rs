use std::str::FromStr;

use super::{Error, Result};
use crate::model::{Page, PageQuery};

const DEFAULT: u32 = 100;
const MAX: u32 = 1000;

/// A checked [`PageQuery`].
pub(super) struct Window<C> {
    limit: u32,
    /// Where the page before ended.
    pub(super) cursor: Option<C>,
}

impl<C: FromStr> Window<C> {
    pub(super) fn of(query: &PageQuery) -> Result<Self> {
        let limit = query.limit.unwrap_or(DEFAULT);
        if !(1..=MAX).contains(&limit) {
            return Err(Error::invalid("invalid_limit", "limit", format!("use 1 to {MAX}")));
        }
        let wrong = |_| {
            Error::invalid(
                "invalid_cursor",
                "cursor",
                "use `next_cursor` of the page before, or leave it out",
            )
        };
        let cursor = query.cursor.as_deref().map(str::parse).transpose().map_err(wrong)?;
        Ok(Self { limit, cursor })
    }

    /// How many rows to ask for: one more than shown, to know whether there are more.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    pub(super) fn page<T>(&self, items: Vec<T>, cursor: impl FnOnce(&T) -> String) -> Page<T> {
        Page::of(items, self.limit as usize, cursor)
    }
}
