//! The command line and environment, read once, strictly: flags beat environment, and a value that is not
//! allowed stops the program with the key, the value and what is allowed.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio_tungstenite::tungstenite::http::Uri;

/// Exit code for a bad command line or environment: `EX_USAGE` of sysexits.
pub const EXIT_USAGE: u8 = 64;

/// What the program was asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the tunnel and enforce its policy until SIGTERM. Programs and guard then stay: nothing passes.
    Run(Box<Settings>),
    /// Say what this host lacks, with remedies; exit 1 if anything is missing.
    Check(Host),
}

/// What `run` works with.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The host's side.
    #[command(flatten)]
    pub host: Host,
    /// Where the control plane is, for example http://10.0.0.2:8080
    #[arg(long, env = "NEXA_GATEWAY_CONTROL_URL")]
    pub control_url: ControlUrl,
    /// File that holds this gateway's token and nothing else
    #[arg(long, env = "NEXA_GATEWAY_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Folder for the private key, the last snapshot and the peers' endpoints
    #[arg(long, env = "NEXA_GATEWAY_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Address and port that serve /metrics
    #[arg(long, env = "NEXA_GATEWAY_METRICS_LISTEN", default_value = "127.0.0.1:9580", value_parser = listen_address)]
    pub metrics_listen: SocketAddr,
    /// How log lines are written
    #[arg(long, env = "NEXA_GATEWAY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or one of these per module
    #[arg(long, env = "NEXA_GATEWAY_LOG", default_value = "info", value_parser = log_filter)]
    pub log_filter: String,
}

/// What both `run` and `check` must know of the host.
#[derive(Clone, Debug, Args)]
pub struct Host {
    /// The WireGuard interface
    #[arg(long, env = "NEXA_GATEWAY_INTERFACE", default_value = "wg0")]
    pub interface: InterfaceName,
    /// The interface that clients' encrypted packets arrive on
    #[arg(long, env = "NEXA_GATEWAY_UPLINK")]
    pub uplink: Option<InterfaceName>,
    /// Folder of a BPF file system, where programs and maps outlive the daemon
    #[arg(long, env = "NEXA_GATEWAY_PIN_DIR", default_value = "/sys/fs/bpf/nexavpn")]
    pub pin_dir: PathBuf,
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

/// Why the program ends before it begins.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help or version was asked for.
    Help(String),
    /// Key, value and what is allowed; exit with [`EXIT_USAGE`].
    Invalid(String),
}

#[derive(Debug, Parser)]
#[command(
    name = "nexa-gateway",
    version,
    about = "Serves a NexaVPN tunnel and enforces its policy in the kernel."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Reads the process's own arguments and environment.
///
/// # Errors
/// [`Stop`].
pub fn from_process() -> Result<Command, Stop> {
    parse(std::env::args_os())
}

/// Reads `arguments` (the first is the program's name) and, for what they leave out, the environment.
///
/// # Errors
/// [`Stop`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    CommandLine::try_parse_from(arguments).map(|line| line.command).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Help(error.render().to_string()),
        _ => Stop::Invalid(explain(&error)),
    })
}

fn explain(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let allowed = text(ContextKind::ValidValue)
        .or_else(|| std::error::Error::source(error).map(ToString::to_string))
        .map(|allowed| allowed.replace('\n', " "));
    match (error.kind(), text(ContextKind::InvalidArg), text(ContextKind::InvalidValue), allowed) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(key), Some(value), allowed) => {
            let key = key.split(' ').next().unwrap_or_default().to_owned();
            let allowed = allowed.unwrap_or_else(|| "a value".to_owned());
            format!("{key} (or {}): `{value}` is not allowed; allowed: {allowed}", environment_name(&key))
        }
        (ErrorKind::MissingRequiredArgument, Some(keys), _, _) => {
            let keys = keys.split(", ").map(|key| {
                let flag = key.split(' ').next().unwrap_or_default();
                format!("{key} (or {})", environment_name(flag))
            });
            format!("missing: {}", keys.collect::<Vec<_>>().join(", "))
        }
        _ => error.render().to_string().trim_end().trim_start_matches("error: ").to_owned(),
    }
}

fn environment_name(flag: &str) -> String {
    format!("NEXA_GATEWAY_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
        .replace("_LOG_FILTER", "_LOG")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Command, Stop> {
        parse(std::iter::once("nexa-gateway").chain(words.split_whitespace()).map(OsString::from))
    }

    fn refusal(words: &str) -> String {
        match parse_words(words) {
            Err(Stop::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    const NEEDED: &str = "run --control-url http://10.99.0.2:8080 --token-file t --state-dir s";

    #[test]
    fn the_contract_s_defaults_hold() {
        let Ok(Command::Run(settings)) = parse_words(NEEDED) else { panic!() };
        assert_eq!(settings.host.interface.as_str(), "wg0");
        assert_eq!(settings.host.pin_dir, PathBuf::from("/sys/fs/bpf/nexavpn"));
        assert_eq!(settings.metrics_listen.to_string(), "127.0.0.1:9580");
        assert_eq!((settings.host.uplink, settings.log_format), (None, LogFormat::Text));
        assert_eq!(settings.control_url.to_string(), "http://10.99.0.2:8080");
    }

    #[test]
    fn a_bad_value_is_refused_with_key_value_and_what_is_allowed() {
        for (arguments, key, environment, value, allowed) in [
            ("--metrics-listen nowhere", "--metrics-listen", "METRICS_LISTEN", "nowhere", "127.0.0.1:9580"),
            ("--log-format xml", "--log-format", "LOG_FORMAT", "xml", "text, json"),
            ("--log-filter loud=very", "--log-filter", "LOG", "loud=very", "debug"),
            ("--interface wg0;drop", "--interface", "INTERFACE", "wg0;drop", "letters"),
        ] {
            let text = refusal(&format!("{NEEDED} {arguments}"));
            for part in [key, &format!("NEXA_GATEWAY_{environment}"), &format!("`{value}`"), allowed] {
                assert!(text.contains(part), "{part} is not in: {text}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_environment_variable() {
        let text = refusal("run --control-url http://c");
        assert!(text.contains("--token-file") && text.contains("NEXA_GATEWAY_STATE_DIR"), "{text}");
        assert!(refusal(&format!("{NEEDED} --no-such-flag")).contains("--no-such-flag"));
    }

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

    #[test]
    fn help_is_no_error() {
        assert!(matches!(parse_words("--help"), Err(Stop::Help(_))));
        assert!(
            matches!(parse_words("run --help"), Err(Stop::Help(text)) if text.contains("NEXA_GATEWAY_STATE_DIR"))
        );
    }
}
