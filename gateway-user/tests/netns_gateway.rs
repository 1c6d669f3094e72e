//! The gateway's parts against a real kernel, as root, each test in network namespaces that it made itself.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod netns {
    mod check;
    mod guard;
    mod interface;
    mod lab;
}
