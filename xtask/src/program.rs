//! Programs that xtask runs: how they become root, where their output goes, what a failure says.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A program to run, with its arguments and environment.
#[derive(Clone)]
pub struct Program {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Program {
    /// A program of `PATH`, or by path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable; it reaches the program also through sudo.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in this folder.
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Runs as root: as it is when this process is root, else through sudo.
    ///
    /// # Errors
    /// When this process is not root and there is no sudo.
    pub fn root(self) -> Result<Self> {
        if is_root() {
            return Ok(self);
        }
        if which("sudo").is_none() {
            bail!(
                "{} needs root: run as root, or install sudo and allow it for this user",
                self.program.display()
            );
        }
        // sudo resets the environment and may refuse to keep variables; `env` sets them after it.
        let mut arguments: Vec<OsString> = vec!["--".into(), "env".into()];
        for (name, value) in self.environment {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            arguments.push(pair);
        }
        arguments.push(self.program);
        arguments.extend(self.arguments);
        Ok(Self { program: "sudo".into(), arguments, environment: Vec::new(), directory: self.directory })
    }

    /// The command, for callers that handle its output themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Runs it with this process's own output.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&self) -> Result<()> {
        let status = self.status()?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.line());
        }
        Ok(())
    }

    /// Runs it with this process's own output and says how it ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn status(&self) -> Result<ExitStatus> {
        self.command().status().with_context(|| format!("cannot start `{}`", self.line()))
    }

    /// Becomes the program; returns only when that fails.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn replace<T>(&self) -> Result<T> {
        Err(self.command().exec()).with_context(|| format!("cannot start `{}`", self.line()))
    }

    /// Runs it with its output in `log`, of which a failure shows the end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or the log cannot be written.
    pub fn run_logged(&self, log: &Path) -> Result<()> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let status = self
            .command()
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share the log")?)
            .stderr(file)
            .status()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        if !status.success() {
            let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            bail!("`{}` failed ({status}); its last lines, all in {}:\n{end}", self.line(), log.display());
        }
        Ok(())
    }

    /// Runs it and returns its standard output, trimmed; nothing when it is not there or fails.
    pub fn text(&self) -> Option<String> {
        let output = self.command().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn line(&self) -> String {
        let words = [&self.program].into_iter().chain(&self.arguments);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Where `PATH`, or the folders for administration that a user's `PATH` lacks, have a program.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `PATH` with folders in front.
///
/// # Errors
/// When a folder's name cannot be in a `PATH`.
pub fn path_with(front: &[PathBuf]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(front.iter().cloned().chain(env::split_paths(&path))).context("cannot extend PATH")
}
