//! What the program answers while there is no window.

use std::process::Command;

#[test]
fn it_says_that_there_is_no_window_and_does_not_report_success() {
    let output = Command::new(env!("CARGO_BIN_EXE_nexa-desktop")).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stdout).contains("there is no window yet"));
}
