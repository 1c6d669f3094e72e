//! What the program answers on its command line.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexa")).args(arguments).output().expect("the program starts")
}

#[test]
fn commands_that_do_not_exist_yet_are_refused() {
    for planned in ["login", "up", "status"] {
        assert_eq!(run(&[planned]).status.code(), Some(2), "{planned}");
    }
}

#[test]
fn help_says_that_there_is_no_command_yet() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("There is no command yet"));
}
