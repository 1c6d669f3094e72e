//! Network namespaces: made, entered, removed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    panic,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// A network namespace that is removed when this value goes. It can be entered from several threads.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with loopback up, IPv6 on, and no duplicate address detection, so that addresses work at once.
    ///
    /// # Errors
    /// When there is one of that name or the kernel refuses.
    pub fn new(name: &str) -> Result<Self> {
        ip(["netns", "add", name])?;
        // From here on a failure removes it again.
        let handle = match File::open(path(name)) {
            Ok(handle) => handle,
            Err(error) => {
                remove(name)?;
                return Err(error).with_context(|| format!("cannot open namespace {name}"));
            }
        };
        let namespace = Self { name: name.to_owned(), handle };
        namespace.run(|| {
            for setting in
                ["all/accept_dad", "default/accept_dad", "all/disable_ipv6", "default/disable_ipv6"]
            {
                // Absent on a kernel without IPv6, where the first address of that family says so.
                drop(fs::write(Path::new("/proc/sys/net/ipv6/conf").join(setting), "0"));
            }
        })?;
        namespace.ip(["link set lo up"])?;
        Ok(namespace)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` commands in it, one per line, without the leading `ip`.
    ///
    /// # Errors
    /// When one fails; those before it stay done.
    pub fn ip<S: AsRef<str>>(&self, commands: impl IntoIterator<Item = S>) -> Result<()> {
        let lines: String = commands.into_iter().map(|command| format!("{}\n", command.as_ref())).collect();
        let mut child = Command::new("ip")
            .args(["-netns", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip")?;
        child.stdin.take().context("no input")?.write_all(lines.as_bytes()).context("cannot write to ip")?;
        let output = child.wait_with_output().context("cannot wait for ip")?;
        if !output.status.success() {
            bail!("in {}: {}\nof:\n{lines}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs `work` in a thread inside, and waits for it. What it opens stays inside, wherever it is used later.
    ///
    /// # Errors
    /// When the namespace cannot be entered. A panic of `work` goes on here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&self.handle).map(|()| work()));
            thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Starts a thread inside.
    ///
    /// # Errors
    /// When the namespace's handle cannot be shared.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let handle = self.handle.try_clone().context("cannot share the namespace's handle")?;
        Ok(thread::spawn(move || enter(&handle).and_then(|()| work())))
    }

    /// Another handle to it, for threads that enter it later.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn handle(&self) -> Result<Handle> {
        Ok(Handle(self.handle.try_clone().context("cannot share the namespace's handle")?.into()))
    }

    /// A command that will run inside. Unlike `ip netns exec`, it keeps this process's mounts.
    ///
    /// # Errors
    /// When the namespace's handle cannot be shared.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let handle = self.handle.try_clone().context("cannot share the namespace's handle")?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns is called, a plain system call that allocates nothing.
        unsafe {
            command.pre_exec(move || setns(handle.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into));
        }
        Ok(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(remove(&self.name));
    }
}

/// A handle to a namespace, which may outlive the namespace's name.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// Moves the calling thread inside, for good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")
    }
}

/// Whether there is a namespace of that name.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Removes a namespace's name; the namespace goes with the last process in it. One that is not there is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(name: &str) -> Result<()> {
    if exists(name) { ip(["netns", "delete", name]) } else { Ok(()) }
}

fn enter(handle: &File) -> Result<()> {
    setns(handle.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")
}

fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn ip<const N: usize>(arguments: [&str; N]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip: install iproute2")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
