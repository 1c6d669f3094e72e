//! `nexa-gateway doctor`, and `run` where the host lacks something.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use chrono::{TimeDelta, Utc};
use nexa_wire::doctor::{Finding, Report, Severity};

use super::daemon::Host;
use super::lab::{Wire, attach_strangers_xdp, in_namespace, nft, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nexa-gateway");

/// Runs the program as root with only these capabilities left.
fn with_capabilities(capabilities: &str, arguments: &[&str]) -> Output {
    let keep = format!("--bounding-set=-all{capabilities}");
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", &keep, PROGRAM]).args(arguments).env("NEXA_GATEWAY_CONFIG", "/dev/null");
    command.env_remove("RUST_BACKTRACE").output().unwrap()
}

fn text(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().iter().map(|&byte| char::from(byte)).collect()
}

/// The report, after its exit code was the one that it promises.
fn report_of(output: &Output) -> Report {
    let report: Report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    assert_eq!(output.status.code(), Some(i32::from(report.has_problem())), "{report}");
    report
}

fn doctor(arguments: &str) -> Report {
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--json"]).args(arguments.split_whitespace());
    report_of(&command.env("NEXA_GATEWAY_CONFIG", "/dev/null").output().unwrap())
}

fn problems(report: &Report) -> Vec<&str> {
    let problems = report.findings.iter().filter(|finding| finding.is_problem());
    problems.map(|finding| finding.check.as_str()).collect()
}

/// The findings of one check, of which there is at least one.
fn of(report: &Report, check: &str) -> Vec<Finding> {
    let found: Vec<_> = report.findings.iter().filter(|finding| finding.check == check).cloned().collect();
    assert!(!found.is_empty(), "no {check} in:\n{report}");
    found
}

/// The one finding of a check.
pub fn one(arguments: &str, check: &str) -> Finding {
    let report = doctor(arguments);
    let [finding] = &of(&report, check)[..] else { panic!("{report}") };
    finding.clone()
}

/// Does what a remedy says, as a person would: its lines go to a shell.
pub fn apply(finding: &Finding) {
    let remedy = finding.remedy.as_ref().unwrap();
    let done = Command::new("sh").args(["-ec", remedy]).output().unwrap();
    assert!(done.status.success(), "{remedy}\n{}", text(&done));
}

/// Something on HTTP that is so ready, and has its clock so far ahead of ours.
fn control(status: u16, ahead_seconds: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        let date = (Utc::now() + TimeDelta::seconds(ahead_seconds)).format("%a, %d %b %Y %H:%M:%S GMT");
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n").unwrap();
    });
    address
}

#[test]
fn with_everything_there_it_says_so_and_what_it_could_not_look_at() {
    in_namespace(|| {
        let report = doctor("");
        assert_eq!(problems(&report), [""; 0], "{report}");
        for check in ["control-api", "clock", "state-dir", "token", "mtu"] {
            assert_eq!(of(&report, check)[0].severity, Severity::Skipped, "{report}");
        }
        for check in ["kernel-version", "nft-guard", "forward-drop", "mark-clash", "mark-rule"] {
            assert_eq!(of(&report, check)[0].severity, Severity::Ok, "{report}");
        }
        let output =
            Command::new(PROGRAM).arg("doctor").env("NEXA_GATEWAY_CONFIG", "/dev/null").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("✓ nft: the kernel takes the guard\n"));
        assert_eq!(output.status.code(), Some(0));
    });
}

#[test]
fn each_missing_capability_is_named_with_a_remedy() {
    in_namespace(|| {
        let report = report_of(&with_capabilities(",+net_admin,+bpf", &["doctor", "--json"]));
        assert!(problems(&report).contains(&"cap-perfmon"), "{report}");
        assert!(!problems(&report).contains(&"cap-net-admin"), "{report}");
        assert!(report.to_string().contains("--cap-add PERFMON"));

        let report = report_of(&with_capabilities("", &["doctor", "--json"]));
        for check in ["cap-net-admin", "cap-bpf", "cap-perfmon", "nft-guard"] {
            assert!(problems(&report).contains(&check), "{check}: {report}");
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
        let report = doctor("--uplink wan7");
        assert_eq!(problems(&report), ["uplink"], "{report}");
    });
}

/// What Docker leaves in a host's tables, as nft lists it.
pub const DOCKER: &str = "
table ip filter {
  chain DOCKER-USER {
    counter return
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump DOCKER-USER
    oifname \"docker0\" ct state related,established counter accept
    iifname \"docker0\" oifname != \"docker0\" counter accept
  }
}";

#[test]
fn what_docker_drops_is_found_and_its_remedy_mends_it() {
    in_namespace(|| {
        nft(DOCKER);
        let finding = one("", "forward-drop");
        assert!(
            finding.is_problem() && finding.found.contains("ip filter FORWARD (policy drop)"),
            "{finding}"
        );
        apply(&finding);
        let mended = one("", "forward-drop");
        assert_eq!(mended.severity, Severity::Ok, "{mended}");
    });
}

#[test]
fn a_reject_at_the_end_of_another_table_is_found_and_its_remedy_mends_it() {
    in_namespace(|| {
        nft("table inet mine {
          chain last { ct state established,related accept; reject; }
          chain f { type filter hook forward priority 10; policy accept; iifname != \"lo\" goto last; }
        }");
        let finding = one("", "forward-drop");
        assert!(finding.is_problem() && finding.found.contains("inet mine last (reject)"), "{finding}");
        apply(&finding);
        assert_eq!(one("", "forward-drop").severity, Severity::Ok);
    });
}

#[test]
fn who_else_uses_the_bits_of_our_mark_is_found() {
    in_namespace(|| {
        nft(
            "table inet other { chain p { type filter hook prerouting priority mangle; meta mark set 0x1; }\n}",
        );
        let finding = one("", "mark-clash");
        assert!(finding.is_problem() && finding.found.contains("inet other p writes"), "{finding}");
        run("nft flush chain inet other p");
        nft(
            "table inet other { chain p { iifname \"eth9\" meta mark set 0x1; meta mark set meta mark or 0x4000; }\n}",
        );
        assert_eq!(one("", "mark-clash").severity, Severity::Ok, "not of the tunnel, and not our bits");
        nft("table inet other { chain p { meta mark & 0x00ff0000 == 0x00010000 counter; }\n}");
        let finding = one("", "mark-clash");
        assert_eq!(finding.severity, Severity::Warning, "{finding}");
    });
}

#[test]
fn routing_rules_that_look_at_our_mark_are_found() {
    in_namespace(|| {
        run("ip rule add fwmark 0x1/0xff lookup 100");
        assert_eq!(one("", "mark-rule").severity, Severity::Ok);
        run("ip -6 rule add fwmark 0x4e0000/0xff0000 lookup 100");
        let finding = one("", "mark-rule");
        assert!(finding.is_problem() && finding.found.contains("0x4e0000/0xff0000"), "{finding}");
        apply(&finding);
        run("ip rule add fwmark 0x1 lookup 100");
        let finding = one("", "mark-rule");
        assert_eq!(finding.severity, Severity::Warning, "our packets do not meet it: {finding}");
        apply(&finding);
        assert_eq!(one("", "mark-rule").severity, Severity::Ok);
    });
}

#[test]
fn an_uplink_that_cannot_carry_the_tunnel_s_packets_is_found_and_its_remedy_mends_it() {
    in_namespace(|| {
        let _wan = Wire::up("wan0", &[]);
        run("ip link set wan0 mtu 1492");
        let finding = one("--uplink wan0", "mtu");
        assert!(finding.is_problem() && finding.found.contains("that is 1412"), "{finding}");
        run("ip address add 192.0.2.2/24 dev wan0");
        run("ip route add default via 192.0.2.1");
        assert_eq!(one("", "mtu"), finding, "without --uplink it is where the default route goes");
        apply(&finding);
        assert_eq!(one("--uplink wan0", "mtu").severity, Severity::Ok);

        let _tunnel = Wire::up("wg0", &[]);
        run("ip link set wg0 mtu 1500");
        let findings = of(&doctor("--uplink wan0"), "mtu");
        assert_eq!(findings[1].severity, Severity::Warning, "{findings:?}");
        apply(&findings[1]);
        assert_eq!(of(&doctor("--uplink wan0"), "mtu")[1].severity, Severity::Ok);
    });
}

#[test]
fn each_way_in_which_the_control_plane_is_out_of_reach_has_its_own_remedy() {
    in_namespace(|| {
        // Connections wait in its queue.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", listener.local_addr().unwrap());
        for (url, found, remedy) in [
            ("http://127.0.0.1:9", "refuses the connection", "start nexa-control"),
            ("http://192.0.2.1", "unreachable", "ip route get 192.0.2.1"),
            ("http://nowhere.invalid", "no known name", "getent hosts nowhere.invalid"),
            (&silent, "does not answer within 3 s", "let TCP port"),
            (&format!("http://{}", control(503, 0)), "answers 503", "nexa-control doctor"),
            (&format!("http://{}", control(404, 0)), "answers 404", "address of nexa-control itself"),
        ] {
            let finding = one(&format!("--control-url {url}"), "control-api");
            assert!(finding.is_problem() && finding.found.contains(found), "{url}: {finding}");
            assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{url}: {finding}");
        }
    });
}

#[test]
fn clocks_that_differ_are_a_warning_and_then_a_problem() {
    in_namespace(|| {
        for (ahead, severity) in [
            (0, Severity::Ok),
            (20, Severity::Warning),
            (-20, Severity::Warning),
            (90, Severity::Problem),
            (-90, Severity::Problem),
        ] {
            let report = doctor(&format!("--control-url http://{}", control(200, ahead)));
            assert_eq!(of(&report, "control-api")[0].severity, Severity::Ok);
            let clock = &of(&report, "clock")[0];
            assert_eq!(clock.severity, severity, "{clock}");
            assert_eq!(clock.found.contains("behind"), ahead > 0, "{clock}");
        }
    });
}

#[test]
fn where_the_xdp_guard_will_run_is_told_and_who_is_in_its_place() {
    in_namespace(|| {
        run("ip link add wan0 type veth peer name far0");
        run("ip link add wan1 type bridge");
        let native = one("--uplink wan0", "xdp-guard");
        assert!(native.severity == Severity::Ok && native.found.contains("driver takes it"), "{native}");
        let generic = one("--uplink wan1", "xdp-guard");
        assert!(generic.severity == Severity::Ok && generic.found.contains("in the stack"), "{generic}");
        assert_eq!(one("--uplink wan1 --xdp-guard native", "xdp-guard").severity, Severity::Warning);
        for nowhere in ["", "--uplink wan0 --xdp-guard off", "--uplink wan7"] {
            assert_eq!(one(nowhere, "xdp-guard").severity, Severity::Skipped, "{nowhere}");
        }

        // Only to have a BPF file system.
        let host = Host::new("127.0.0.1:1");
        attach_strangers_xdp("wan0", &host.path("bpf/theirs"));
        let taken = one("--uplink wan0", "xdp-guard");
        assert!(taken.severity == Severity::Warning && taken.found.contains("somebody else"), "{taken}");
        apply(&taken);
        assert_eq!(one("--uplink wan0", "xdp-guard"), native);
    });
}
