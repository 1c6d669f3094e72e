//! The audit log: shown, exported, and verified by its chain.

use std::io::{BufRead, Write};

use anyhow::Context as _;

use super::page::Window;
use super::{Database, Reader, Result};
use crate::audit_chain::{Anchor, Broken, Follower, Link};
use crate::model::{ChainedEvent, Page, PageQuery};
use crate::store::{self, Store, audit};

/// How many entries are read at once.
const BATCH: i64 = 1000;

impl Reader {
    /// Changes that were made, newest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn audit(&self, query: &PageQuery) -> Result<Page<ChainedEvent>> {
        let window = Window::<i64>::of(query)?;
        let mut db = self.store().connection().await?;
        let events = audit::page(&mut db, window.cursor.unwrap_or(i64::MAX), window.rows()).await?;
        Ok(window.page(events, |chained| chained.event.id.to_string()))
    }
}

/// What was found of a log.
#[derive(Debug)]
pub enum Verdict {
    /// The chain is whole.
    Whole(Anchor),
    /// The chain is broken.
    Broken(Broken),
    /// The chain is whole, but so many rows are not in it.
    Unchained(i64),
}

/// Follows the chain of the log in a database, which must pass where it was `known` to be.
///
/// # Errors
/// When the database is away, or its schema is of another version.
pub async fn verify(database: &Database, known: Option<Anchor>) -> anyhow::Result<Verdict> {
    let store = Store::new(&database.url, 1)?;
    must_be_ready(&store).await?;
    let mut db = store.consistent_read().await?;
    let (head, unchained) = audit::head(&mut db).await?;
    let mut follower = Follower::new(known);
    let mut position = 0;
    loop {
        let links = audit::links(&mut db, position, BATCH).await?;
        let Some(last) = links.last() else { break };
        position = last.position;
        if let Err(broken) = links.iter().try_for_each(|link| follower.follow(link)) {
            return Ok(Verdict::Broken(broken));
        }
    }
    Ok(match follower.end() {
        Err(broken) => Verdict::Broken(broken),
        Ok(end) if end.position < head.position => {
            Verdict::Broken(Broken::CutOff { expected: head.position, found: end.position })
        }
        // Another end than the one that was noted, or more entries.
        Ok(end) if end != head => Verdict::Broken(Broken::Rewritten(head)),
        Ok(_) if unchained > 0 => Verdict::Unchained(unchained),
        Ok(end) => Verdict::Whole(end),
    })
}

/// Follows the chain of an exported log, which must pass where it was `known` to be.
///
/// # Errors
/// When it cannot be read, or a line is not as [`export`] writes it.
pub fn verify_export(lines: impl BufRead, known: Option<Anchor>) -> anyhow::Result<Verdict> {
    let mut follower = Follower::new(known);
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.with_context(|| format!("reading line {number}"))?;
        let link: Link = serde_json::from_str(&line).with_context(|| {
            format!("line {number} is no entry; the file must be as `audit export` wrote it")
        })?;
        // Also what no hash covers, as it has no place in an entry: members that were added, other spellings.
        if serde_json::to_string(&link)? != line {
            anyhow::bail!("line {number} was changed: it is not written as `audit export` writes it");
        }
        if let Err(broken) = follower.follow(&link) {
            return Ok(Verdict::Broken(broken));
        }
    }
    Ok(follower.end().map_or_else(Verdict::Broken, Verdict::Whole))
}

/// Writes the chain, an entry a line, as JSON.
///
/// # Errors
/// When the database is away, its schema is of another version, or `out` takes no more.
pub async fn export(database: &Database, out: &mut impl Write) -> anyhow::Result<()> {
    let store = Store::new(&database.url, 1)?;
    must_be_ready(&store).await?;
    let mut db = store.consistent_read().await?;
    let mut position = 0;
    loop {
        let links = audit::links(&mut db, position, BATCH).await?;
        let Some(last) = links.last() else { break };
        position = last.position;
        for link in &links {
            serde_json::to_writer(&mut *out, link)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

async fn must_be_ready(store: &Store) -> anyhow::Result<()> {
    let ready = match store.ready().await {
        Ok(ready) => ready,
        // Without any schema there is not even the table that says so.
        Err(store::StoreError::Defect(_)) => false,
        Err(error) => return Err(error.into()),
    };
    anyhow::ensure!(ready, "the schema is older than this program; run `nexa-control migrate` first");
    Ok(())
}
