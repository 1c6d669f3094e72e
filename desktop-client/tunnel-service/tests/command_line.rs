//! What the program answers on its command line.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexa-tunneld")).args(arguments).output().expect("the program starts")
}

#[test]
fn arguments_that_it_does_not_know_are_a_usage_error() {
    for wrong in [&["--socket", "/tmp/x"][..], &["run"], &["--help", "--version"], &[""]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn started_it_says_that_it_is_not_built_and_does_not_report_success() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("None of this is built yet"));
}

#[test]
fn it_says_its_version() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        concat!("nexa-tunneld ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
