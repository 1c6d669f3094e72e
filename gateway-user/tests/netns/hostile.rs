//! Packets that scapy makes, through the real tunnel and the whole gateway: what a capture at the other end sees of them.
//!
//! `cargo xtask setup` installs scapy below `target/tools`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nexa_wire::doctor::Severity;

use super::doctor::{self, DOCKER};
use super::lab::{in_namespace, nft, runtime, try_run, wait_for};
use super::scene::Scene;

/// Packets of one purpose, sent one after the other.
struct Attempt {
    sender: String,
    passes: bool,
    name: String,
    packets: Vec<Vec<u8>>,
}

/// The Python that has scapy.
fn python() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    // target/debug/deps/<this>
    let target = executable.ancestors().nth(3).unwrap();
    target.join("tools/scapy/bin/python")
}

fn attempts() -> Vec<Attempt> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/hostile.py");
    let output = Command::new(python()).arg(script).output().expect("scapy: run `cargo xtask setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut attempts: Vec<Attempt> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let [sender, fate, name, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let packet = (0..hex.len()).step_by(2).map(byte).collect();
        match attempts.last_mut() {
            Some(last) if last.name == name && last.sender == sender => last.packets.push(packet),
            _ => attempts.push(Attempt {
                sender: sender.to_owned(),
                passes: fate == "passes",
                name: name.to_owned(),
                packets: vec![packet],
            }),
        }
    }
    attempts
}

#[test]
fn what_a_peer_forges_never_reaches_the_lan_and_what_is_granted_does() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::start().await;
            assert_eq!(scene.seen_by_lan(), [[0; 0]; 0], "nothing was sent but a canary, which was seen");
            let (mut passed, mut refused) = (0, 0);
            for attempt in attempts().iter().filter(|attempt| attempt.sender == "peer") {
                for packet in &attempt.packets {
                    scene.tap.send(packet);
                }
                let seen = scene.seen_by_lan();
                assert_eq!(!seen.is_empty(), attempt.passes, "{}: the LAN saw {seen:02x?}", attempt.name);
                *if attempt.passes { &mut passed } else { &mut refused } += 1;
            }
            assert!(passed >= 5 && refused >= 30, "{passed} passed, {refused} were refused");
        });
    });
}

#[test]
fn what_the_lan_begins_never_reaches_a_peer_whatever_port_it_comes_from() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::start().await;
            assert_eq!(scene.seen_by_client(), [[0; 0]; 0], "nothing was sent but an answer, which was seen");
            let mut refused = 0;
            for attempt in attempts().iter().filter(|attempt| attempt.sender == "lan") {
                for packet in &attempt.packets {
                    scene.lan.send(packet);
                }
                // With the identifier of the canary that is answered meanwhile: 9.
                let seen = scene.seen_by_client();
                assert_eq!(seen, [[0; 0]; 0], "{}: the client saw it", attempt.name);
                refused += 1;
            }
            assert!(refused >= 20, "only {refused} were tried");
        });
    });
}

#[test]
fn a_forward_drop_beside_us_stops_traffic_until_doctor_s_remedy_is_done() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::start().await;
            assert!(scene.canary_arrives(super::lab::PATIENCE));
            nft(DOCKER);
            assert!(!scene.canary_arrives(Duration::from_millis(300)), "their chain drops it");
            let finding = doctor::one("", "forward-drop");
            assert!(finding.is_problem(), "{finding}");
            doctor::apply(&finding);
            assert_eq!(doctor::one("", "forward-drop").severity, Severity::Ok);
            assert_eq!(scene.seen_by_client(), [[0; 0]; 0], "and an answer comes back");

            // Somebody flushes all rules: theirs are gone, ours are back, and the alarm says so.
            nft("flush ruleset");
            wait_for("the guard is back", || try_run("nft list table inet nexavpn").0);
            wait_for("the alarm", || scene.daemon.metrics().contains("\nnexavpn_guard_repairs_total 1\n"));
            assert_eq!(scene.seen_by_client(), [[0; 0]; 0]);
        });
    });
}
