//! What is measured of single packets, and on what.

use anyhow::{Context as _, Result};
use nexa_wire::snapshot::Effect;

use super::{
    arm::Verdict,
    bed::{Bed, Packets},
    nft::Form,
};
use crate::interleave::{Better, Metric, Series};

/// Packets of a sample.
const COUNT: u32 = 400_000;
/// As many that each begins a flow of its own, all of which fit into both tables of flows.
const NEW_COUNT: u32 = 200_000;
/// Rules one after the other take so long that fewer packets do.
const LINEAR_COUNT: u32 = 20_000;

/// How many rules a policy has, besides a private one for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Size {
    /// 2,000.
    Small,
    /// 20,000.
    Middle,
    /// 100,000.
    Large,
}

impl Size {
    /// As a number.
    pub(super) const fn rules(self) -> u32 {
        match self {
            Self::Small => 2_000,
            Self::Middle => 20_000,
            Self::Large => 100_000,
        }
    }
}

/// Who decides on packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// A program of TC drops all: the floor of what our program drops.
    TcDrop,
    /// A rule of nftables drops all: the floor of what nftables drops in the same place.
    NftDrop,
    /// All are forwarded: the floor of what is admitted.
    Forward,
    /// Our program.
    Ours(Size),
    /// nftables, without flows.
    Nft(Form, Size),
    /// nftables, conntrack first.
    Conntrack(Size),
}

/// What packets are to whoever decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Regime {
    /// Of live flows.
    Live,
    /// Decided by a rule, of no flow. All rules deny, so that none begins one.
    Classified,
    /// Spoken of by no rule.
    NoRule,
    /// Each the first of a flow.
    New,
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) by: By,
    pub(super) regime: Regime,
    what: &'static str,
}

const fn case(name: &'static str, by: By, regime: Regime, what: &'static str) -> Measured {
    Measured { name, by, regime, what }
}

use By::{Conntrack, Forward, Nft, NftDrop, Ours, TcDrop};
use Form::{ByProtocol, Linear, VerdictMap};
use Regime::{Classified, Live, New, NoRule};
use Size::{Large, Middle, Small};

/// Everything that is measured of single packets. Floors come first; nothing is subtracted from them.
pub(super) const ALL: [Measured; 24] = [
    case("floor_tc_drop_ns", TcDrop, Classified, "injected, received, dropped by a program of TC"),
    case("floor_nft_drop_ns", NftDrop, Classified, "injected, received, dropped by nftables' ingress hook"),
    case("floor_forward_ns", Forward, Live, "injected, received, forwarded, dropped where it would leave"),
    case("live_ours_2k_ns", Ours(Small), Live, "of 100k live flows, random; 2k rules"),
    case("live_ours_20k_ns", Ours(Middle), Live, "of 100k live flows, random; 20k rules"),
    case("live_ours_100k_ns", Ours(Large), Live, "of 100k live flows, random; 100k rules"),
    case("live_conntrack_ns", Conntrack(Small), Live, "of 100k flows, random; nftables: established, accept"),
    case("class_ours_2k_ns", Ours(Small), Classified, "decided by a random rule of 2k"),
    case("class_ours_20k_ns", Ours(Middle), Classified, "decided by a random rule of 20k"),
    case("class_ours_100k_ns", Ours(Large), Classified, "decided by a random rule of 100k"),
    case(
        "class_nft_map_2k_ns",
        Nft(VerdictMap, Small),
        Classified,
        "nftables: verdict map of peers, interval sets",
    ),
    case("class_nft_map_20k_ns", Nft(VerdictMap, Middle), Classified, "the same of 20k"),
    case("class_nft_proto_2k_ns", Nft(ByProtocol, Small), Classified, "nftables: the same, a set a protocol"),
    case("class_nft_proto_20k_ns", Nft(ByProtocol, Middle), Classified, "the same of 20k"),
    case("class_nft_linear_2k_ns", Nft(Linear, Small), Classified, "nftables: one rule after the other"),
    case("no_rule_ours_2k_ns", Ours(Small), NoRule, "denied, as no rule speaks of the port; 2k rules"),
    case("no_rule_ours_100k_ns", Ours(Large), NoRule, "denied, as no rule speaks of the port; 100k rules"),
    case(
        "no_rule_nft_map_2k_ns",
        Nft(VerdictMap, Small),
        NoRule,
        "nftables: verdict map of peers, interval sets",
    ),
    case("no_rule_nft_proto_2k_ns", Nft(ByProtocol, Small), NoRule, "nftables: the same, a set a protocol"),
    case("new_ours_2k_ns", Ours(Small), New, "the first of a flow; 2k rules"),
    case("new_ours_20k_ns", Ours(Middle), New, "the first of a flow; 20k rules"),
    case("new_ours_100k_ns", Ours(Large), New, "the first of a flow; 100k rules"),
    case("new_conntrack_2k_ns", Conntrack(Small), New, "nftables: conntrack, then verdict map and sets"),
    case("new_conntrack_20k_ns", Conntrack(Middle), New, "the same of 20k"),
];

impl Measured {
    /// What it is for people; of a case that is none of the floors, above its floor.
    pub(super) const fn metric(&self) -> Metric {
        Metric { name: self.name, unit: "ns", better: Better::Lower, what: self.what }
    }

    /// Whether it is a floor.
    pub(super) const fn is_floor(&self) -> bool {
        matches!(self.by, TcDrop | NftDrop | Forward)
    }

    /// The floor under it: the same path without a decision.
    pub(super) const fn floor(&self) -> By {
        match (self.regime, self.by) {
            (Live | New, _) => Forward,
            (Classified | NoRule, Nft(..) | NftDrop) => NftDrop,
            (Classified | NoRule, _) => TcDrop,
        }
    }

    /// The effect of all rules.
    pub(super) const fn effect(&self) -> Effect {
        match self.regime {
            Live | New => Effect::Allow,
            Classified | NoRule => Effect::Deny,
        }
    }

    /// Rules of the policy that packets are drawn from.
    pub(super) const fn size(&self) -> Size {
        match self.by {
            TcDrop | NftDrop | Forward => Small,
            Ours(size) | Nft(_, size) | Conntrack(size) => size,
        }
    }

    /// Measures once: nanoseconds of a packet, all that comes before and after the decision in it.
    pub(super) fn run(&self, bed: &mut Bed<'_>) -> Result<f64> {
        let (arm, size) = (bed.arm(self.by, self.effect())?, self.size());
        let known = if matches!(self.by, Conntrack(_)) { Verdict::Known } else { Verdict::Allowed };
        match self.regime {
            Live => {
                // Flows end while other cases run, so each time they begin anew, in a table where no others are in
                // their way; and are answered, which conntrack waits for before it calls them established.
                bed.forget_flows(arm)?;
                let lap = bed.injector(size, Packets::Flows)?.frames();
                bed.inject(arm, size, Packets::Flows, lap)?;
                if known == Verdict::Known {
                    bed.inject(arm, size, Packets::Answers, lap)?;
                }
                let ns = bed.measure(arm, size, Packets::Flows, COUNT, known)?;
                bed.expect_flows(arm, lap)?;
                Ok(ns)
            }
            New => {
                bed.forget_flows(arm)?;
                bed.measure(arm, size, Packets::Beginnings, NEW_COUNT, Verdict::Allowed)
            }
            Classified => {
                let linear = matches!(self.by, Nft(Linear, _));
                let count = if linear { LINEAR_COUNT } else { COUNT };
                let verdict = match self.by {
                    TcDrop => Verdict::Allowed,
                    NftDrop => Verdict::NoRule,
                    _ => Verdict::Denied,
                };
                bed.measure(arm, size, Packets::Spoken, count, verdict)
            }
            NoRule => bed.measure(arm, size, Packets::Unspoken, COUNT, Verdict::NoRule),
        }
    }
}

/// What each case costs above its floor, round by round. Floors stay.
pub(super) fn above_floors(measured: &[Measured], series: &[Series]) -> Result<Vec<Series>> {
    let floor = |by: By| {
        let found = measured.iter().zip(series).find(|(case, _)| case.is_floor() && case.by == by);
        found.map(|(_, series)| series).context("a case without a floor")
    };
    measured
        .iter()
        .zip(series)
        .map(|(case, series)| match case.is_floor() {
            true => Ok(series.clone()),
            false => series.beside(floor(case.floor())?, case.metric(), |case, floor| case - floor),
        })
        .collect()
}
