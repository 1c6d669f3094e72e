//! `up --detach`: the lab in a process of its own, whose output is shown until the walk-through is over.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nexa_lab::{folder::Folder, interrupt};

use crate::Up;

/// Starts the lab in the background and returns when its walk-through is over, with its verdict.
pub(super) fn run(up: &Up) -> Result<ExitCode> {
    let folder = Folder::open(&up.dir)?;
    drop(fs::remove_file(ready(&folder)));
    let log = folder.log("up");
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command
        .arg("up")
        .arg("--bin-dir")
        .arg(&up.bin_dir)
        .arg("--dir")
        .arg(&up.dir)
        .args(up.web_dir.iter().flat_map(|folder| ["--web-dir".as_ref(), folder.as_os_str()]))
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("cannot share a log")?)
        .stderr(output);
    // SAFETY: between fork and exec only setsid is called, a plain system call that allocates nothing.
    unsafe {
        // A session of its own: it outlives this terminal.
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
    let mut child = command.spawn().context("cannot start the lab")?;
    interrupt::watch()?;
    let mut shown = 0;
    loop {
        // The order matters: what was written before the end is shown.
        let ended = child.try_wait().context("cannot look at the lab")?;
        let verdict = fs::read_to_string(ready(&folder)).ok();
        show(&log, &mut shown)?;
        if let Some(status) = ended {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(verdict) = verdict {
            return Ok(if verdict == "holds" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if interrupt::came() {
            let child = nix::unistd::Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGTERM);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Tells a process that waits for the walk-through how it went.
pub(super) fn tell_ready(folder: &Folder, holds: bool) -> Result<()> {
    let path = ready(folder);
    let new = path.with_extension("new");
    fs::write(&new, if holds { "holds" } else { "fails" })
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn ready(folder: &Folder) -> PathBuf {
    folder.root().join("verdict")
}

fn show(log: &Path, shown: &mut u64) -> Result<()> {
    let mut text = String::new();
    let mut file = File::open(log).context("cannot read the lab's output")?;
    file.seek(SeekFrom::Start(*shown)).context("cannot read the lab's output")?;
    let Ok(count) = file.read_to_string(&mut text) else { return Ok(()) };
    *shown += count as u64;
    text.lines().for_each(super::say);
    Ok(())
}
