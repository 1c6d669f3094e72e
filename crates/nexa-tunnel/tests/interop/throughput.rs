//! Figures, not verdicts: run with `--ignored --nocapture`. The benchmark of the workspace replaces this.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::net::ping_until_answered;
use crate::ns::text;
use crate::world::{World, peer};

#[test]
#[ignore = "prints figures and takes half a minute"]
fn iperf3_through_the_engine() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", Duration::from_secs(5));
    let mut server =
        world.gateway.command("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap();
    for (direction, flag) in [("client to gateway", "-P1"), ("gateway to client", "-R")] {
        crate::world::wait_for("iperf3", Duration::from_secs(5), || {
            world
                .gateway
                .command("ss")
                .args(["-Hltn", "sport = 5201"])
                .output()
                .is_ok_and(|done| !done.stdout.is_empty())
        });
        let done = client.ns.command("iperf3").args(["-c", "10.8.0.1", "-t", "5", flag]).output().unwrap();
        let shown = text("iperf3", done);
        println!("{direction}: {}", shown.lines().rfind(|line| line.contains("receiver")).unwrap());
        server.wait().unwrap();
        server = world.gateway.command("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap();
    }
    let _ = Command::new("kill").arg(server.id().to_string()).status();
    let _ = server.wait();
    println!("{:?}", engine.drops());
}
