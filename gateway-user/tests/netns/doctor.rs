//! `nexa-gateway check` and `run` where the host lacks something.

use std::process::{Command, Output};

use super::lab::in_namespace;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nexa-gateway");

/// Runs the program as root with only these capabilities left.
fn with_capabilities(capabilities: &str, arguments: &[&str]) -> Output {
    let keep = format!("--bounding-set=-all{capabilities}");
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", &keep, PROGRAM]).args(arguments);
    command.env_remove("RUST_BACKTRACE").output().unwrap()
}

fn text(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().iter().map(|&byte| char::from(byte)).collect()
}

fn marks(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing = text.lines().filter_map(|line| line.strip_prefix("✗ "));
    missing.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn with_everything_there_check_says_so() {
    in_namespace(|| {
        let output = Command::new(PROGRAM).arg("check").output().unwrap();
        assert_eq!(marks(&output), [""; 0], "{}", text(&output));
        assert_eq!(output.status.code(), Some(0));
    });
}

#[test]
fn each_missing_capability_is_named_with_a_remedy() {
    in_namespace(|| {
        let output = with_capabilities(",+net_admin,+bpf", &["check"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(marks(&output).contains(&"CAP_PERFMON".to_owned()), "{}", text(&output));
        assert!(!marks(&output).contains(&"CAP_NET_ADMIN".to_owned()));
        assert!(text(&output).contains("--cap-add PERFMON"));

        let output = with_capabilities("", &["check"]);
        for name in ["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON", "nft"] {
            assert!(marks(&output).contains(&name.to_owned()), "{name}: {}", text(&output));
        }
    });
}

#[test]
fn a_missing_capability_stops_run_before_anything_is_touched() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let arguments = ["run", "--control-url", "http://192.0.2.1", "--token-file", "none", "--state-dir"];
        let output = with_capabilities("", &[&arguments[..], &[state.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("CAP_NET_ADMIN"), "{}", text(&output));
        assert!(!state.exists());
    });
}

#[test]
fn a_missing_uplink_is_named() {
    in_namespace(|| {
        let output = Command::new(PROGRAM).args(["check", "--uplink", "wan7"]).output().unwrap();
        assert_eq!(marks(&output), ["uplink wan7"], "{}", text(&output));
        assert_eq!(output.status.code(), Some(1));
    });
}
