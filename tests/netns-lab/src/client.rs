//! A client's host: Debian's wireguard-go, set up by `wg` and `ip` from the downloaded wg-quick file.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    folder::Folder, ledger::Ledger, names::Prefix, namespace::Namespace, process::Process, profile::Profile,
    wait,
};

/// A client: its folder with its key, its account and device, and its WireGuard process.
#[derive(Debug)]
pub struct Client {
    /// `c1`, `c2`.
    pub name: &'static str,
    /// Its user's name.
    pub user: &'static str,
    /// Whether policy grants it anything.
    pub granted: bool,
    /// Its device, once enrolled.
    pub device: Option<String>,
    /// Its profile, once downloaded.
    pub profile: Option<Profile>,
    interface: String,
    folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// What went over an interface, as the client's kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
}

impl Client {
    /// Prepares a client.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(
        name: &'static str,
        user: &'static str,
        granted: bool,
        folder: &Folder,
        prefix: &Prefix,
    ) -> Result<Self> {
        Ok(Self {
            name,
            user,
            granted,
            device: None,
            profile: None,
            // Names the socket in /run/wireguard too, which all namespaces share.
            interface: prefix.name(name),
            folder: folder.fresh(&format!("clients/{name}"))?,
            log: folder.log(name),
            process: None,
        })
    }

    /// Its WireGuard interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its profile.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn profile(&self) -> Result<&Profile> {
        self.profile.as_ref().with_context(|| format!("client {} is not enrolled", self.name))
    }

    /// Makes a key pair. The private key stays in the client's folder; the public key is returned.
    ///
    /// # Errors
    /// When `wg` fails.
    pub fn make_keys(&self) -> Result<String> {
        let private = wg(&["genkey"], "")?;
        write_secret(&self.key_file(), &private)?;
        wg(&["pubkey"], &private)
    }

    /// Completes its profile with its key and checks that wg-quick understands the file.
    ///
    /// # Errors
    /// When it does not.
    pub fn complete(&self) -> Result<()> {
        let key = fs::read_to_string(self.key_file()).context("the client has no key")?;
        let path = self.file();
        write_secret(&path, &self.profile()?.complete(key.trim()))?;
        let stripped = Command::new("wg-quick")
            .arg("strip")
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .context("cannot start wg-quick")?;
        if !stripped.status.success() {
            bail!("wg-quick refuses the file: {}", String::from_utf8_lossy(&stripped.stderr).trim());
        }
        write_secret(&self.folder.join("wg.conf"), &String::from_utf8_lossy(&stripped.stdout))
    }

    /// Starts WireGuard and sets it up as the profile says.
    ///
    /// # Errors
    /// When wireguard-go or `wg` refuses.
    pub fn connect(&mut self, namespace: &Namespace, ledger: &Ledger) -> Result<()> {
        let mut command = namespace.command("wireguard-go")?;
        command
            .args(["--foreground", &self.interface])
            .env("LOG_LEVEL", "error")
            // Also where the kernel has WireGuard: the lab is the same everywhere.
            .env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1")
            .env("WG_PROCESS_FOREGROUND", "1");
        let socket = format!("/var/run/wireguard/{}.sock", self.interface);
        ledger.file(Path::new(&socket))?;
        let mut process = Process::start(self.name, command, Signal::SIGTERM, &self.log, ledger)?;
        wait::until("wireguard-go does not answer", Duration::from_secs(5), || {
            process.check()?;
            Ok(listens(namespace, &socket)?.then_some(()))
        })?;
        let interface = &self.interface;
        let profile = self.profile()?;
        self.wg(namespace, &["setconf", interface, &self.folder.join("wg.conf").to_string_lossy()])?;
        let (v4, v6) = (profile.address.v4, profile.address.v6);
        namespace.ip([
            // Without it the kernel would send from a link-local address into the tunnel.
            format!("link set {interface} addrgenmode none"),
            format!("link set {interface} mtu {} up", profile.mtu.unwrap_or(1420)),
            format!("address add {v4}/32 dev {interface}"),
            format!("address add {v6}/128 dev {interface} nodad"),
        ])?;
        self.route(namespace, &profile.allowed_ips)?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills WireGuard with SIGKILL; its interface goes with it.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the client is not connected")?.kill()
    }

    /// Where its private key is.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("private.key")
    }

    /// Sends more into the tunnel than the profile says: the gateway is the boundary, not the client's routes.
    ///
    /// # Errors
    /// When `wg` or `ip` refuses.
    pub fn widen(&self, namespace: &Namespace, networks: &[String]) -> Result<()> {
        let profile = self.profile()?;
        let all: Vec<_> = profile.allowed_ips.iter().chain(networks).cloned().collect();
        self.wg(namespace, &["set", &self.interface, "peer", &profile.peer, "allowed-ips", &all.join(",")])?;
        self.route(namespace, networks)
    }

    /// When the last handshake was, seconds since 1970; nothing before the first.
    ///
    /// # Errors
    /// When `wg` fails.
    pub fn last_handshake(&self, namespace: &Namespace) -> Result<Option<u64>> {
        let text = self.wg(namespace, &["show", &self.interface, "latest-handshakes"])?;
        let seconds: u64 = text
            .split_whitespace()
            .nth(1)
            .and_then(|seconds| seconds.parse().ok())
            .with_context(|| format!("`wg show` printed {text:?}"))?;
        Ok((seconds > 0).then_some(seconds))
    }

    /// What went over its WireGuard interface so far, inside the tunnel.
    ///
    /// # Errors
    /// When the kernel does not list it.
    pub fn traffic(&self, namespace: &Namespace) -> Result<Traffic> {
        let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let table = table.context("cannot read the interfaces' counters")?;
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{}:", self.interface)));
        let numbers: Vec<u64> =
            line.into_iter().flat_map(str::split_whitespace).flat_map(str::parse).collect();
        let &[received_bytes, received_packets, .., sent_bytes, sent_packets, _, _, _, _, _, _] =
            &numbers[..]
        else {
            bail!("no counters of {}", self.interface)
        };
        Ok(Traffic { received_bytes, received_packets, sent_bytes, sent_packets })
    }

    fn route(&self, namespace: &Namespace, networks: &[String]) -> Result<()> {
        namespace.ip(networks.iter().map(|network| format!("route replace {network} dev {}", self.interface)))
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.conf", self.interface))
    }

    fn wg(&self, namespace: &Namespace, arguments: &[&str]) -> Result<String> {
        let output = namespace
            .command("wg")?
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot start wg")?;
        answer(&output, arguments)
    }
}

/// Whether a process in a namespace listens on a socket. Asking `wg` instead would break it: `wg` removes a socket that
/// refuses it, and one that is bound and does not listen yet does.
fn listens(namespace: &Namespace, socket: &str) -> Result<bool> {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/unix"))?;
    let table = table.context("cannot list sockets")?;
    // Num RefCount Protocol Flags Type St Inode Path, with __SO_ACCEPTCON in the flags.
    Ok(table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"00010000") && fields.get(7) == Some(&socket)
    }))
}

/// What `wg` writes when it is given `input`, without the white space around it.
///
/// # Errors
/// When it fails; the message is its own.
pub fn wg(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("wg")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start wg: install wireguard-tools")?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes()).context("cannot write to wg")?;
    answer(&child.wait_with_output().context("cannot wait for wg")?, arguments)
}

fn answer(output: &std::process::Output, arguments: &[&str]) -> Result<String> {
    if !output.status.success() {
        bail!("`wg {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes a file that was never readable by others.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())
        })
        .with_context(|| format!("cannot write {}", path.display()))
}
