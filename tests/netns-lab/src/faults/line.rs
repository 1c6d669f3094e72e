//! Faults of the line between gateway and control-api.

use std::{thread, time::Duration};

use anyhow::{Result, bail, ensure};
use fastrand::Rng;

use super::scene::Scene;
use crate::{relay::Mode, walk::ms};

/// How many earlier snapshots are replayed at a time.
const REPLAYED: usize = 3;

pub fn down(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    let away = Duration::from_millis(rng.u64(100..900));
    scene.relay.cut(Mode::Refuse);
    thread::sleep(away);
    scene.relay.set(Mode::Pass);
    Ok(format!("for {}", ms(away)))
}

pub fn slow(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    let (bytes, time) = (rng.usize(16..256), Duration::from_millis(rng.u64(200..900)));
    scene.relay.set(Mode::Drip { bytes, pause: Duration::from_millis(1) });
    thread::sleep(time);
    scene.relay.set(Mode::Pass);
    Ok(format!("{bytes} bytes a millisecond for {}", ms(time)))
}

pub fn truncated(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    let (mode, told) = if rng.bool() {
        (Mode::Cut, "cut off in its frame")
    } else {
        (Mode::Truncate, "half of one, in a whole frame")
    };
    scene.relay.set(mode);
    scene.relay_strikes()?;
    Ok(told.to_owned())
}

/// Found out by the seal, refused as a whole and asked for again.
pub fn damaged(scene: &mut Scene<'_>, _: &mut Rng) -> Result<String> {
    let before = scene.metric_of("nexavpn_snapshots_refused_total", &[("cause", "hash")])?;
    // One that arrives while another is put in force may be overtaken by a third, and is then never looked at.
    for tries in 1..=10 {
        scene.relay.set(Mode::Damage);
        scene.relay_strikes()?;
        scene.settle()?;
        if scene.metric_of("nexavpn_snapshots_refused_total", &[("cause", "hash")])? > before {
            return Ok(format!("refused, after {} that were overtaken", tries - 1));
        }
    }
    bail!("none of ten damaged snapshots was refused")
}

/// What was granted once is not granted again, neither on the same connection nor on a new one.
pub fn replayed(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    let mut outdated = scene.metric("nexavpn_snapshots_outdated_total")?;
    let mut applied = scene.metric("nexavpn_applied_revision")?;
    for on_a_new_connection in [false, true] {
        let earlier = scene.relay.snapshots();
        ensure!(earlier.len() > REPLAYED, "only {} snapshots came by", earlier.len());
        // The last one may be the one in force, which may well come again.
        let some = (0..REPLAYED).map(|_| earlier[rng.usize(..earlier.len() - 1)].clone()).collect();
        let mode = Mode::Replay(some);
        if on_a_new_connection {
            scene.relay.cut(mode);
        } else {
            scene.relay.set(mode);
        }
        scene.relay_strikes()?;
        scene.settle()?;
        let now = scene.metric("nexavpn_applied_revision")?;
        ensure!(now >= applied, "revision {now} came into force after {applied}");
        applied = now;
        let counted = scene.metric("nexavpn_snapshots_outdated_total")?;
        let passed_over = counted - outdated;
        let place = if on_a_new_connection { "as the first of a connection" } else { "within a connection" };
        ensure!(
            passed_over == REPLAYED as f64,
            "of {REPLAYED} replayed {place}, {passed_over} were passed over"
        );
        outdated = counted;
    }
    Ok(format!("{REPLAYED} within a connection and {REPLAYED} as the first of one, all passed over"))
}
