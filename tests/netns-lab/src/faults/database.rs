//! Faults of the database.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use serde_json::json;

use super::scene::{DATABASE, Scene};
use crate::{lan::random_hex, walk::ms};

pub fn killed(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.walk.lab.postgres.kill()?;
    come_back(scene, rng)
}

pub fn restarted(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.walk.lab.postgres.stop()?;
    come_back(scene, rng)
}

fn come_back(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.api_says_that_the_database_is_away()?;
    thread::sleep(Duration::from_millis(rng.u64(0..300)));
    let lab = &mut *scene.walk.lab;
    let started = lab.postgres.run(&lab.ledger)?;
    let healed = scene.writes_heal()?;
    Ok(format!("answers after {}, changes taken {} later", ms(started), ms(healed)))
}

/// Postgres then ends every other session too, and recovers by itself.
pub fn session_killed(scene: &mut Scene<'_>, _: &mut Rng) -> Result<String> {
    scene.walk.lab.postgres.kill_a_session(DATABASE)?;
    Ok(format!("changes taken {} later", ms(scene.writes_heal()?)))
}

/// Changes are refused as long as there is no room, and reading goes on if Postgres does.
pub fn disk_full(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    const ATTEMPTS: usize = 200;
    const TRAFFIC: usize = 60;
    scene.walk.lab.postgres.disk.fill()?;
    let admin = scene.walk.admin()?;
    let mut refused = None;
    for attempt in 1..=ATTEMPTS {
        // Much text in little time uses up what room Postgres has in its files; it compresses, so it is random.
        let ports: BTreeSet<u16> = (0..TRAFFIC).map(|_| rng.u16(1..)).collect();
        let ports: Vec<_> =
            ports.iter().map(|port| json!({"protocol": "tcp", "ports": port.to_string()})).collect();
        let body = json!({"name": random_hex()?, "cidrs": ["10.20.0.10/32"], "traffic": ports});
        let answer = admin.call("POST", "/api/v1/resources", Some(&body))?.expect(&[201, 503])?;
        if answer.status == 503 {
            ensure!(answer.retry_after.is_some(), "503 without Retry-After");
            refused = Some((attempt, answer.code().to_owned()));
            break;
        }
    }
    let Some((attempt, code)) = refused else { bail!("{ATTEMPTS} large changes found room on a full disk") };
    admin.get("/healthz")?.expect(&[200])?;
    let lab = &mut *scene.walk.lab;
    lab.postgres.disk.free()?;
    // It may have ended where it could not even write its log ahead.
    lab.postgres.run(&lab.ledger)?;
    let healed = scene.writes_heal().context("once there was room")?;
    Ok(format!("change {attempt} refused with {code}; changes taken {} after there was room", ms(healed)))
}
