//! Rules of policy routing that look at a packet's mark.

use futures_util::TryStreamExt as _;
use rtnetlink::IpVersion;
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};

use super::link::{Net, NetError, refused};

/// A rule that looks at the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkRule {
    /// Whether it is one of IPv6.
    pub is_v6: bool,
    /// Its place in the order of rules.
    pub priority: u32,
    /// What the masked bits must be.
    pub value: u32,
    /// The bits it looks at.
    pub mask: u32,
}

impl Net {
    /// All rules of this network namespace that look at the mark.
    ///
    /// # Errors
    /// [`NetError::Refused`].
    pub async fn mark_rules(&self) -> Result<Vec<MarkRule>, NetError> {
        let mut found = Vec::new();
        for (version, is_v6) in [(IpVersion::V4, false), (IpVersion::V6, true)] {
            let rules: Vec<_> = self
                .handle
                .rule()
                .get(version)
                .execute()
                .try_collect()
                .await
                .map_err(refused("list routing rules"))?;
            found.extend(rules.iter().filter_map(|rule| mark_rule(rule, is_v6)));
        }
        Ok(found)
    }
}

fn mark_rule(rule: &RuleMessage, is_v6: bool) -> Option<MarkRule> {
    let (mut priority, mut value, mut mask) = (0, None, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(found) => priority = *found,
            RuleAttribute::FwMark(found) => value = Some(*found),
            RuleAttribute::FwMask(found) => mask = Some(*found),
            _ => {}
        }
    }
    // The kernel names a mask for every rule, and leaves a value of 0 out.
    let mask = mask.or(value.map(|_| u32::MAX)).filter(|mask| *mask != 0)?;
    Some(MarkRule { is_v6, priority, value: value.unwrap_or_default(), mask })
}
