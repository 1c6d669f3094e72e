//! Processes of the lab: started with a log, written down, ended in good order.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::ledger::{Ledger, Recorded};

/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running process, ended when this value goes.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    signal: Signal,
    log: PathBuf,
}

impl Process {
    /// Starts a process in a process group of its own, so that Ctrl-C reaches the lab alone, which then ends it in
    /// its turn. Output is added to `log`.
    ///
    /// # Errors
    /// When it cannot be started, logged or noted.
    pub fn start(
        name: &str,
        mut command: Command,
        signal: Signal,
        log: &Path,
        ledger: &Ledger,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share a log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let process = Self { name: name.to_owned(), child, signal, log: log.to_owned() };
        ledger.process(record(name, process.pid(), signal)?)?;
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        // Linux's process ids are at most 2^22.
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Checks that it is still running.
    ///
    /// # Errors
    /// When it ended; the message has the end of its log.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look at a process")? {
            bail!(
                "{} ended ({status}); its log {} ends with:\n{}",
                self.name,
                self.log.display(),
                self.tail()
            );
        }
        Ok(())
    }

    /// Asks it to end, waits, and kills it if it takes too long.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        if self.child.try_wait().context("cannot look at a process")?.is_some() {
            return Ok(());
        }
        let _ = kill(Pid::from_raw(self.pid()), self.signal);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().context("cannot look at a process")?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        bail!("{} did not end within {PATIENCE:?} of {}; killed", self.name, self.signal)
    }

    /// Sends it a signal, such as one that stops it for a while.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself before, or cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        match status.signal() {
            Some(libc::SIGKILL) => Ok(()),
            _ => bail!("{} had ended by itself ({status})", self.name),
        }
    }

    fn tail(&self) -> String {
        tail(&self.log, 15)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Writes a running process down.
///
/// # Errors
/// When it is not running.
pub fn record(name: &str, pid: i32, signal: Signal) -> Result<Recorded> {
    let start_ticks = start_ticks(pid).with_context(|| format!("{name} ended at once"))?;
    Ok(Recorded { name: name.to_owned(), pid, start_ticks, signal: signal as i32 })
}

/// Ends a process that an earlier lab wrote down, unless it is gone or its id belongs to another by now.
/// Says whether there was one to end.
///
/// # Errors
/// When it cannot be killed.
pub fn end_recorded(recorded: &Recorded, patience: Duration) -> Result<bool> {
    if !is_running(recorded) {
        return Ok(false);
    }
    let pid = Pid::from_raw(recorded.pid);
    let signal = Signal::try_from(recorded.signal).unwrap_or(Signal::SIGTERM);
    let _ = kill(pid, signal);
    let start = Instant::now();
    while is_running(recorded) {
        if start.elapsed() > patience {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot kill {} ({pid})", recorded.name));
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// Whether a process that was written down is still running, and no other with its id.
pub fn is_running(recorded: &Recorded) -> bool {
    start_ticks(recorded.pid) == Some(recorded.start_ticks)
}

/// When a process started, from `/proc/<pid>/stat`; nothing when it is gone, also when only its parent has not
/// noticed yet.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold blanks and parentheses; the fields after it do not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(start)
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use nix::sys::signal::Signal;

    use super::{Process, end_recorded, is_running, record};
    use crate::ledger::Ledger;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }

    #[test]
    fn only_the_process_that_was_noted_is_ended() {
        let mut child = sleeper().spawn().expect("started");
        let pid = i32::try_from(child.id()).expect("a pid");
        let noted = record("sleeper", pid, Signal::SIGTERM).expect("running");
        let other = crate::ledger::Recorded { start_ticks: noted.start_ticks + 1, ..noted.clone() };
        assert!(
            !end_recorded(&other, Duration::ZERO).expect("nothing to do"),
            "another process has this id now"
        );
        assert!(child.try_wait().expect("asked").is_none(), "it still runs");
        assert!(end_recorded(&noted, Duration::from_secs(5)).expect("ended"));
        assert!(!is_running(&noted));
        child.wait().expect("reaped");
    }

    #[test]
    fn dropping_ends_it_and_an_early_end_shows_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::new(&folder.path().join("state.json"), folder.path()).expect("a ledger");
        let log = folder.path().join("log");
        let process = Process::start("sleeper", sleeper(), Signal::SIGTERM, &log, &ledger).expect("started");
        let noted = ledger.state().processes[0].clone();
        assert!(is_running(&noted));
        drop(process);
        assert!(!is_running(&noted));

        let mut failing = Command::new("sh");
        failing.args(["-c", "sleep 0.1; echo no such database; exit 3"]);
        let mut process =
            Process::start("failing", failing, Signal::SIGTERM, &log, &ledger).expect("started");
        let error = loop {
            if let Err(error) = process.check() {
                break error.to_string();
            }
        };
        assert!(error.contains("no such database"), "{error}");
    }
}
