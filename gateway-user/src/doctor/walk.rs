//! What a chain does to packets of the tunnel, as far as that can be told without a packet.
//!
//! A match is true, false, or open: it depends on more of the packet than its interface and its connection's state. An
//! open match lets the rule's verdict happen or not; so an open drop is worth a warning, and only what is dropped
//! whatever else the packet holds is a problem.
//!
//! Rules of iptables with a match of its own (`-m conntrack`) come as `xt`, which nft does not translate. An accept
//! that depends on nothing else is given the benefit of the doubt: for answers it is the one for established
//! connections, which every firewall has.

use serde_json::Value;

use super::ruleset::{Base, Chain, Ruleset};

/// The packets that are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a> {
    /// The tunnel's interface.
    pub interface: &'a str,
    /// Which way they go.
    pub direction: Direction,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the tunnel to elsewhere, the first of a connection.
    Out,
    /// From elsewhere into the tunnel: answers only, all else is dropped by our own guard.
    Back,
}

/// What becomes of the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No rule drops them.
    Passes,
    /// Rules in these chains drop some of them.
    SomeDrop(Vec<String>),
    /// They are dropped: where, and by what.
    Drops(String),
}

/// Whether a match holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// For none of the packets.
    No,
    /// For some, maybe.
    Open,
    /// For all of them.
    Yes,
}

/// What a base chain does to packets.
pub fn fate(ruleset: &Ruleset, base: &Base, packets: Packets<'_>) -> Fate {
    let mut walk = Walk { ruleset, packets, open_drops: Vec::new(), opaque_accept: false, depth: 0 };
    let dropped = match walk.chain(&base.chain) {
        Ended::Dropped(place) => Some(place),
        Ended::Returned if base.drops_by_policy => Some(format!("chain {} (policy drop)", base.chain)),
        Ended::Accepted | Ended::Returned => None,
    };
    match dropped {
        Some(place) if !walk.opaque_accept => return Fate::Drops(place),
        Some(place) if packets.direction == Direction::Out => walk.note(place),
        _ => {}
    }
    if walk.open_drops.is_empty() { Fate::Passes } else { Fate::SomeDrop(walk.open_drops) }
}

/// Whether all matches of a rule hold, up to a statement.
pub fn holds(expressions: &[Value], packets: Packets<'_>) -> Holds {
    let holds = expressions.iter().map(|expression| packets.holds(expression)).min().unwrap_or(Holds::Yes);
    let is_opaque = expressions.iter().any(|expression| expression.get("xt").is_some());
    if is_opaque { holds.min(Holds::Open) } else { holds }
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packets: Packets<'a>,
    open_drops: Vec<String>,
    /// Whether an accept depends on nothing but what nft does not translate.
    opaque_accept: bool,
    depth: u8,
}

enum Ended {
    Accepted,
    Dropped(String),
    Returned,
}

/// As deep as the kernel lets jumps go.
const DEEPEST: u8 = 16;

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain) -> Ended {
        if self.depth == DEEPEST {
            return Ended::Returned;
        }
        self.depth += 1;
        let ended = self.rules(chain);
        self.depth -= 1;
        ended
    }

    fn rules(&mut self, chain: &Chain) -> Ended {
        let ruleset = self.ruleset;
        for rule in ruleset.rules(chain) {
            let expressions = rule.as_array().map_or(&[][..], Vec::as_slice);
            let mut so_far = Holds::Yes;
            let is_opaque = expressions.iter().any(|expression| expression.get("xt").is_some());
            for expression in expressions {
                so_far = so_far.min(self.packets.holds(expression));
                if so_far == Holds::No {
                    break;
                }
                let (verdict, certain) = match expression.get("vmap") {
                    Some(vmap) => self.packets.pick(vmap),
                    None => (Some(expression), Holds::Yes),
                };
                let Some(verdict) = verdict else { continue };
                let certain = so_far.min(certain);
                if is_opaque && certain == Holds::Yes && verdict.get("accept").is_some() {
                    self.opaque_accept = true;
                }
                let certain = if is_opaque { certain.min(Holds::Open) } else { certain };
                match self.verdict(verdict, certain, chain) {
                    Some(Ended::Returned) => return Ended::Returned,
                    Some(ended) => return ended,
                    None => {}
                }
            }
        }
        Ended::Returned
    }

    /// How a verdict ends the chain, if it certainly does.
    fn verdict(&mut self, verdict: &Value, holds: Holds, chain: &Chain) -> Option<Ended> {
        let certainly = holds == Holds::Yes;
        if verdict.get("accept").is_some() {
            return certainly.then_some(Ended::Accepted);
        }
        if verdict.get("return").is_some() {
            return certainly.then_some(Ended::Returned);
        }
        for word in ["drop", "reject"] {
            if verdict.get(word).is_some() {
                let place = format!("chain {chain} ({word})");
                if certainly {
                    return Some(Ended::Dropped(place));
                }
                self.note(place);
                return None;
            }
        }
        for (word, comes_back) in [("jump", true), ("goto", false)] {
            let Some(target) = verdict[word]["target"].as_str() else { continue };
            let target = Chain { name: target.to_owned(), ..chain.clone() };
            let opaque_accept = self.opaque_accept;
            let ended = self.chain(&target);
            if !certainly {
                self.opaque_accept = opaque_accept;
            }
            return match ended {
                Ended::Dropped(place) if !certainly => {
                    self.note(place);
                    None
                }
                Ended::Returned if comes_back => None,
                ended => certainly.then_some(ended),
            };
        }
        None
    }

    fn note(&mut self, place: String) {
        if !self.open_drops.contains(&place) {
            self.open_drops.push(place);
        }
    }
}

impl Packets<'_> {
    fn holds(self, expression: &Value) -> Holds {
        if expression.get("limit").is_some() {
            return Holds::Open;
        }
        let Some(comparison) = expression.get("match") else { return Holds::Yes };
        let found = self.compare(&comparison["left"], &comparison["right"]);
        match (comparison["op"].as_str(), found) {
            (Some("==" | "in"), found) => found,
            (Some("!="), Holds::Yes) => Holds::No,
            (Some("!="), Holds::No) => Holds::Yes,
            _ => Holds::Open,
        }
    }

    fn compare(self, left: &Value, right: &Value) -> Holds {
        let any = |test: &dyn Fn(&Value) -> Holds| {
            let many = right.get("set").unwrap_or(right).as_array();
            match many {
                Some(values) => values.iter().map(test).max().unwrap_or(Holds::No),
                None => test(right),
            }
        };
        match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
            (Some("iifname" | "iif"), _) => any(&|name| self.comes_from(name)),
            (Some("oifname" | "oif"), _) => any(&|name| self.goes_to(name)),
            (_, Some("state")) => any(&|state| self.is_in(state)),
            _ => Holds::Open,
        }
    }

    fn comes_from(self, name: &Value) -> Holds {
        match self.direction {
            Direction::Out => self.is_tunnel(name),
            Direction::Back => self.is_elsewhere(name),
        }
    }

    fn goes_to(self, name: &Value) -> Holds {
        match self.direction {
            Direction::Out => self.is_elsewhere(name),
            Direction::Back => self.is_tunnel(name),
        }
    }

    fn is_tunnel(self, name: &Value) -> Holds {
        match name.as_str() {
            None => Holds::Open,
            Some(name) => match name.strip_suffix('*') {
                Some(start) if self.interface.starts_with(start) => Holds::Yes,
                None if name == self.interface => Holds::Yes,
                _ => Holds::No,
            },
        }
    }

    /// Of the other interface only one thing is known: it is not the tunnel's.
    fn is_elsewhere(self, name: &Value) -> Holds {
        match name.as_str() {
            Some(name) if name == self.interface => Holds::No,
            _ => Holds::Open,
        }
    }

    fn is_in(self, state: &Value) -> Holds {
        let wanted = match self.direction {
            Direction::Out => "new",
            Direction::Back => "established",
        };
        match state.as_str() {
            Some(state) if state == wanted => Holds::Yes,
            Some(_) => Holds::No,
            None => Holds::Open,
        }
    }

    /// The verdict that a map has for the packets, where only they decide; its drops otherwise.
    fn pick(self, vmap: &Value) -> (Option<&Value>, Holds) {
        let Some(elements) = vmap["data"]["set"].as_array() else { return (None, Holds::Open) };
        let mut open = None;
        for element in elements {
            match self.compare(&vmap["key"], &element[0]) {
                Holds::Yes => return (Some(&element[1]), Holds::Yes),
                Holds::Open => open = open.or(Some(&element[1])),
                Holds::No => {}
            }
        }
        (open, Holds::Open)
    }
}
