//! Every setting of the gateway, through every layer.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::path::PathBuf;
use std::process::Command as Process;

use clap::CommandFactory as _;
use nexa_config::{Inputs, Stop, read};
use nexa_gateway::config::{Command, CommandLine, LogFormat, PROGRAM};
use nexa_gateway::dataplane;

/// Each setting with a value that is not its default.
const SAMPLES: [(&str, &str); 18] = [
    ("interface", "wg7"),
    ("uplink", "eth7"),
    ("xdp_guard", "generic"),
    ("pin_dir", "/sys/fs/bpf/elsewhere"),
    ("control_url", "http://10.0.0.2:8080"),
    ("token", "a-token"),
    ("token_file", "/run/token"),
    ("state_dir", "/var/lib/elsewhere"),
    ("socket", "/run/elsewhere.sock"),
    ("max_flows", "2048"),
    ("max_rules", "70"),
    ("verify_seconds", "7"),
    ("metrics_listen", "[::1]:1"),
    ("peer_metrics", "on"),
    ("rule_metrics", "on"),
    ("wireguard_metrics", "on"),
    ("log_format", "json"),
    ("log_filter", "debug"),
];

/// What the program is started with; nothing of this process.
struct Rig {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let default_file = folder.path().join("gateway.toml");
        Self {
            folder,
            inputs: Inputs { arguments: Vec::new(), environment: Default::default(), default_file },
        }
    }

    /// With what `run` cannot do without, but for one key.
    fn needed(except: &str) -> Self {
        let mut rig = Self::new();
        for (key, value) in [("control_url", "http://c"), ("token_file", "t"), ("state_dir", "s")] {
            if key != except && !(key == "token_file" && except == "token") {
                rig.inputs.environment.insert(variable(key).into(), value.into());
            }
        }
        rig
    }

    fn read(&self, words: &[&str]) -> Result<CommandLine, Stop> {
        let arguments = std::iter::once(&"nexa-gateway").chain(words).map(Into::into).collect();
        read(&PROGRAM, &Inputs { arguments, ..self.inputs.clone() })
    }
}

fn variable(key: &str) -> String {
    format!("NEXA_GATEWAY_{}", key.to_uppercase())
}

#[test]
fn every_setting_has_its_flag_its_variable_and_its_key() {
    let command = CommandLine::command();
    let run = command.find_subcommand("run").unwrap();
    let known: Vec<_> = run.get_arguments().map(|arg| arg.get_long().unwrap().replace('-', "_")).collect();
    let sampled: Vec<_> = SAMPLES.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, sampled, "a setting without a sample");

    for (key, value) in SAMPLES {
        // Secrets are hidden in what is compared, so the report of `config check` is looked at too.
        let shown = if key == "token" { "(set, hidden)" } else { value };
        let mut seen = Vec::new();
        for layer in ["flag", "variable", "key"] {
            let mut rig = Rig::needed(key);
            let flag = format!("--{}={value}", key.replace('_', "-"));
            let mut words = vec!["run"];
            match layer {
                "flag" if key == "token" => continue,
                "flag" => words.push(&flag),
                "variable" => drop(rig.inputs.environment.insert(variable(key).into(), value.into())),
                _ => std::fs::write(&rig.inputs.default_file, format!("{key} = \"{value}\"\n")).unwrap(),
            }
            if key == "token_file" {
                rig.inputs.environment.remove(std::ffi::OsStr::new("NEXA_GATEWAY_TOKEN"));
            }
            seen.push(format!("{:?}", rig.read(&words).unwrap()));
            words.splice(..1, ["config", "check"]);
            let (Err(Stop::Answer(report)) | Err(Stop::Faults(report))) = rig.read(&words) else { panic!() };
            let row = report.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
            assert!(row.contains(shown) && !row.ends_with("default"), "{layer}: {row}");
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{key}: {seen:?}");
    }
}

#[test]
fn the_contract_s_defaults_hold() {
    let Ok(CommandLine { command: Command::Run(settings) }) = Rig::needed("").read(&["run"]) else {
        panic!()
    };
    assert_eq!(settings.host.interface.as_str(), "wg0");
    assert_eq!(settings.host.pin_dir, PathBuf::from("/sys/fs/bpf/nexavpn"));
    assert_eq!(settings.metrics_listen.to_string(), "127.0.0.1:9580");
    assert_eq!((settings.host.uplink, settings.log_format), (None, LogFormat::Text));
    assert_eq!(settings.control_url.to_string(), "http://c:80");
    let maps = dataplane::Options::default();
    assert_eq!((settings.maps.max_flows, settings.maps.max_rules), (maps.max_flows, maps.max_rules));
}

#[test]
fn values_that_could_carry_syntax_are_refused_with_what_is_allowed() {
    for (flag, value, allowed) in [
        ("--metrics-listen", "nowhere", "127.0.0.1:9580"),
        ("--log-format", "xml", "text, json"),
        ("--log-filter", "loud=very", "debug"),
        ("--interface", "wg0;drop", "letters"),
        ("--control-url", "https://c", "http://host:port"),
        ("--verify-seconds", "0", "86400"),
        ("--max-flows", "1023", "from 1024 to 16777216"),
        ("--max-rules", "131071", "from 1 to 131070"),
    ] {
        let Err(Stop::Invalid(text)) = Rig::needed("").read(&["run", flag, value]) else { panic!() };
        let wanted = format!("{flag}: `{value}` is not allowed; allowed: ");
        assert!(text.starts_with(&wanted) && text.contains(allowed), "{text}");
    }
}

#[test]
fn what_is_asked_is_no_setting_and_is_checked_before_the_daemon_is() {
    let mut rig = Rig::new();
    rig.inputs.environment.insert("NEXA_GATEWAY_PORT".into(), "nonsense".into());
    let words =
        ["explain", "--state-dir", "s", "--peer", "a", "--dst", "10.0.0.1", "--proto", "udp", "--port", "53"];
    let Command::Explain(explain) = rig.read(&words).unwrap().command else { panic!() };
    assert_eq!(explain.asking.socket(), Some(PathBuf::from("s/gateway.sock")));
    for (flag, value, allowed) in [
        ("--proto", "tpc", "tcp, udp, icmp"),
        ("--proto", "any", "tcp, udp, icmp"),
        ("--dst", "example.org", "an IPv4 or IPv6 address"),
        ("--port", "0", "1 to 65535"),
    ] {
        let mut words = words;
        let at = words.iter().position(|word| *word == flag).unwrap();
        words[at + 1] = value;
        let Err(Stop::Invalid(text)) = rig.read(&words) else { panic!("{flag} {value}") };
        assert!(
            text.starts_with(&format!("{flag}: `{value}` is not allowed")) && text.contains(allowed),
            "{text}"
        );
    }
}

#[test]
fn a_missing_token_file_is_a_fault_for_config_check_but_run_may_begin() {
    let rig = Rig::needed("");
    assert!(rig.read(&["run"]).is_ok());
    let Err(Stop::Faults(text)) = rig.read(&["config", "check"]) else { panic!() };
    assert!(text.contains("NEXA_GATEWAY_TOKEN_FILE (environment): t cannot be read"), "{text}");
}

#[test]
fn help_names_every_variable() {
    let Err(Stop::Answer(help)) = Rig::new().read(&["run", "--help"]) else { panic!() };
    for (key, _) in SAMPLES {
        assert!(help.contains(&variable(key)), "{key}: {help}");
    }
}

#[test]
fn the_program_ends_with_64_and_the_place_of_the_fault() {
    let rig = Rig::new();
    let file = rig.folder.path().join("settings.toml");
    std::fs::write(&file, "control_url = \"http://c\"\nmetrics_listen = \"nowhere\"\n").unwrap();
    let output = Process::new(env!("CARGO_BIN_EXE_nexa-gateway"))
        .args(["run", "--token-file", "t", "--state-dir", "s", "--config"])
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    let wanted =
        format!("nexa-gateway: {}, line 2, metrics_listen: `nowhere` is not allowed", file.display());
    assert!(text.starts_with(&wanted), "{text}");
}
