//! Faults of a client.

use anyhow::Result;
use fastrand::Rng;

use super::scene::Scene;
use crate::walk::ms;

pub fn killed(scene: &mut Scene<'_>, _: &mut Rng) -> Result<String> {
    scene.walk.lab.clients[0].kill()?;
    scene.connect_client()?;
    Ok(format!("connected anew, through after {}", ms(scene.client_gets_through()?)))
}
