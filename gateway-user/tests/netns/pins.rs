//! Somebody removes what outlives the daemon.

use std::fs;

use nexa_gateway::dataplane::Attachment;

use super::client::{Client, snapshot};
use super::daemon::{Daemon, Host};
use super::lab::{in_namespace, run, runtime, wait_for};
use super::local::in_force;
use super::run::enforced;
use crate::fake_control::{Connection, FakeControl};

/// A daemon with a client that reaches it.
struct Scene {
    host: Host,
    daemon: Daemon,
    client: Client,
    _connection: Connection,
    control: FakeControl,
}

impl Scene {
    async fn set() -> Self {
        let mut control = FakeControl::start().await;
        let host = Host::new(&control.address.to_string());
        let client = Client::start();
        let (daemon, public_key, connection) =
            in_force(&host, &mut control, &snapshot(client.public_key), &[]).await;
        client.connect_to(public_key);
        client.wait_for_ping("100.96.0.1");
        Self { host, daemon, client, _connection: connection, control }
    }

    fn pins(&self) -> usize {
        fs::read_dir(self.host.path("bpf/nexavpn")).map_or(0, Iterator::count)
    }

    fn wipe(&self) {
        fs::remove_dir_all(self.host.path("bpf/nexavpn")).unwrap();
    }
}

#[test]
fn a_daemon_whose_pins_are_removed_enforces_on_and_pins_again_what_then_outlives_it() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::set().await;
            let pins = scene.pins();
            scene.wipe();
            assert!(enforced() && scene.client.pings("100.96.0.1"), "it holds what was pinned");
            scene.daemon.wait_for_log("it is pinned again");
            assert_eq!(scene.pins(), pins, "{}", scene.daemon.text());
            assert!(scene.daemon.metrics().contains("nexavpn_pin_repairs_total 1\n"));
            assert!(scene.client.pings("100.96.0.1"));
            // A change goes to the maps that are pinned, and they are those that the programs ask.
            let (success, text) = scene.host.ask("verify");
            assert!(success, "{text}");
            scene.daemon.kill();
            assert!(enforced(), "without a daemon");
            scene.control.answer_with(503);
            let mut again = scene.host.start("log-again");
            again.wait_for_log("the tunnel is listening");
            scene.client.wait_for_ping("100.96.0.1");
            assert!(again.metrics().contains("nexavpn_pin_repairs_total 0\n"));
        });
    });
}

#[test]
fn with_pins_and_daemon_gone_at_once_the_programs_are_gone_and_a_restart_makes_all_whole() {
    in_namespace(|| {
        runtime().block_on(async {
            let scene = Scene::set().await;
            scene.host.wait_for_endpoint("192.0.2.21:");
            // Stopped first: it must not pin again in between.
            run(&format!("kill -STOP {}", scene.daemon.child.id()));
            let pins = scene.pins();
            scene.wipe();
            scene.daemon.kill();
            if Attachment::of_kernel() == Attachment::Tcx {
                wait_for("the programs to be gone", || !enforced());
            }
            // Without them nothing has the mark that the guard lets through.
            assert!(run("nft list table inet nexavpn").contains("mark"));
            scene.control.answer_with(503);
            let mut again = scene.host.start("log-again");
            again.wait_for_log("the tunnel is listening");
            scene.client.wait_for_ping("100.96.0.1");
            assert!(enforced());
            let pinned_again = fs::read_dir(scene.host.path("bpf/nexavpn")).unwrap().count();
            assert_eq!(pinned_again, pins);
        });
    });
}
