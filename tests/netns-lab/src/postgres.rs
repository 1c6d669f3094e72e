//! A Postgres of the lab's own: no password, no network, one socket in a folder that only its user and root can enter,
//! on a file system of its own, which may be full without the machine's being so.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};

use crate::{
    disk::Disk,
    folder::Folder,
    ledger::Ledger,
    process::{Process, tail},
    wait,
};

/// The database's superuser.
const ROLE: &str = "nexa";

/// How long a server may take to answer, also after a crash.
const START: Duration = Duration::from_secs(30);

/// A server: what is needed to start it, and the process while it runs.
#[derive(Debug)]
pub struct Postgres {
    // Ends before its disk goes.
    process: Option<Process>,
    /// Where its data are.
    pub disk: Disk,
    programs: PathBuf,
    user: User,
    home: PathBuf,
    log: PathBuf,
}

impl Postgres {
    /// Makes a new cluster and starts it.
    ///
    /// # Errors
    /// When Postgres is not installed or does not start.
    pub fn start(folder: &Folder, ledger: &Ledger) -> Result<Self> {
        let programs = programs()?;
        let user = user()?;
        let home = folder.reachable().join("postgres");
        let disk = Disk::mount(&home, (user.uid.as_raw(), user.gid.as_raw()), ledger)?;
        let mut postgres = Self { process: None, disk, programs, user, home, log: folder.log("postgres") };
        let made = postgres
            .as_user("initdb")
            .args(["--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--username", ROLE, "--pgdata"])
            .arg(postgres.data())
            .output()
            .context("cannot start initdb")?;
        fs::write(folder.log("initdb"), [made.stdout, made.stderr].concat()).context("cannot write a log")?;
        if !made.status.success() {
            bail!("initdb failed; see {}", folder.log("initdb").display());
        }
        postgres.run(ledger)?;
        Ok(postgres)
    }

    /// Starts the server on its cluster, again after it ended, and waits until it answers; returns how long that took.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&mut self, ledger: &Ledger) -> Result<Duration> {
        let ((), took) = wait::until("Postgres does not answer", START, || {
            // A server whose sessions are still ending keeps another one from starting.
            if self.process.as_mut().is_none_or(|process| process.check().is_err()) {
                self.process = Some(self.spawn(ledger)?);
            }
            Ok(self.answers()?.then_some(()))
        })
        .with_context(|| format!("its log ends with:\n{}", tail(&self.log, 15)))?;
        Ok(took)
    }

    /// Whether it takes connections.
    ///
    /// # Errors
    /// When `pg_isready` is not there.
    pub fn answers(&self) -> Result<bool> {
        let ready = self.as_user("pg_isready").arg("--quiet").arg("--host").arg(self.data()).status();
        Ok(ready.context("cannot start pg_isready")?.success())
    }

    /// Ends sessions, writes everything out and ends.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Kills the server with SIGKILL; its sessions notice and end.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("Postgres does not run")?.kill()
    }

    /// Kills one of the sessions that serve clients with SIGKILL, upon which the server ends all others and recovers.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_a_session(&self, database: &str) -> Result<()> {
        let pid = self.ask(
            database,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'nexa-control' ORDER BY pid LIMIT 1",
        )?;
        let pid = pid.trim().parse().with_context(|| format!("no session of nexa-control: {pid:?}"))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot kill a session")
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn database(&self, name: &str) -> Result<String> {
        let made = self.client("createdb").arg(name).output().context("cannot start createdb")?;
        text(made).with_context(|| format!("cannot make database {name}"))?;
        Ok(format!("postgres://{ROLE}@localhost/{name}?host={}", self.data().display()))
    }

    /// All content of a database, as `pg_dump` writes it.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn dump(&self, database: &str) -> Result<String> {
        text(self.client("pg_dump").arg(database).output().context("cannot start pg_dump")?)
    }

    /// What a query answers, one row a line.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn ask(&self, database: &str, query: &str) -> Result<String> {
        let arguments = ["--no-psqlrc", "--tuples-only", "--no-align", "--command", query];
        text(self.client("psql").args(arguments).arg(database).output().context("cannot start psql")?)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn spawn(&self, ledger: &Ledger) -> Result<Process> {
        let mut server = self.as_user("postgres");
        server
            .arg("-D")
            .arg(self.data())
            .args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."])
            .args(["-c", "max_connections=60", "-c", "log_min_messages=warning"])
            // The cluster lives as long as the lab; a crash of the machine ends both.
            .args(["-c", "fsync=off", "-c", "shared_buffers=32MB"]);
        // SIGINT ends sessions instead of waiting for them.
        Process::start("postgres", server, Signal::SIGINT, &self.log, ledger)
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Postgres refuses to run as root.
    fn as_user(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .uid(self.user.uid.as_raw())
            .gid(self.user.gid.as_raw())
            .current_dir(&self.home)
            .env("HOME", &self.home);
        command
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("--host").arg(self.data()).args(["--username", ROLE]);
        command
    }
}

fn text(output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("no text")
}

/// The folder of the newest server that is installed.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path())))
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, path)| path.join("initdb").is_file())
        .max()
        .map(|(_, path)| path)
        .context("Postgres is not installed: run `cargo xtask setup`")
}

fn user() -> Result<User> {
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name).context("cannot read the system's users")? {
            return Ok(user);
        }
    }
    bail!("there is neither a user postgres nor nobody to run Postgres as")
}
