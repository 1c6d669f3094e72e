//! What the tests share: a cluster, a server, callers.

mod api;
mod client;
mod cluster;
mod log;
mod proxy;
mod stream;

pub use api::{Api, PASSWORD, in_an_hour, key, unique};
pub use client::{Client, Reply};
pub use log::Log;
pub use proxy::Proxy;
pub use stream::Stream;

use std::time::{Duration, Instant};

/// Waits until `condition` holds; fails the test after 15 s.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(15), "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
