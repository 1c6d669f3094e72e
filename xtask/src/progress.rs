//! What xtask says while it works: one line a step, with the time since it started.

use std::{
    fmt::Display,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::Result;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Says what happens next.
pub fn say(what: impl Display) {
    println!("[{:>6.1} s] {what}", START.elapsed().as_secs_f64());
}

/// Says what happens, does it, and says how long it took when that is worth a line.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("{what} …"));
    let start = Instant::now();
    let result = work()?;
    if start.elapsed() > Duration::from_secs(1) {
        say(format_args!("  done in {:.1} s", start.elapsed().as_secs_f64()));
    }
    Ok(result)
}
