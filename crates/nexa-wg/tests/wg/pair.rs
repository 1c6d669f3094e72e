use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nexa_lab::namespace::Namespace;
use nexa_lab::wait;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_nexa-wg");
pub const SOON: Duration = Duration::from_secs(10);

static PAIRS: AtomicU32 = AtomicU32::new(0);

/// A namespace, and the name of the interface in it. `wg` finds sockets by name, so names are distinct in the system.
pub struct End {
    pub ns: Namespace,
    pub interface: String,
    pub private: String,
    child: Option<Child>,
}

/// Two namespaces with a veth between them, 10.99.0.1 and 10.99.0.2; inside a tunnel they are 10.98.0.1 and 10.98.0.2.
pub fn pair() -> [End; 2] {
    let id = format!("nw{:x}{}", std::process::id(), PAIRS.fetch_add(1, Ordering::Relaxed));
    let end = |letter: char| {
        let interface = format!("{id}{letter}");
        let private = wg(&["genkey"], "").trim().to_owned();
        End { ns: Namespace::new(&interface).unwrap(), interface, private, child: None }
    };
    let ends = [end('a'), end('b')];
    ends[0].ns.ip([format!("link add eth0 type veth peer name eth0 netns {}", ends[1].ns.name())]).unwrap();
    for (n, end) in (1..).zip(&ends) {
        end.ns.ip([format!("address add 10.99.0.{n}/24 dev eth0"), "link set eth0 up".to_owned()]).unwrap();
    }
    ends
}

impl End {
    /// Starts `nexa-wg` in the foreground, and waits until it answers.
    pub fn start(&mut self) {
        self.start_as(|command| {
            command.stderr(Stdio::null());
        });
    }

    /// [`End::start`] of a process that is prepared by `prepare`.
    pub fn start_as(&mut self, prepare: impl FnOnce(&mut Command)) {
        let mut command = self.ns.command(PROGRAM).unwrap();
        command.args(["-f", &self.interface]);
        prepare(&mut command);
        self.child = Some(command.spawn().unwrap());
        // `wg` removes a socket on which nobody listens yet.
        self.until("it listens", |end| UnixStream::connect(end.socket()).is_ok());
        self.until("it answers", |end| end.wg(&["show", &end.interface]).status.success());
    }

    /// Address and up, as after `wg-quick`.
    pub fn up(&self, n: u8) {
        let Self { interface, .. } = self;
        self.ns
            .ip([format!("address add 10.98.0.{n}/24 dev {interface}"), format!("link set {interface} up")])
            .unwrap();
    }

    pub fn public(&self) -> String {
        wg(&["pubkey"], &self.private).trim().to_owned()
    }

    pub fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/var/run/wireguard/{}.sock", self.interface))
    }

    pub fn wg(&self, arguments: &[&str]) -> Output {
        self.ns.command("wg").unwrap().args(arguments).output().unwrap()
    }

    /// `wg show INTERFACE WHAT`.
    pub fn shown(&self, what: &str) -> String {
        text(self.wg(&["show", &self.interface, what]))
    }

    /// `wg VERB INTERFACE` with a configuration.
    pub fn configure(&self, verb: &str, configuration: &str) -> Output {
        let mut child = self
            .ns
            .command("wg")
            .unwrap()
            .args([verb, &self.interface, "/dev/stdin"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn set(&self, arguments: &str) -> Output {
        let all: Vec<_> = ["set", &self.interface].into_iter().chain(arguments.split_whitespace()).collect();
        self.wg(&all)
    }

    pub fn pings(&self, to: &str) -> bool {
        let mut ping = self.ns.command("ping").unwrap();
        ping.args(["-n", "-q", "-c", "1", "-W", "1", to]).output().unwrap().status.success()
    }

    pub fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        wait::until(what, SOON, || Ok(met(self).then_some(()))).unwrap();
    }

    pub fn has_interface(&self) -> bool {
        self.ns.ip([format!("link show {}", self.interface)]).is_ok()
    }

    /// The foreground process ends by itself; its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        let child = self.child.as_mut().unwrap();
        wait::until("it ends", SOON, || Ok(child.try_wait()?)).unwrap().0.code()
    }

    pub fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Ends one in the background, too.
        let _ = fs::remove_file(self.socket());
    }
}

/// Sets two that run up for each other, with a session.
pub fn connect([a, b]: &[End; 2]) {
    text(a.configure("setconf", &configuration(a, b, "")));
    text(
        b.configure("setconf", &configuration(b, a, "Endpoint = 10.99.0.1:51820\nPersistentKeepalive = 25")),
    );
    a.up(1);
    b.up(2);
    b.until("an answer", |end| end.pings("10.98.0.1"));
}

/// A configuration of one end for the other.
pub fn configuration(own: &End, other: &End, more: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.98.0.0/24\n{more}\n",
        own.private,
        other.public(),
    )
}

/// `wg` outside of namespaces, which makes keys.
pub fn wg(arguments: &[&str], input: &str) -> String {
    let mut child =
        Command::new("wg").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    text(child.wait_with_output().unwrap())
}

pub fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
