//! The walk-through: the main job in twelve steps, each judged by what really passed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{
    api::Api, control::Control, interrupt, lab::Lab, names::SERVER, namespace::Namespace, process,
    secrets::Secrets, wait,
};

mod bootstrap;
pub(crate) mod control_down;
mod counters;
mod devices;
mod download;
mod enrol;
mod gateway_killed;
pub mod measure;
mod open;
mod refused;
mod secrets;
mod sign_in;
pub(crate) mod tunnel;

/// How long something that is to happen may take, unless a step has a limit of its own.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How long an attempt waits that is to fail: shorter than TCP's first repetition, so that one attempt is one packet.
pub(crate) const REFUSED: Duration = Duration::from_millis(400);

type Step = fn(&mut Walk<'_>) -> Result<String>;

/// Number, what is shown, how.
const STEPS: [(u8, &str, Step); 12] = [
    (1, "the one-time token makes the first admin, once", bootstrap::run),
    (2, "admin signs in; user, group, resource, rule, gateway", sign_in::run),
    (3, "clients make their keys, enrol, download a wg-quick file", enrol::run),
    (4, "handshake; GET over v4 and v6 returns the exact body", tunnel::run),
    (5, "another port, host, client, and one without a grant: refused, counted", refused::run),
    (6, "a rule added through the API opens the port", open::run),
    (7, "a running download stalls when its rule is removed", download::run),
    (8, "control-api stopped: traffic goes on; started: re-sync", control_down::run),
    (9, "gateway killed and started: nothing ungranted passed", gateway_killed::run),
    (10, "metrics equal what the client sent; drops by reason", counters::run),
    (11, "a device reaches another by a rule that names it", devices::run),
    (12, "no secret in logs, metrics and database", secrets::run),
];

/// How a walk-through went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Steps that held.
    pub passed: usize,
    /// Steps that did not.
    pub failed: usize,
}

/// Walks through all steps, each one line for `say`. A step that fails does not end it: later ones say what they miss.
pub fn run(lab: &mut Lab, say: &mut dyn FnMut(&str)) -> Verdict {
    let mut walk = Walk { lab, facts: Facts::default() };
    let mut verdict = Verdict::default();
    for (number, title, step) in STEPS {
        let start = Instant::now();
        let outcome = interrupt::check().and_then(|()| step(&mut walk));
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => {
                verdict.passed += 1;
                say(&format!("✓ {number:>2} {title} … {seen} ({seconds:.1} s)"));
            }
            Err(error) => {
                verdict.failed += 1;
                let error = format!("{error:#}").replace('\n', "\n     ");
                say(&format!("✗ {number:>2} {title} … {error} ({seconds:.1} s)"));
                for line in process::tail(walk.lab.gateway.log(), 3).lines() {
                    say(&format!("     gateway: {line}"));
                }
            }
        }
    }
    verdict
}

/// Takes the steps up to the tunnel, each one line for `say`, for whoever wants to [`measure`] on the lab.
///
/// # Errors
/// When a step does not hold.
pub fn to_tunnel<'a>(lab: &'a mut Lab, say: &mut dyn FnMut(&str)) -> Result<Walk<'a>> {
    let mut walk = Walk { lab, facts: Facts::default() };
    for (number, title, step) in STEPS {
        interrupt::check()?;
        let seen = step(&mut walk).with_context(|| format!("step {number}, {title}"))?;
        say(&format!("✓ {number:>2} {title} … {seen}"));
        if walk.facts.connected {
            return Ok(walk);
        }
    }
    bail!("no step brings the tunnel up")
}

/// A lab on which the steps were taken so far.
pub struct Walk<'a> {
    pub(crate) lab: &'a mut Lab,
    facts: Facts,
}

/// What earlier steps made.
#[derive(Default)]
struct Facts {
    admin: Option<Api>,
    group: Option<String>,
    secrets: Secrets,
    /// Whether the tunnels are up.
    connected: bool,
}

impl Walk<'_> {
    /// The admin's session.
    pub(crate) fn admin(&self) -> Result<&Api> {
        self.facts.admin.as_ref().context("nobody is signed in: step 2 did not get that far")
    }

    /// Fails unless the clients' tunnels are up.
    fn connected(&self) -> Result<()> {
        self.facts
            .connected
            .then_some(())
            .context("the clients are not connected: step 4 did not get that far")
    }

    /// A caller without a session, on the clients' side.
    fn visitor(&self, from: &Namespace) -> Result<Api> {
        Api::new(&Control::url(), from)
    }

    /// Looks for every secret of the lab where none may be.
    pub(crate) fn secrets_are_nowhere(&self) -> Result<String> {
        self.facts.secrets.are_nowhere(self.lab)
    }

    /// The namespace of the client that is granted something.
    pub(crate) fn first(&self) -> &Namespace {
        &self.lab.network.clients[0]
    }

    /// Makes a resource on the LAN's server and returns its id. It grants nothing by itself.
    ///
    /// # Errors
    /// When the API refuses it.
    pub fn make_resource(&self, name: &str, traffic: &Value) -> Result<String> {
        let cidrs = [format!("{}/32", SERVER.v4), format!("{}/128", SERVER.v6)];
        let made = self
            .admin()?
            .create("/api/v1/resources", &json!({"name": name, "cidrs": cidrs, "traffic": traffic}))?;
        Ok(crate::api::text(&made, "id")?.to_owned())
    }

    /// What a rule looks like that grants the first client's group a resource.
    pub(crate) fn grant(&self, resource: &str) -> Result<Value> {
        let group = self.facts.group.as_ref().context("there is no group: step 2 did not get that far")?;
        Ok(json!({
            "effect": "allow",
            "who": [{"kind": "group", "id": group}],
            "what": [{"kind": "resource", "id": resource}],
            "note": "made by the lab",
        }))
    }

    /// Waits until the gateway is connected and has applied the newest state of the control plane.
    ///
    /// # Errors
    /// When it does not within 20 s, or ended.
    pub fn wait_for_gateway(&mut self) -> Result<Duration> {
        let registered = self.lab.gateway.registered.as_ref().context("there is no gateway: see step 2")?;
        let path = format!("/api/v1/gateways/{}", registered.id);
        let admin = self.facts.admin.as_ref().context("nobody is signed in: see step 2")?;
        let gateway = &mut self.lab.gateway;
        let ((), took) = wait::until("the gateway does not connect", LIMIT, || {
            gateway.check()?;
            Ok((admin.read(&path)?["connected"] == true).then_some(()))
        })?;
        Ok(took)
    }
}

/// A duration in words: milliseconds, with a digit more where it matters.
pub(crate) fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
