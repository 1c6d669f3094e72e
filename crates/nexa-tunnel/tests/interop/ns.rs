use std::fs::File;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, setns};

/// A network namespace, removed on drop.
pub struct Ns(String);

impl Ns {
    pub fn new(name: &str) -> Self {
        command("ip", &format!("netns add {name}"));
        let ns = Self(name.to_owned());
        ns.ip("link set lo up");
        ns
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Runs `work` on a thread inside this namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into this namespace for good.
    pub fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// `ip …` in this namespace; must succeed.
    pub fn ip(&self, arguments: &str) -> String {
        command("ip", &format!("-n {} {arguments}", self.0))
    }

    /// Writes a setting of this namespace.
    pub fn sysctl(&self, path: &str, value: u32) {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value.to_string()).unwrap());
    }

    /// A command in this namespace, not started yet.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs a command that must succeed; returns what it prints.
pub fn command(program: &str, arguments: &str) -> String {
    let done = Command::new(program).args(arguments.split_whitespace()).output();
    text(&format!("{program} {arguments}"), done.unwrap_or_else(|error| panic!("{program}: {error}")))
}

pub fn text(what: &str, done: Output) -> String {
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
