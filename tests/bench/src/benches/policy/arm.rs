//! A way that packets can go, with who says what became of them.

use anyhow::{Context as _, Result, bail, ensure};
use nexa_gateway::dataplane::{Counters, Dataplane, RuleName};

use super::{
    inject::{Counter, Injector},
    nft,
    place::Place,
};

/// A place, and who decides there.
pub(super) struct Arm {
    pub(super) place: Place,
    pub(super) decider: Decider,
    /// Ends and counts what came through, where something may.
    pub(super) through: Option<Counter>,
}

/// Who decides on packets.
pub(super) enum Decider {
    /// Nobody: all of them come through.
    Nobody,
    /// The shipped programs.
    Ours(Box<Dataplane>),
    /// nftables.
    Nft,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They come through: nobody decides, or a rule allows them.
    Allowed,
    /// They come through as part of what conntrack knows.
    Known,
    /// A rule refuses them.
    Denied,
    /// No rule speaks of them, so they end.
    NoRule,
}

impl Arm {
    /// Injects packets and returns the nanoseconds of one, if all had the verdict: else there is no figure.
    pub(super) fn measure(&self, injector: &Injector, count: u32, verdict: Verdict) -> Result<f64> {
        let before = self.judged(verdict)?;
        let ns = self.place.inject(injector, count)?;
        for ((who, before), (_, after)) in before.into_iter().zip(self.judged(verdict)?) {
            let judged = after - before;
            ensure!(judged == u64::from(count), "of {count} packets {judged} were {verdict:?}, says {who}");
        }
        Ok(ns)
    }

    /// Packets that had the verdict so far, by who says so: who decides, and who counts what came through.
    fn judged(&self, verdict: Verdict) -> Result<Vec<(&'static str, u64)>> {
        let mut judged = Vec::new();
        match &self.decider {
            Decider::Nobody => {}
            Decider::Ours(dataplane) => {
                judged.push(("the program", of_rules(&dataplane.counters()?, verdict)))
            }
            Decider::Nft => {
                let name = match verdict {
                    Verdict::Known => nft::KNOWN,
                    Verdict::Allowed | Verdict::Denied => nft::HIT,
                    Verdict::NoRule => nft::MISS,
                };
                let counters = nft::counters(&self.place.namespace)?;
                judged.push(("nft", *counters.get(name).with_context(|| format!("no counter {name}"))?));
            }
        }
        if let (Some(through), Verdict::Allowed | Verdict::Known) = (&self.through, verdict) {
            judged.push(("what came through", through.packets()?));
        }
        if judged.is_empty() {
            bail!("nobody counts here");
        }
        Ok(judged)
    }
}

fn of_rules(counters: &Counters, verdict: Verdict) -> u64 {
    let count = |(name, counted): &(RuleName, nexa_abi::layout::RuleCounters)| match (verdict, name) {
        (Verdict::Allowed, RuleName::Rule(_)) => counted.allowed_packets,
        (Verdict::Denied, RuleName::Rule(_)) | (Verdict::NoRule, RuleName::DefaultDeny) => {
            counted.denied_packets
        }
        _ => 0,
    };
    counters.rules.iter().map(count).sum()
}
