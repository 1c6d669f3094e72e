//! What is granted, used all the time.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Goes, scene::Scene};
use crate::{
    background::Background,
    names::{SERVER, port},
    probe,
    walk::{LIMIT, control_down::Established, ms},
};

/// A client that fetches a page on new connections and, where nothing may interrupt it, on established ones.
pub enum Traffic {
    /// It fetches all the time; every attempt must succeed.
    Running(Background<Fetched>),
    /// The connections are tried again afterwards.
    Paused(Established, String),
}

/// How it went.
#[derive(Debug, Default)]
pub struct Fetched {
    pages: u64,
    longest: Duration,
}

impl Traffic {
    /// Starts on the granted port of the LAN's server.
    pub fn start(scene: &Scene<'_>, mut established: Established, goes: Goes) -> Result<Self> {
        let body = scene.walk.lab.servers.body().to_owned();
        if goes == Goes::OnAfterwards {
            return Ok(Self::Paused(established, body));
        }
        let running = Background::start(scene.walk.first(), move |stop| {
            let mut fetched = Fetched::default();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                established.get(&body).context("on an established connection")?;
                for address in SERVER.sockets(port::HTTP) {
                    let page = probe::get(address, "/", LIMIT).context("on a new connection")?;
                    ensure!(page == body, "another body than the server's: {page:?}");
                }
                fetched.pages += 4;
                fetched.longest = fetched.longest.max(start.elapsed());
                thread::sleep(Duration::from_millis(10));
            }
            Ok(fetched)
        });
        running.map(Self::Running)
    }

    /// Ends it, and says what it fetched.
    pub fn finish(self) -> Result<String> {
        match self {
            Self::Running(running) => {
                let Fetched { pages, longest } = running.finish()?;
                Ok(format!("{pages} pages, four in {} at most", ms(longest)))
            }
            Self::Paused(mut established, body) => {
                established.get(&body).context("on a connection from before")?;
                Ok("connections went on".to_owned())
            }
        }
    }
}
