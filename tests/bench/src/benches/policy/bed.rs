//! Policies, packets of them, and places where they are decided on, each made when it is first asked for.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use chrono::{TimeDelta, Utc};
use nexa_gateway::dataplane::{Attachment, Dataplane, Options};
use nexa_gateway_core::lower;
use nexa_lab::{ledger::Ledger, names::Prefix, namespace::Namespace};
use nexa_wire::snapshot::{Effect, Snapshot};

use super::{
    arm::{Arm, Decider, Verdict},
    cases::{By, Size},
    conntrack,
    entries::Entries,
    frame::{self, Tuple},
    inject::{Action, Counter, Flows, Injector},
    nft::{self, Form, Hook},
    place::{IN, Place},
    world,
};

/// Devices of every policy.
pub(super) const PEERS: u32 = 10_000;
/// Prepared packets of a kind, each another.
const PREPARED: usize = 100_000;
/// Flows that our map holds: those of a gateway as it comes, and as many as conntrack's default.
const MAX_FLOWS: u32 = 1 << 18;
/// A port that no rule speaks of.
const UNSPOKEN_PORT: u16 = 1;

/// Packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packets {
    /// Of random rules, of both protocols.
    Spoken,
    /// To the same hosts, where no rule speaks of the port.
    Unspoken,
    /// Of flows that random rules allow.
    Flows,
    /// The other way.
    Answers,
    /// As flows, of which each lap begins others.
    Beginnings,
}

/// All that was made so far.
pub(super) struct Bed<'a> {
    prefix: &'a Prefix,
    ledger: &'a Ledger,
    policies: HashMap<(Size, Effect), (Snapshot, Entries)>,
    injectors: HashMap<(Size, Packets), Injector>,
    numbers: HashMap<(By, Effect), usize>,
    arms: Vec<Arm>,
}

impl<'a> Bed<'a> {
    /// Makes nothing yet.
    pub(super) fn new(prefix: &'a Prefix, ledger: &'a Ledger) -> Self {
        Self {
            prefix,
            ledger,
            policies: HashMap::new(),
            injectors: HashMap::new(),
            numbers: HashMap::new(),
            arms: Vec::new(),
        }
    }

    /// The number of the way on which one decides by rules of one effect.
    pub(super) fn arm(&mut self, by: By, effect: Effect) -> Result<usize> {
        if let Some(number) = self.numbers.get(&(by, effect)) {
            return Ok(*number);
        }
        let number = self.arms.len();
        let place = self.place(&format!("p{number}"))?;
        let arm = match by {
            By::TcDrop => {
                let counter = place.namespace.run(|| Counter::end(IN, TcAttachType::Ingress))??;
                Arm { place, decider: Decider::Nobody, through: Some(counter) }
            }
            By::NftDrop => {
                nft::load(&place.namespace, &nft::floor())?;
                Arm { place, decider: Decider::Nft, through: None }
            }
            By::Forward => Arm { through: Some(place.forward()?), place, decider: Decider::Nobody },
            By::Ours(size) => {
                let through = (effect == Effect::Allow).then(|| place.forward()).transpose()?;
                let dataplane = installed(&place, &self.policy(size, effect)?.0)?;
                Arm { place, decider: Decider::Ours(Box::new(dataplane)), through }
            }
            By::Nft(form, size) => {
                let (snapshot, entries) = self.policy(size, effect)?;
                nft::load(&place.namespace, &nft::rules(snapshot, entries, form, Hook::Ingress)?)?;
                Arm { place, decider: Decider::Nft, through: None }
            }
            By::Conntrack(size) => {
                let through = Some(place.forward()?);
                let (snapshot, entries) = self.policy(size, effect)?;
                let rules = nft::rules(snapshot, entries, Form::ByProtocol, Hook::ForwardWithConntrack)?;
                nft::load(&place.namespace, &rules)?;
                Arm { place, decider: Decider::Nft, through }
            }
        };
        self.arms.push(arm);
        self.numbers.insert((by, effect), number);
        Ok(number)
    }

    /// A namespace to inject into.
    pub(super) fn place(&self, name: &str) -> Result<Place> {
        Place::new(self.prefix, self.ledger, name)
    }

    /// A namespace for something else.
    pub(super) fn namespace(&self, name: &str) -> Result<Namespace> {
        let name = self.prefix.name(name);
        self.ledger.namespace(&name)?;
        Namespace::new(&name)
    }

    /// Prepared packets of a policy.
    pub(super) fn injector(&mut self, size: Size, packets: Packets) -> Result<&Injector> {
        if !self.injectors.contains_key(&(size, packets)) {
            let made = self.prepare(size, packets)?;
            self.injectors.insert((size, packets), made);
        }
        self.injectors.get(&(size, packets)).context("just made")
    }

    fn prepare(&mut self, size: Size, packets: Packets) -> Result<Injector> {
        let (effect, flows) = match packets {
            Packets::Spoken | Packets::Unspoken => (Effect::Deny, Flows::Repeat),
            Packets::Flows | Packets::Answers => (Effect::Allow, Flows::Repeat),
            Packets::Beginnings => (Effect::Allow, Flows::Begin),
        };
        let (snapshot, entries) = self.policy(size, effect)?;
        let tuples = tuples(snapshot, entries, effect == Effect::Allow)?;
        let turned = |tuple: &Tuple| match packets {
            Packets::Spoken | Packets::Flows | Packets::Beginnings => *tuple,
            Packets::Unspoken => Tuple { destination_port: UNSPOKEN_PORT, ..*tuple },
            Packets::Answers => tuple.reversed(),
        };
        let frames: Vec<_> = tuples.iter().map(|tuple| turned(tuple).frame()).collect();
        Injector::new(&frames, Action::Pass, flows)
    }

    /// A policy of this size, whose rules all have this effect, and its rules taken apart.
    pub(super) fn policy(&mut self, size: Size, effect: Effect) -> Result<&(Snapshot, Entries)> {
        match self.policies.entry((size, effect)) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => {
                let snapshot = world::snapshot(PEERS, world::GROUPS, size.rules(), effect)?;
                let entries = Entries::of(&snapshot, effect)?;
                Ok(place.insert((snapshot, entries)))
            }
        }
    }

    /// Injects packets without looking at what becomes of them.
    pub(super) fn inject(&mut self, arm: usize, size: Size, packets: Packets, count: u32) -> Result<()> {
        self.injector(size, packets)?;
        self.arms[arm].place.inject(&self.injectors[&(size, packets)], count)?;
        Ok(())
    }

    /// Injects packets, all of which must have the verdict; returns the nanoseconds of one.
    pub(super) fn measure(
        &mut self,
        arm: usize,
        size: Size,
        packets: Packets,
        count: u32,
        verdict: Verdict,
    ) -> Result<f64> {
        self.injector(size, packets)?;
        self.arms[arm].measure(&self.injectors[&(size, packets)], count, verdict)
    }

    /// Fails where our programs follow another number of flows: then packets were decided anew among those measured.
    pub(super) fn expect_flows(&self, arm: usize, count: u32) -> Result<()> {
        if let Decider::Ours(dataplane) = &self.arms[arm].decider {
            let flows = dataplane.reader().flows()?.len();
            ensure!(u32::try_from(flows) == Ok(count), "{flows} flows are live, and not {count}");
        }
        Ok(())
    }

    /// Ends all flows, ours or those of conntrack.
    pub(super) fn forget_flows(&mut self, arm: usize) -> Result<()> {
        match &mut self.arms[arm] {
            Arm { decider: Decider::Ours(dataplane), .. } => dataplane.forget_flows(),
            Arm { place, .. } => place.namespace.run(conntrack::flush)?,
        }
    }
}

/// The shipped programs in force at a place.
pub(super) fn installed(place: &Place, snapshot: &Snapshot) -> Result<Dataplane> {
    let mut dataplane = open()?;
    let now = Utc::now();
    dataplane.apply(&lower(snapshot, &[], now)?, now + TimeDelta::days(1))?;
    place.namespace.run(|| dataplane.attach(IN))??;
    Ok(dataplane)
}

/// The shipped programs, as a gateway loads them, but for an Ethernet header in front.
pub(super) fn open() -> Result<Dataplane> {
    Dataplane::open(&Options {
        pin_dir: None,
        max_flows: MAX_FLOWS,
        l2_len: frame::L2_BYTES,
        attachment: Attachment::Tcx,
        ..Options::default()
    })
}

/// Packets that random entries speak of, each another.
fn tuples(snapshot: &Snapshot, entries: &Entries, udp_only: bool) -> Result<Vec<Tuple>> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut seen = HashSet::new();
    let mut tuples = Vec::with_capacity(PREPARED);
    while tuples.len() < PREPARED {
        let entry = rng.choice(&entries.all).context("a policy without entries")?;
        let tuple = Tuple::of(snapshot, entries, entry, &mut rng)?;
        // Conntrack wants TCP's handshakes; a datagram of UDP is a flow.
        if (tuple.is_udp() || !udp_only) && seen.insert(tuple) {
            tuples.push(tuple);
        }
    }
    Ok(tuples)
}
