//! The daemon as a process, with its folders, for the tests of the whole.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::lab::{run, wait_for};
use crate::fake_control::TOKEN;

/// Folders of a gateway, on a BPF file system where that matters.
pub struct Host {
    folder: tempfile::TempDir,
    control: String,
}

/// A running daemon, killed when dropped.
pub struct Daemon {
    pub child: Child,
    log: PathBuf,
}

impl Host {
    /// In a mount namespace of its own, so that the BPF file system is nobody else's.
    pub fn new(control: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bpf")).unwrap();
        mount(Some("bpf"), &folder.path().join("bpf"), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        fs::write(folder.path().join("token"), TOKEN).unwrap();
        Self { folder, control: format!("http://{control}") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Asks this host's daemon; returns whether the program ended well, and what it said with its errors.
    pub fn ask(&self, words: &str) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexa-gateway"));
        command.env("NEXA_GATEWAY_CONFIG", "/dev/null").args(words.split_whitespace());
        let output = command.arg("--state-dir").arg(self.path("state")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// Waits until a peer's endpoint is on disk.
    pub fn wait_for_endpoint(&self, endpoint: &str) {
        let file = self.path("state/endpoints.json");
        wait_for("a peer's endpoint on disk", || {
            fs::read_to_string(&file).unwrap_or_default().contains(endpoint)
        });
    }

    pub fn start(&self, log: &str) -> Daemon {
        self.start_with(log, &[])
    }

    /// As [`Self::start`], with more on the command line.
    pub fn start_with(&self, log: &str, arguments: &[&str]) -> Daemon {
        let log = self.path(log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexa-gateway"));
        command.env("NEXA_GATEWAY_CONFIG", "/dev/null");
        command.args(["run", "--control-url", &self.control, "--metrics-listen", "127.0.0.1:0"]);
        command.arg("--token-file").arg(self.path("token")).arg("--state-dir").arg(self.path("state"));
        command.arg("--pin-dir").arg(self.path("bpf/nexavpn")).args(arguments);
        let child = command.stderr(File::create(&log).unwrap()).stdin(Stdio::null()).spawn().unwrap();
        Daemon { child, log }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Otherwise the temporary folder cannot be removed.
        let _ = nix::mount::umount(&self.folder.path().join("bpf"));
    }
}

impl Daemon {
    pub fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_for_log(&mut self, words: &str) {
        let log = self.log.clone();
        let child = &mut self.child;
        wait_for(words, || {
            let text = fs::read_to_string(&log).unwrap();
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() || text.contains(words), "ended without `{words}`:\n{text}");
            text.contains(words)
        });
    }

    pub fn metrics(&mut self) -> String {
        self.wait_for_log("metrics on ");
        let text = self.text();
        let address = text.split("metrics on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn stop(mut self) -> String {
        run(&format!("kill -TERM {}", self.child.id()));
        assert!(self.child.wait().unwrap().success(), "{}", self.text());
        self.text()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
