//! How it begins and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use crate::pair::{PROGRAM, pair};

#[test]
fn it_ends_by_a_signal_and_by_its_socket_and_takes_all_along() {
    let [mut a, _b] = pair();
    for signal in ["-TERM", "-INT"] {
        a.start();
        assert!(a.has_interface());
        a.signal(signal);
        assert_eq!(a.ends(), Some(0));
        assert!(!a.socket().exists() && !a.has_interface());
    }
    a.start();
    fs::remove_file(a.socket()).unwrap();
    assert_eq!(a.ends(), Some(0));
    assert!(!a.has_interface());
}

#[test]
fn it_ends_with_its_interface() {
    let [mut a, _b] = pair();
    a.start();
    a.ns.ip([format!("link del {}", a.interface)]).unwrap();
    assert_eq!(a.ends(), Some(0));
    assert!(!a.socket().exists());
}

#[test]
fn only_root_may_ask_and_a_dead_one_s_socket_is_replaced() {
    let [mut a, _b] = pair();
    a.start();
    a.signal("-KILL");
    assert_eq!(a.ends(), None);
    assert!(a.socket().exists(), "killed, it could not remove it");
    a.start();
    assert_eq!(fs::metadata(a.socket()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_taken_is_refused_with_what_to_do() {
    let [a, _b] = pair();
    let refused = |arguments: &[&str]| {
        let output = a.ns.command(PROGRAM).unwrap().args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let other = UnixListener::bind(a.socket()).unwrap();
    let why = refused(&[&a.interface]);
    assert!(why.contains("another running tunnel's socket"), "{why}");
    assert_eq!(why.matches("error:").count(), 1, "{why}");
    assert!(!a.has_interface() && a.socket().exists());
    drop(other);
    assert!(refused(&["-f", "lo"]).contains("choose another name"));
    assert!(refused(&["no spaces"]).contains("not an interface name"));
}
