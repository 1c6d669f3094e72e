use super::page::Window;
use super::{Admin, Result};
use crate::model::{AuditEvent, Page, PageQuery};
use crate::store::audit;

impl Admin {
    /// Changes that were made, newest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn audit(&self, query: &PageQuery) -> Result<Page<AuditEvent>> {
        let window = Window::<i64>::of(query)?;
        let mut db = self.store().connection().await?;
        let events = audit::page(&mut db, window.cursor.unwrap_or(i64::MAX), window.rows()).await?;
        Ok(window.page(events, |event| event.id.to_string()))
    }
}
