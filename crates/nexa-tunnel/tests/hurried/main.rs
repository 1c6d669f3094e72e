//! What takes WireGuard minutes, in seconds: in this program clocks run ten times as fast, so that sessions are rekeyed
//! after twelve seconds instead of two minutes, with the code and constants that are released.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is to end the test where it happens")]
#![expect(clippy::print_stdout, reason = "what was counted is shown with --show-output")]
#![expect(
    dead_code,
    reason = "the network is made by the helpers of the other tests, not all of which are used here"
)]

#[path = "../interop/go.rs"]
mod go;
#[path = "../interop/injector.rs"]
mod injector;
#[path = "../interop/net.rs"]
mod net;
#[path = "../interop/ns.rs"]
mod ns;
#[path = "../interop/router.rs"]
mod router;
#[path = "../interop/world.rs"]
mod world;

mod clock;
mod flow;
mod rekey;
mod soak;
