//! Faults of control-api.

use std::{thread, time::Duration};

use anyhow::Result;
use fastrand::Rng;
use nix::sys::signal::Signal;

use super::scene::Scene;
use crate::walk::ms;

pub fn killed(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    scene.walk.lab.control.kill()?;
    thread::sleep(Duration::from_millis(rng.u64(0..300)));
    let served = scene.start_control()?;
    Ok(format!("serves again after {}", ms(served)))
}

/// A process that gets no time answers late, and nobody gives up on it.
pub fn slow(scene: &mut Scene<'_>, rng: &mut Rng) -> Result<String> {
    let mut stopped = Duration::ZERO;
    for _ in 0..3 {
        let pause = Duration::from_millis(rng.u64(50..400));
        scene.walk.lab.control.signal(Signal::SIGSTOP)?;
        thread::sleep(pause);
        scene.walk.lab.control.signal(Signal::SIGCONT)?;
        stopped += pause;
        thread::sleep(Duration::from_millis(rng.u64(0..30)));
    }
    Ok(format!("held for {} in three pieces", ms(stopped)))
}
