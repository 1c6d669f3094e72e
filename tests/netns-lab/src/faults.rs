//! Rounds of faults on a running lab: while changes are made and clients try what they may and what they may not, a
//! process is killed, a disk is full or a line is bad. Afterwards nothing acknowledged is lost, nothing ungranted has
//! passed, and what is enforced is what the API says.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;

use crate::{
    capture::Capture,
    interrupt,
    lab::Lab,
    names::{OTHER_SERVER, SERVER, port},
    probe::Hops,
    process,
    ungranted::{self, Attempts},
    walk::{self, Verdict, control_down::Established},
};
use load::Load;
use scene::Scene;
use traffic::Traffic;

mod client;
mod control;
mod database;
mod gateway;
mod line;
mod load;
mod scene;
mod traffic;

pub use scene::DATABASE;

/// What is done, and what may pause meanwhile.
struct Fault {
    name: &'static str,
    traffic: Goes,
    api: Goes,
    strike: fn(&mut Scene<'_>, &mut Rng) -> Result<String>,
}

/// Whether something goes on throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// Without a failure: the fault is none of its business.
    On,
    /// It may fail for a while, and then must go on.
    OnAfterwards,
}

const FAULTS: [Fault; 16] = {
    use Goes::{On, OnAfterwards as Later};
    const fn fault(
        name: &'static str,
        traffic: Goes,
        api: Goes,
        strike: fn(&mut Scene<'_>, &mut Rng) -> Result<String>,
    ) -> Fault {
        Fault { name, traffic, api, strike }
    }
    [
        fault("gateway killed", Later, On, gateway::killed),
        fault("gateway killed while it starts", Later, On, gateway::killed_while_starting),
        fault("gateway and control-api killed", Later, Later, gateway::killed_with_control),
        fault("disk of the gateway full", Later, On, gateway::disk_full),
        fault("client killed", Later, On, client::killed),
        fault("control-api killed", On, Later, control::killed),
        fault("control-api slow", On, On, control::slow),
        fault("Postgres killed", On, On, database::killed),
        fault("Postgres restarted", On, On, database::restarted),
        fault("a session of Postgres killed", On, On, database::session_killed),
        fault("disk of the database full", On, On, database::disk_full),
        fault("line to control-api down", On, On, line::down),
        fault("line to control-api slow", On, On, line::slow),
        fault("snapshot cut off or truncated", On, On, line::truncated),
        fault("snapshot damaged", On, On, line::damaged),
        fault("snapshots replayed", On, On, line::replayed),
    ]
};

/// The kinds of faults, in words.
pub fn kinds() -> String {
    FAULTS.map(|fault| fault.name).join(", ")
}

/// Which rounds are played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides on order and moments; the same seed plays the same rounds.
    pub seed: u64,
    /// How many.
    pub rounds: usize,
    /// Only faults whose name holds this text; all of them when it is empty.
    pub only: String,
}

/// Plays rounds on a lab that was just started, each one line for `say`.
///
/// # Errors
/// When the lab does not even come up without faults.
pub fn run(lab: &mut Lab, plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Verdict> {
    let mut scene = Scene::set(lab)?;
    let mut rng = Rng::with_seed(plan.seed);
    let mut deck = Vec::new();
    let mut verdict = Verdict::default();
    for number in 1..=plan.rounds {
        if deck.is_empty() {
            // Every kind before any comes again.
            deck = FAULTS.iter().filter(|fault| fault.name.contains(&plan.only)).collect();
            rng.shuffle(&mut deck);
        }
        let Some(fault) = deck.pop() else {
            bail!("no kind of fault is named like `{}`; there are: {}", plan.only, kinds());
        };
        // A round's chances do not depend on how many the rounds before took.
        let mut chance = rng.fork();
        let start = Instant::now();
        let outcome = interrupt::check().and_then(|()| round(&mut scene, fault, &mut chance));
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => {
                verdict.passed += 1;
                say(&format!("✓ {number:>3} {} … {seen} ({seconds:.1} s)", fault.name));
            }
            Err(error) => {
                verdict.failed += 1;
                let error = format!("{error:#}").replace('\n', "\n     ");
                say(&format!("✗ {number:>3} {} … {error} ({seconds:.1} s)", fault.name));
                for log in [scene.walk.lab.gateway.log(), scene.walk.lab.control.log()] {
                    for line in process::tail(log, 3).lines() {
                        say(&format!("     {line}"));
                    }
                }
                interrupt::check()?;
            }
        }
    }
    // Errors are what is logged in haste.
    match scene.walk.secrets_are_nowhere() {
        Ok(seen) => {
            verdict.passed += 1;
            say(&format!("✓     afterwards … {seen}"));
        }
        Err(error) => {
            verdict.failed += 1;
            say(&format!("✗     afterwards … {error:#}"));
        }
    }
    Ok(verdict)
}

fn round(scene: &mut Scene<'_>, fault: &Fault, rng: &mut Rng) -> Result<String> {
    scene.stand_up().context("before the fault")?;
    let network = &scene.walk.lab.network;
    let capture = Capture::start(&network.lan)?;
    let [first, second] = &network.clients;
    let attempts = [
        Attempts::start(first, SERVER.sockets(port::NEVER), Hops::Usual)?,
        Attempts::start(first, OTHER_SERVER.sockets(port::HTTP), Hops::Usual)?,
        Attempts::start(second, SERVER.sockets(port::HTTP), Hops::Marked)?,
    ];
    let established = Established::open(&scene.walk, SERVER.sockets(port::HTTP))?;
    let load = Load::start(scene, fault.api)?;
    let traffic = Traffic::start(scene, established, fault.traffic)?;
    load.wait_until_it_runs()?;
    // Any moment is as good as another: that is what is tried.
    thread::sleep(Duration::from_micros(rng.u64(0..60_000)));

    let seen = (fault.strike)(scene, rng)?;
    let written = load.finish().context("changes through the API")?;
    scene.settle().context("after the fault")?;
    let fetched = traffic.finish().context("what is granted")?;
    let lost = scene.missing(&written.groups)?;
    ensure!(lost == 0, "{lost} of {} acknowledged writes are lost", written.groups.len());
    scene.port_follows_the_rules().context("after the fault")?;

    let mut tried = 0;
    for attempts in attempts {
        tried += attempts.finish()?;
    }
    let packets = capture.finish()?;
    ensure!(
        packets.iter().any(|packet| packet.destination == SERVER.v4 && packet.port == Some(port::HTTP)),
        "the capture on the LAN does not even see what is granted"
    );
    ungranted::none_in(&packets, &[port::HTTP, port::SECOND_HTTP])?;
    Ok(format!(
        "{seen}; {} writes and {} policy changes acknowledged, {} answered 503; {fetched}; {tried} ungranted attempts, \
         0 of {} packets",
        written.groups.len(),
        written.policies,
        written.unavailable,
        packets.len(),
    ))
}

/// What a run says at its end: how it went, and how to have it again.
pub fn summary(verdict: Verdict, plan: &Plan) -> String {
    let only = if plan.only.is_empty() { String::new() } else { format!(" --only '{}'", plan.only) };
    format!(
        "faults: {} of {} hold; the same again: cargo xtask faults --seed {} --rounds {}{only}",
        verdict.passed,
        verdict.passed + verdict.failed,
        plan.seed,
        plan.rounds
    )
}

/// Walks up to the tunnel without a word, unless that fails.
fn to_tunnel(lab: &mut Lab) -> Result<walk::Walk<'_>> {
    walk::to_tunnel(lab, &mut |_| {})
}
