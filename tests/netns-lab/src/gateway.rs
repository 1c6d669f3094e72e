//! The gateway as a process of the lab.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use ureq::Agent;

use crate::{
    control::Control,
    disk::Disk,
    folder::Folder,
    ledger::Ledger,
    metrics::Metrics,
    names::{METRICS_PORT, Pair},
    namespace::Namespace,
    process::Process,
};

/// The gateway: what is needed to start it, and the process while it runs.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    folder: PathBuf,
    /// Where it keeps its state.
    pub disk: Disk,
    state: PathBuf,
    control_url: String,
    pins: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// What the control plane knows of it, once it is registered.
    pub registered: Option<Registered>,
}

/// A gateway in the control plane.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub endpoint: String,
    /// Its WireGuard key, once it connected.
    pub public_key: Option<String>,
    /// Its addresses inside the tunnel.
    pub tunnel: Pair,
}

impl Gateway {
    /// Prepares it: its folder, and a BPF file system of its own for its pinned programs and maps.
    ///
    /// # Errors
    /// When the kernel refuses the file system.
    pub fn new(program: &Path, folder: &Folder, ledger: &Ledger) -> Result<Self> {
        let file_system = folder.reachable().join("bpf");
        fs::create_dir_all(&file_system).with_context(|| format!("cannot make {}", file_system.display()))?;
        ledger.mount(&file_system)?;
        mount(Some("bpf"), &file_system, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a BPF file system: does this kernel have CONFIG_BPF_SYSCALL?")?;
        let state = folder.reachable().join("gateway");
        Ok(Self {
            program: program.to_owned(),
            disk: Disk::mount(&state, (0, 0), ledger)?,
            state,
            control_url: Control::url(),
            folder: folder.fresh("gateway")?,
            pins: file_system.join("nexavpn"),
            log: folder.log("gateway"),
            process: None,
            registered: None,
        })
    }

    /// Keeps the token that the control plane gave it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_token(&self, token: &str) -> Result<()> {
        let path = self.token();
        fs::write(&path, token)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reaches the control plane by another way from the next start on.
    pub fn set_control_url(&mut self, url: String) {
        self.control_url = url;
    }

    /// The folder of its state.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Starts it, without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, namespace: &Namespace, ledger: &Ledger) -> Result<()> {
        let mut command = namespace.command(&self.program)?;
        // The lab must not pick up what is set on this machine.
        command
            .env("NEXA_GATEWAY_CONFIG", "/dev/null")
            .args(["run", "--control-url", &self.control_url, "--interface", "wg0", "--uplink", "wan0"])
            .arg("--token-file")
            .arg(self.token())
            .arg("--state-dir")
            .arg(&self.state)
            .arg("--pin-dir")
            .arg(&self.pins)
            .args(["--metrics-listen", &Self::metrics_address().to_string()]);
        // What may not be in a log may not be there at any level.
        command.env("NEXA_GATEWAY_LOG_FILTER", "debug");
        self.process = Some(Process::start("gateway", command, Signal::SIGTERM, &self.log, ledger)?);
        Ok(())
    }

    /// What it says of the packets that it dropped lately, a line for each kind.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn drops(&self) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.env("NEXA_GATEWAY_CONFIG", "/dev/null").arg("drops").arg("--state-dir").arg(&self.state);
        let output = command.stdin(Stdio::null()).output().context("cannot run the gateway's program")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`nexa-gateway drops` failed: {error}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// When it ended; the message has the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().context("the gateway was not started")?.check()
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it was not running, or had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the gateway was not started")?.stop()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the gateway was not started")?.kill()
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When they cannot be had or read.
    pub fn metrics(&self, namespace: &Namespace) -> Result<Metrics> {
        Metrics::parse(&self.metrics_text(namespace)?)
    }

    /// As [`Self::metrics`], in text.
    ///
    /// # Errors
    /// When they cannot be had.
    pub fn metrics_text(&self, namespace: &Namespace) -> Result<String> {
        let url = format!("http://{}/metrics", Self::metrics_address());
        namespace.run(|| -> Result<String> {
            let agent: Agent = Agent::config_builder()
                .proxy(None)
                .timeout_global(Some(Duration::from_secs(5)))
                .build()
                .into();
            let mut answer = agent.get(&url).call().context("cannot read the gateway's metrics")?;
            answer.body_mut().read_to_string().context("cannot read the gateway's metrics")
        })?
    }

    /// Where it serves metrics, inside its namespace.
    pub fn metrics_address() -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), METRICS_PORT)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Where its token is.
    pub fn token(&self) -> PathBuf {
        self.folder.join("token")
    }
}
