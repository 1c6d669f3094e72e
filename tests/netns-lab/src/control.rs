//! control-api as a process of the lab.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    api::Api,
    folder::Folder,
    lab::Programs,
    ledger::Ledger,
    names::{CONTROL, CONTROL_PORT},
    namespace::Namespace,
    process::Process,
    wait,
};

/// How long it may take to migrate its database and listen.
const START: Duration = Duration::from_secs(30);

/// control-api: what is needed to start it, and the process while it runs.
#[derive(Debug)]
pub struct Control {
    program: PathBuf,
    web: Option<PathBuf>,
    database_url: String,
    log: PathBuf,
    process: Option<Process>,
}

impl Control {
    /// Prepares it, on a database.
    pub fn new(programs: &Programs, database_url: String, folder: &Folder) -> Self {
        let (program, web) = (programs.control.clone(), programs.web.clone());
        Self { program, web, database_url, log: folder.log("control"), process: None }
    }

    /// Where it listens, inside its namespace.
    pub fn address() -> SocketAddr {
        SocketAddr::new(CONTROL.v4.into(), CONTROL_PORT)
    }

    /// Its URL on the wide-area network.
    pub fn url() -> String {
        format!("http://{}", Self::address())
    }

    /// Starts it and waits until it serves; returns how long that took.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&mut self, namespace: &Namespace, ledger: &Ledger) -> Result<Duration> {
        let mut command = self.command(namespace)?;
        command.arg("serve").env("NEXA_CONTROL_LISTEN", Self::address().to_string());
        if let Some(folder) = &self.web {
            command.arg("--web-dir").arg(folder);
        }
        let mut process = Process::start("control", command, Signal::SIGTERM, &self.log, ledger)?;
        let api = Api::new(&Self::url(), namespace)?;
        let ((), took) = wait::until("control-api does not serve", START, || {
            process.check()?;
            Ok(api.get("/readyz").ok().filter(|answer| answer.status == 200).map(drop))
        })?;
        self.process = Some(process);
        Ok(took)
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("control-api does not run")?.kill()
    }

    /// Sends it a signal, such as one that stops it for a while.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("control-api does not run")?.signal(signal)
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// When it ended; the message has the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().context("control-api does not run")?.check()
    }

    /// Makes the one-time token that the first owner signs up with.
    ///
    /// # Errors
    /// When it is refused: there is an owner.
    pub fn bootstrap_token(&self, namespace: &Namespace) -> Result<String> {
        let output =
            self.command(namespace)?.arg("bootstrap").output().context("cannot start nexa-control")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`nexa-control bootstrap`: {}", error.trim().lines().last().unwrap_or_default());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.trim().lines().collect::<Vec<_>>()[..] {
            [token] if !token.is_empty() => Ok(token.to_owned()),
            _ => bail!("`nexa-control bootstrap` printed {} lines instead of a token", text.lines().count()),
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn command(&self, namespace: &Namespace) -> Result<Command> {
        let mut command = namespace.command(&self.program)?;
        // The lab must not pick up what is set on this machine.
        command.env("NEXA_CONTROL_CONFIG", "/dev/null");
        command.env("NEXA_CONTROL_DATABASE_URL", &self.database_url).env("NO_COLOR", "1");
        // What may not be in a log may not be there at any level.
        command.env("NEXA_CONTROL_LOG_FILTER", "debug");
        Ok(command)
    }
}
