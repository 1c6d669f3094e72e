//! Who else uses the bits of the mark that say "the program let this packet in".

use nexa_abi::{MARK_ALLOWED, MARK_MASK};
use nexa_wire::doctor::Finding;
use serde_json::Value;

use super::ruleset::{Chain, Ruleset};
use super::walk::{Direction, Holds, Packets, holds};
use crate::config::InterfaceName;
use crate::net::{MarkRule, Net};

pub const NFT_CHECK: &str = "mark-clash";
pub const NFT_TITLE: &str = "packet mark";
const RULE_CHECK: &str = "mark-rule";
const RULE_TITLE: &str = "routing by mark";

/// Rules of nft that write or read our bits of packets from the tunnel.
pub fn in_tables(ruleset: &Ruleset, interface: &InterfaceName) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (chain, rules) in ruleset.chains() {
        for (index, rule) in rules.iter().enumerate() {
            let expressions = rule.as_array().map_or(&[][..], Vec::as_slice);
            // Packets into the tunnel have been judged by then; only those out of it carry the mark.
            let met =
                holds(expressions, Packets { interface: interface.as_str(), direction: Direction::Out });
            if met == Holds::No {
                continue;
            }
            let place = format!("rule {} of chain {chain}", index + 1);
            let written = expressions.iter().map(written_bits).fold(0, std::ops::BitOr::bitor);
            let read = expressions.iter().map(read_bits).fold(0, std::ops::BitOr::bitor);
            if written & MARK_MASK != 0 {
                findings.push(clash(&place, "writes", written, met, chain));
            } else if read & MARK_MASK != 0 {
                findings.push(clash(&place, "looks at", read, Holds::Open, chain));
            }
        }
    }
    if findings.is_empty() {
        let found = format!("nobody else uses its bits {MARK_MASK:#010x}");
        findings.push(Finding::ok(NFT_CHECK, NFT_TITLE, found));
    }
    findings
}

fn clash(place: &str, verb: &str, bits: u32, met: Holds, chain: &Chain) -> Finding {
    let found = format!("{place} {verb} bits {bits:#010x}, of which {:#010x} are ours", bits & MARK_MASK);
    let remedy = format!(
        "nft -a list chain {chain}   # change that rule to keep off {MARK_MASK:#010x}: `meta mark set mark and \
         {:#010x} or …`, `meta mark and {:#010x} == …`",
        MARK_MASK | !bits,
        !MARK_MASK
    );
    if met == Holds::Yes {
        Finding::problem(NFT_CHECK, NFT_TITLE, found, remedy)
    } else {
        Finding::warning(NFT_CHECK, NFT_TITLE, found, remedy)
    }
}

/// The bits of the packet's mark that a statement may change.
fn written_bits(expression: &Value) -> u32 {
    let mangle = &expression["mangle"];
    if !is_mark(&mangle["key"]) {
        return 0;
    }
    changed(&mangle["value"])
}

/// What an expression over the mark does not carry over unchanged.
fn changed(value: &Value) -> u32 {
    if is_mark(value) {
        return 0;
    }
    let operation = |name: &str| {
        let operands = value[name].as_array()?;
        Some((operands.first()?, operands.get(1)?.as_u64().and_then(|bits| u32::try_from(bits).ok())?))
    };
    if let Some((inner, bits)) = operation("&") {
        return changed(inner) | !bits;
    }
    for name in ["|", "^"] {
        if let Some((inner, bits)) = operation(name) {
            return changed(inner) | bits;
        }
    }
    u32::MAX
}

/// The bits of the packet's mark that a match depends on.
fn read_bits(expression: &Value) -> u32 {
    let left = &expression["match"]["left"];
    if is_mark(left) {
        return u32::MAX;
    }
    let Some(operands) = left["&"].as_array() else { return 0 };
    match operands.as_slice() {
        [inner, mask] if is_mark(inner) => {
            mask.as_u64().and_then(|mask| u32::try_from(mask).ok()).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

fn is_mark(value: &Value) -> bool {
    value["meta"]["key"] == "mark"
}

/// Routing rules that look at our bits.
pub async fn in_rules(net: &Net) -> Vec<Finding> {
    let rules = match net.mark_rules().await {
        Ok(rules) => rules,
        Err(error) => return vec![Finding::skipped(RULE_CHECK, RULE_TITLE, error.to_string())],
    };
    let clashing: Vec<_> = rules.iter().filter(|rule| rule.mask & MARK_MASK != 0).map(rule_clash).collect();
    if clashing.is_empty() {
        return vec![Finding::ok(RULE_CHECK, RULE_TITLE, format!("no rule looks at bits {MARK_MASK:#010x}"))];
    }
    clashing
}

fn rule_clash(rule: &MarkRule) -> Finding {
    let MarkRule { priority, value, mask, is_v6 } = *rule;
    let ip = if is_v6 { "ip -6" } else { "ip" };
    let found =
        format!("rule {priority} of `{ip} rule` looks at mark {value:#x}/{mask:#x}, which has our bits");
    let remedy = format!(
        "{ip} rule list priority {priority}   # add it again with fwmark {:#x}/{:#x}, then:\n\
         {ip} rule delete priority {priority} fwmark {value:#x}/{mask:#x}",
        value & !MARK_MASK,
        mask & !MARK_MASK
    );
    // What the program lets in would be routed by this rule.
    if (value ^ MARK_ALLOWED) & mask & MARK_MASK == 0 {
        Finding::problem(RULE_CHECK, RULE_TITLE, found, remedy)
    } else {
        Finding::warning(RULE_CHECK, RULE_TITLE, found, remedy)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bits_that_a_statement_changes_are_known() {
        let mark = json!({ "meta": { "key": "mark" } });
        let set = |value: Value| written_bits(&json!({ "mangle": { "key": mark, "value": value } }));
        assert_eq!(set(json!(1)), u32::MAX);
        assert_eq!(set(json!({ "ct": { "key": "mark" } })), u32::MAX);
        assert_eq!(set(json!({ "|": [mark, 0x4000] })), 0x4000);
        assert_eq!(set(json!({ "|": [{ "&": [mark, 0xffff_00ff_u32] }, 0x100] })), 0xff00);
        assert_eq!(set(json!({ "^": [mark, 0x8000] })), 0x8000);
        let ct = json!({ "mangle": { "key": { "ct": { "key": "mark" } }, "value": 5 } });
        assert_eq!(written_bits(&ct), 0, "another mark");
    }

    #[test]
    fn the_bits_that_a_match_looks_at_are_known() {
        let mark = json!({ "meta": { "key": "mark" } });
        let matching = |left: Value| read_bits(&json!({ "match": { "op": "==", "left": left, "right": 1 } }));
        assert_eq!(matching(mark.clone()), u32::MAX);
        assert_eq!(matching(json!({ "&": [mark, 0xff] })), 0xff);
        assert_eq!(matching(json!({ "meta": { "key": "iifname" } })), 0);
    }
}
