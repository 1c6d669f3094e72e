//! Engines as programs: each takes an interface's name and is set up by `wg`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nexa_lab::{ledger::Ledger, namespace::Namespace, process, wait};
use nix::sys::signal::Signal;

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// nexa-wg.
    Ours,
    /// Debian's wireguard-go.
    WireguardGo,
    /// Cloudflare's boringtun-cli.
    Boringtun,
    /// Mullvad's gotatun-cli.
    Gotatun,
    /// nexa-wg with a copy in place of its cipher.
    Copying,
}

/// A running one; it ends with this value.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Killed, no engine removes it.
    socket: PathBuf,
}

impl Engine {
    fn program(self, ours: &Path, tools: &Path) -> PathBuf {
        match self {
            Self::Ours => ours.to_owned(),
            Self::WireguardGo => PathBuf::from("wireguard-go"),
            Self::Boringtun => tools.join("boringtun-cli"),
            Self::Gotatun => tools.join("gotatun"),
            Self::Copying => tools.join("nexa-wg"),
        }
    }

    /// Starts it in the foreground, so that it can be ended, and waits until `wg` reaches it.
    pub(super) fn start(
        self,
        namespace: &Namespace,
        interface: &str,
        [ours, tools]: [&Path; 2],
        ledger: &Ledger,
    ) -> Result<Running> {
        let program = self.program(ours, tools);
        let child = namespace
            .command(&program)?
            .args(["-f", interface])
            .envs([
                ("LOG_LEVEL", "error"),
                ("WG_LOG_LEVEL", "error"),
                ("WG_SUDO", "true"),
                ("RUST_LOG", "error"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot start {} (`cargo xtask bench tunnel` installs it)", program.display())
            })?;
        let socket = Path::new("/var/run/wireguard").join(format!("{interface}.sock"));
        let mut running = Running { child, socket: socket.clone() };
        ledger.process(process::record(interface, running.child.id().cast_signed(), Signal::SIGTERM)?)?;
        wait::until(format!("{}'s socket", program.display()), LIMIT, || {
            if let Some(status) = running.child.try_wait().context("cannot wait")? {
                bail!("{} ended at once: {status}", program.display());
            }
            // `wg` removes a socket on which nobody listens yet.
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(()))
        })?;
        Ok(running)
    }
}

impl Running {
    /// CPU time of all its threads so far, in seconds; the clock ticks 100 times in one.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("it has ended")?;
        let (_, after) = stat.rsplit_once(") ").context("/proc's stat has another form")?;
        let ticks: Vec<f64> =
            after.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of the interface nothing stays, as its namespace goes too.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.socket));
    }
}
