//! Faults of the gateway's process and disk.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;

use super::scene::Scene;
use crate::{
    names::{SERVER, port},
    probe::{self, Hops},
    relay::Mode,
    wait,
    walk::{LIMIT, ms},
};

pub fn killed(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.walk.lab.gateway.kill()?;
    thread::sleep(Duration::from_millis(rng.u64(0..300)));
    scene.start_gateway()?;
    Ok(format!("client through after {}", ms(scene.client_gets_through()?)))
}

/// The start is when most is half done: walls, interface, programs, maps.
pub fn killed_while_starting(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.walk.lab.gateway.kill()?;
    let mut after = Vec::new();
    for _ in 0..2 {
        scene.start_gateway()?;
        let moment = Duration::from_micros(rng.u64(0..250_000));
        thread::sleep(moment);
        scene.walk.lab.gateway.kill()?;
        after.push(ms(moment));
    }
    scene.start_gateway()?;
    let through = ms(scene.client_gets_through()?);
    Ok(format!("killed {} after its start; client through after {through}", after.join(" and ")))
}

/// The gateway must come back, and serve, without anybody to ask.
pub fn killed_with_control(scene: &mut Scene<'_>, _: &mut Rng) -> Result<String> {
    scene.walk.lab.control.kill()?;
    scene.walk.lab.gateway.kill()?;
    scene.start_gateway()?;
    let through = scene.client_gets_through().context("without control-api")?;
    let served = scene.start_control()?;
    Ok(format!("client through after {} without control-api, which serves after {}", ms(through), ms(served)))
}

/// What cannot be stored is in force all the same, and is stored once there is room.
pub fn disk_full(scene: &mut Scene<'_>, _: &mut Rng) -> Result<String> {
    scene.walk.lab.gateway.disk.fill()?;
    wait::until("the gateway does not say that it cannot store snapshots", LIMIT, || {
        Ok((scene.metric("nexavpn_snapshot_stored")? == 0.0).then_some(()))
    })?;
    let rule = scene.walk.admin()?.create("/api/v1/rules", &scene.rule()?)?;
    let opened = wait::until("a rule does not open its port while the disk is full", LIMIT, || {
        let address = SERVER.sockets(port::SECOND_HTTP)[0];
        let open =
            scene.walk.first().run(|| probe::connect(address, Duration::from_millis(100), Hops::Usual))?;
        Ok(open.is_ok().then_some(()))
    })?;
    scene.walk.admin()?.delete(&format!("/api/v1/rules/{}", rule["id"]))?;
    // A restart serves the older snapshot, and takes the newest as soon as it hears it.
    scene.walk.lab.gateway.kill()?;
    scene.start_gateway()?;
    let through = scene.client_gets_through().context("after a restart on a full disk")?;
    // With no line no newer snapshot comes that would be stored instead.
    wait::until("the restarted gateway does not hear the newest snapshot", LIMIT, || {
        // No metrics before it listens.
        let unstored = scene.metric("nexavpn_snapshot_stored").is_ok_and(|stored| stored == 0.0);
        Ok(unstored.then_some(()))
    })?;
    scene.relay.cut(Mode::Refuse);
    wait::until("the gateway does not notice that its line is down", LIMIT, || {
        Ok((scene.metric("nexavpn_control_connected")? == 0.0).then_some(()))
    })?;
    scene.walk.lab.gateway.disk.free()?;
    let ((), stored) = wait::until("the snapshot is not stored once there is room", LIMIT, || {
        Ok((scene.metric("nexavpn_snapshot_stored")? == 1.0).then_some(()))
    })?;
    scene.relay.set(Mode::Pass);
    ensure!(scene.walk.lab.gateway.state().join("snapshot.json").is_file(), "there is no stored snapshot");
    Ok(format!(
        "a rule opened its port in {}, restarted on the full disk in {}, stored {} after there was room",
        ms(opened.1),
        ms(through),
        ms(stored)
    ))
}
