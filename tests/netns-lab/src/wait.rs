//! Waiting for a condition.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::interrupt;

/// Asks until there is an answer, and says how long it took.
///
/// # Errors
/// When `limit` passes (the message names `what`), `ask` fails, or the lab is interrupted.
pub fn until<T>(
    what: impl Display,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok((answer, start.elapsed()));
        }
        interrupt::check()?;
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
