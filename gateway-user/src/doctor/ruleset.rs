//! Everybody's nft tables, read from `nft --json list ruleset` (libnftables-json(5)).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::guard;

/// Tables of others: ours is left out.
#[derive(Debug, Default)]
pub struct Ruleset {
    /// In the order of the ruleset.
    pub base_chains: Vec<Base>,
    rules: BTreeMap<Chain, Vec<Value>>,
}

/// A chain by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// `ip`, `ip6` or `inet`; others never see packets of the tunnel.
    pub family: String,
    /// The table's name.
    pub table: String,
    /// The chain's own.
    pub name: String,
}

/// A chain that the kernel itself calls.
#[derive(Clone, Debug)]
pub struct Base {
    /// Which.
    pub chain: Chain,
    /// Where packets meet it.
    pub hook: String,
    /// Whether what no rule decides is dropped.
    pub drops_by_policy: bool,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

impl Ruleset {
    /// Reads nft's JSON; `None` if it has another shape.
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let mut ruleset = Self::default();
        for object in value["nftables"].as_array()? {
            if let Some(chain) = object.get("chain") {
                ruleset.take_chain(chain);
            } else if let Some(rule) = object.get("rule") {
                ruleset.take_rule(rule);
            }
        }
        Some(ruleset)
    }

    /// The expressions of a chain's rules, in order.
    pub fn rules(&self, chain: &Chain) -> &[Value] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }

    /// All chains with rules.
    pub fn chains(&self) -> impl Iterator<Item = (&Chain, &[Value])> {
        self.rules.iter().map(|(chain, rules)| (chain, rules.as_slice()))
    }

    /// Whether a table has a chain.
    pub fn has(&self, family: &str, table: &str, name: &str) -> bool {
        let wanted = Chain { family: family.to_owned(), table: table.to_owned(), name: name.to_owned() };
        self.rules.contains_key(&wanted)
    }

    fn take_chain(&mut self, value: &Value) {
        let Some(chain) = chain_of(value, "name") else { return };
        self.rules.entry(chain.clone()).or_default();
        if let Some(hook) = value["hook"].as_str() {
            let drops_by_policy = value["policy"] == "drop";
            self.base_chains.push(Base { chain, hook: hook.to_owned(), drops_by_policy });
        }
    }

    fn take_rule(&mut self, value: &Value) {
        if let Some(chain) = chain_of(value, "chain") {
            self.rules.entry(chain).or_default().push(value["expr"].clone());
        }
    }
}

fn chain_of(value: &Value, name: &str) -> Option<Chain> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let chain = Chain { family: text("family")?, table: text("table")?, name: text(name)? };
    let is_ours = chain.family == "inet" && chain.table == guard::TABLE;
    let meets_tunnel = matches!(chain.family.as_str(), "ip" | "ip6" | "inet");
    (meets_tunnel && !is_ours).then_some(chain)
}
