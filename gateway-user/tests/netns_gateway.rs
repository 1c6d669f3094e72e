//! The gateway's parts against a real kernel, as root, each test in network namespaces that it made itself.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

#[expect(dead_code, reason = "the tests of the stream use all of it")]
mod fake_control;

mod netns {
    mod client;
    mod daemon;
    mod doctor;
    mod drops;
    mod guard;
    mod hostile;
    mod interface;
    mod lab;
    mod local;
    mod pins;
    mod run;
    mod scene;
    mod tap;
    mod times;
    mod xdp_guard;
}
