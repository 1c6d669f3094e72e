//! The command line and the other layers of settings. [`nexa_config`] reads them; here is what there is to set.

mod asking;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nexa_abi::layout::MAX_RULES;
use nexa_config::{FileRead, Program, Secret, SecretDeclaration, SecretFlag, SecretSource};
use nexa_wire::local::SOCKET;
use tokio_tungstenite::tungstenite::http::Uri;

pub use asking::{Asking, Drops, Explain, Flows};

/// The program, as far as its settings go.
pub const PROGRAM: Program = Program {
    name: "nexa-gateway",
    prefix: "NEXA_GATEWAY",
    default_file: "/etc/nexavpn/gateway.toml",
    main_command: "run",
    secrets: &[SecretDeclaration {
        name: "token",
        flag: SecretFlag::Refused,
        // A gateway enforces its last policy without one too, and takes a new one while it runs.
        file_read: FileRead::WhenNeeded,
        needed_by: &["run"],
    }],
    arguments: &["peer", "dst", "proto", "port"],
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "nexa-gateway",
    version,
    about = "Serves a NexaVPN tunnel and enforces its policy in the kernel."
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program was asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the tunnel and enforce its policy until SIGTERM. Programs and guard then stay: nothing passes.
    Run(Box<Settings>),
    /// Look at this host and what else runs on it, and say what to do; exit 1 if there is a problem.
    Doctor(Doctor),
    /// Ask the daemon of this host how it and its peers are.
    Status(Asking),
    /// Ask the daemon what would happen to a packet, and which rule says so.
    Explain(Explain),
    /// Ask the daemon which conversations are live, the latest heard first.
    Flows(Flows),
    /// Ask the daemon which packets were dropped lately, why, and which rule came closest to allowing them.
    Drops(Drops),
    /// Compare the kernel's maps with the policy in force, and write it anew over a difference; exit 1 if there is one.
    Verify(Asking),
}

/// What `run` works with.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The host's side.
    #[command(flatten)]
    pub host: Host,
    /// Where the control plane is, for example http://10.0.0.2:8080
    #[arg(long)]
    pub control_url: ControlUrl,
    /// This gateway's token.
    #[command(flatten)]
    pub token: Token,
    /// Folder for the private key, the last snapshot and the peers' endpoints
    #[arg(long)]
    pub state_dir: PathBuf,
    /// Unix socket that answers `status`, `explain`, `flows`, `drops` and `verify`; root only [default: gateway.sock in the state folder]
    #[arg(long)]
    pub socket: Option<PathBuf>,
    /// Sizes of the kernel's maps.
    #[command(flatten)]
    pub maps: Maps,
    /// Seconds between two comparisons of the kernel's maps with the policy in force
    #[arg(long, default_value = "60", value_parser = verify_seconds)]
    pub verify_seconds: u32,
    /// Address and port that serve /metrics
    #[arg(long, default_value = "127.0.0.1:9580", value_parser = listen_address)]
    pub metrics_listen: SocketAddr,
    /// What is told at /metrics.
    #[command(flatten)]
    pub series: Series,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or one of these per module
    #[arg(long, default_value = "info", value_parser = log_filter)]
    pub log_filter: String,
}

/// How much the kernel's maps hold. Their memory is taken at the start; maps of other sizes are replaced by empty ones.
#[derive(Clone, Copy, Debug, Args)]
pub struct Maps {
    /// Most conversations that are remembered; 150 bytes each
    #[arg(long, default_value = "262144", value_parser = max_flows)]
    pub max_flows: u32,
    /// Most rules, each counted apart; 64 bytes each for every CPU
    #[arg(long, default_value = "131070", value_parser = max_rules)]
    pub max_rules: u32,
}

/// This gateway's token.
#[derive(Clone, Debug, Args)]
pub struct Token {
    /// The token itself
    #[arg(long)]
    token: Option<Secret>,
    /// File that holds this gateway's token and nothing else; read anew for each connection
    #[arg(long)]
    token_file: Option<PathBuf>,
}

impl Token {
    /// Where it is, if that is known.
    pub fn source(&self) -> Option<SecretSource> {
        SecretSource::of(self.token.clone(), self.token_file.clone())
    }
}

/// What `doctor` works with: what `run` does, as far as it is set.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// The host's side.
    #[command(flatten)]
    pub host: Host,
    /// Where the control plane is, for example http://10.0.0.2:8080
    #[arg(long)]
    pub control_url: Option<ControlUrl>,
    /// This gateway's token.
    #[command(flatten)]
    pub token: Token,
    /// Folder for the private key, the last snapshot and the peers' endpoints
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What both `run` and `doctor` must know of the host.
#[derive(Clone, Debug, Args)]
pub struct Host {
    /// The WireGuard interface
    #[arg(long, default_value = "wg0")]
    pub interface: InterfaceName,
    /// The interface that clients' encrypted packets arrive on
    #[arg(long)]
    pub uplink: Option<InterfaceName>,
    /// Whether junk for the tunnel's port is dropped on the uplink by XDP, and how
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_guard: XdpMode,
    /// Folder of a BPF file system, where programs and maps outlive the daemon
    #[arg(long, default_value = "/sys/fs/bpf/nexavpn")]
    pub pin_dir: PathBuf,
}

/// Metrics that are told or not.
#[derive(Clone, Copy, Debug, Args)]
pub struct Series {
    /// Series of each device; auto: up to 2,000 devices
    #[arg(long, value_enum, default_value_t = PeerMetrics::Auto)]
    pub peer_metrics: PeerMetrics,
    /// Series of each rule; what no rule speaks of is always counted
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub rule_metrics: Switch,
    /// Names of other WireGuard exporters too: wireguard_sent_bytes_total and its like
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub wireguard_metrics: Switch,
}

/// Whether there are series of each device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PeerMetrics {
    /// While there are few enough.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl PeerMetrics {
    /// Most devices that have series of their own unless that is asked for.
    const FEW: usize = 2000;

    /// Whether so many devices have series.
    pub const fn cover(self, devices: usize) -> bool {
        match self {
            Self::Auto => devices <= Self::FEW,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Settings {
    /// Where questions are answered.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state_dir.join(SOCKET))
    }
}

/// Where the guard on the uplink runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// In the driver where it can, else in the stack.
    Auto,
    /// Nowhere; one that is attached is taken away.
    Off,
    /// In the driver or nowhere.
    Native,
    /// In the stack.
    Generic,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The name of a network interface. It goes into nft's input and into paths, so only harmless characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let good = (1..=15).contains(&text.len())
            && text.bytes().all(harmless)
            && !text.starts_with(['-', '.'])
            // Folders of /proc/sys/net/ipv4/conf that are not interfaces.
            && !matches!(text, "all" | "default" | "lo");
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err("1 to 15 letters, digits, `_`, `.` or `-`, such as wg0")
        }
    }
}

/// The control plane's address: `http://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUrl {
    host: String,
    port: u16,
}

impl ControlUrl {
    /// Host name or address; IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for ControlUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "http://host or http://host:port, without path, user or query";
        let uri: Uri = text.parse().map_err(|_| ALLOWED)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(ALLOWED)?;
        let authority = uri.authority().ok_or(ALLOWED)?.as_str();
        let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/") && !authority.contains('@');
        let port_is_number = authority.len() == host.len() || uri.port_u16().is_some_and(|port| port != 0);
        if uri.scheme_str() != Some("http") || !bare || !port_is_number {
            return Err(ALLOWED);
        }
        Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) })
    }
}

fn verify_seconds(text: &str) -> Result<u32, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.ok_or("seconds, from 1 to 86400")
}

fn max_flows(text: &str) -> Result<u32, &'static str> {
    let flows = text.parse().ok().filter(|flows| (1_024..=16_777_216).contains(flows));
    flows.ok_or("conversations, from 1024 to 16777216")
}

fn max_rules(text: &str) -> Result<u32, &'static str> {
    let rules = text.parse().ok().filter(|rules| (1..=MAX_RULES).contains(rules));
    rules.ok_or("rules, from 1 to 131070")
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "an address and a port, such as 127.0.0.1:9580 or [::1]:9580; port 0 takes a free one")
}

fn log_filter(text: &str) -> Result<String, &'static str> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("error, warn, info, debug, trace, or a list such as info,nexa_gateway=debug"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_cannot_carry_syntax() {
        for bad in ["", "a b", "wg0\"", "../x", "-wg0", ".", "sixteen-letters-", "all", "lo", "wg0\n"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
        for good in ["wg0", "eth0.100", "nx12ab-gw", "fifteen-letters"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn series_of_devices_are_there_until_there_are_too_many() {
        assert!(PeerMetrics::Auto.cover(2000) && !PeerMetrics::Auto.cover(2001));
        assert!(PeerMetrics::On.cover(2001) && !PeerMetrics::Off.cover(1));
    }

    #[test]
    fn control_urls_are_an_origin_and_nothing_else() {
        for (good, host, port) in [("http://c", "c", 80), ("http://[fd00::1]:8080/", "[fd00::1]", 8080)] {
            let url: ControlUrl = good.parse().unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
        }
        for bad in
            ["", "c", "c:80", "https://c", "http://", "http://u@c", "http://c/x", "http://c?x", "http://c:0"]
        {
            assert!(bad.parse::<ControlUrl>().is_err(), "{bad:?}");
        }
    }
}
