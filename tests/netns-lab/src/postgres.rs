//! A Postgres of the lab's own: no password, no network, one socket in a folder that only its user and root can enter.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{sys::signal::Signal, unistd::User};

use crate::{folder::Folder, ledger::Ledger, process::Process, wait};

/// The database's superuser.
const ROLE: &str = "nexa";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    socket: PathBuf,
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
        fs::create_dir_all(&home)
            .and_then(|()| chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw())))
            .and_then(|()| fs::set_permissions(&home, Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make {}", home.display()))?;
        let data = home.join("data");
        // Postgres refuses to run as root.
        let as_user = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir(&home).env("HOME", &home);
            command
        };
        let made = as_user("initdb")
            .args(["--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--username", ROLE, "--pgdata"])
            .arg(&data)
            .output()
            .context("cannot start initdb")?;
        fs::write(folder.log("initdb"), [made.stdout, made.stderr].concat()).context("cannot write a log")?;
        if !made.status.success() {
            bail!("initdb failed; see {}", folder.log("initdb").display());
        }
        let mut server = as_user("postgres");
        server
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."])
            .args(["-c", "max_connections=60", "-c", "log_min_messages=warning"])
            // The cluster lives as long as the lab; a crash of the machine ends both.
            .args(["-c", "fsync=off", "-c", "shared_buffers=32MB"]);
        // SIGINT ends sessions instead of waiting for them.
        let mut process =
            Process::start("postgres", server, Signal::SIGINT, &folder.log("postgres"), ledger)?;
        let socket = data;
        wait::until("Postgres does not answer", Duration::from_secs(30), || {
            process.check()?;
            let ready = as_user("pg_isready").arg("--quiet").arg("--host").arg(&socket).status();
            Ok(ready.context("cannot start pg_isready")?.success().then_some(()))
        })?;
        Ok(Self { process, socket })
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn database(&self, name: &str) -> Result<String> {
        let made = Command::new(programs()?.join("createdb"))
            .arg("--host")
            .arg(&self.socket)
            .args(["--username", ROLE, name])
            .output()
            .context("cannot start createdb")?;
        if !made.status.success() {
            bail!("cannot make database {name}: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        Ok(format!("postgres://{ROLE}@localhost/{name}?host={}", self.socket.display()))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        self.process.log()
    }
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
