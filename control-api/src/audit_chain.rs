//! The chain that makes the audit log tamper-evident: each entry's hash covers the entry and the hash before it.
//!
//! The hash of an entry is SHA-256 over the 32 bytes of the hash before it (zeros before the first), followed by the
//! entry as compact JSON without its own hash: `{"position":1,"id":1,"at":…}`, members in the order of
//! [`AuditEvent`], those inside `before` and `after` sorted by name. There is no secret in it: whoever can rewrite the
//! whole log can hash it anew, and is found out by an [`Anchor`] that was kept elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::AuditEvent;

/// SHA-256 of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What is before the first entry.
    pub const START: Self = Self([0; 32]);
}

/// One entry of the chain, as it is exported: one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Counts from 1, without gaps.
    pub position: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// The hash that covers this entry and all before it.
    pub hash: Hash,
}

/// Where a chain was known to be: kept elsewhere, it proves later that nothing up to there was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Position of the entry; 0 for a chain without entries.
    pub position: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Where a chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry does not fit its hash, or the one before it.
    #[error("entry {position} was changed, or one before it: its hash is not {hash}")]
    Changed {
        /// The entry's position.
        position: i64,
        /// The hash that is written there.
        hash: Hash,
    },
    /// An entry is missing.
    #[error("entry {expected} is missing: entry {found} follows on entry {}", expected - 1)]
    Missing {
        /// What should come.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// The end is missing.
    #[error("the end is missing: the chain went to entry {expected}, and ends with entry {found}")]
    CutOff {
        /// Where it should end.
        expected: i64,
        /// Where it ends.
        found: i64,
    },
    /// The chain was made anew: it is whole, but not the one that was known.
    #[error("this is not the chain that was known: entry {} had the hash {}", .0.position, .0.hash)]
    Rewritten(Anchor),
}

/// Follows a chain, entry by entry.
pub struct Follower {
    last: Anchor,
    known: Option<Anchor>,
}

/// The hash of an entry after the one with the hash `before`.
pub fn hash(before: &Hash, position: i64, event: &AuditEvent) -> Hash {
    #[derive(Serialize)]
    struct Covered<'a> {
        position: i64,
        #[serde(flatten)]
        event: &'a AuditEvent,
    }
    let covered = serde_json::to_vec(&Covered { position, event });
    let covered = covered.expect("an event has string keys, so it is JSON");
    Hash(Sha256::new().chain_update(before.0).chain_update(covered).finalize().into())
}

impl Follower {
    /// Begins before the first entry; `known` is where the chain must pass.
    pub fn new(known: Option<Anchor>) -> Self {
        Self { last: Anchor { position: 0, hash: Hash::START }, known }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`Broken`], where it does not follow on the one before.
    pub fn follow(&mut self, link: &Link) -> Result<(), Broken> {
        let expected = self.last.position + 1;
        if link.position != expected {
            return Err(Broken::Missing { expected, found: link.position });
        }
        if hash(&self.last.hash, link.position, &link.event) != link.hash {
            return Err(Broken::Changed { position: link.position, hash: link.hash });
        }
        self.last = Anchor { position: link.position, hash: link.hash };
        match self.known {
            Some(known) if known.position == link.position && known.hash != link.hash => {
                Err(Broken::Rewritten(known))
            }
            _ => Ok(()),
        }
    }

    /// Ends the chain; gives its last entry.
    ///
    /// # Errors
    /// [`Broken::CutOff`], where it ends before the entry that was known.
    pub fn end(self) -> Result<Anchor, Broken> {
        let found = self.last.position;
        match self.known {
            Some(known) if known.position > found => Err(Broken::CutOff { expected: known.position, found }),
            _ => Ok(self.last),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a hash is 64 digits of 0-9 and a-f";
        let lower = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(lower) {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "POSITION:HASH, as `nexa-control audit verify` prints it";
        let (position, hash) = text.split_once(':').ok_or(wrong)?;
        let position = position.parse().ok().filter(|position| *position >= 0).ok_or(wrong)?;
        Ok(Self { position, hash: hash.parse().map_err(|_| wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use serde_json::json;

    use super::*;
    use crate::model::{Actor, ActorKind};

    fn chain(length: i64) -> Vec<Link> {
        let mut before = Hash::START;
        let link = |position: i64| {
            let event = AuditEvent {
                id: 10 + position,
                at: DateTime::UNIX_EPOCH + TimeDelta::microseconds(1_700_000_000_123_456),
                actor: Actor {
                    kind: ActorKind::User,
                    id: Some(uuid::Uuid::from_u128(7)),
                    name: "Zoë".into(),
                    address: Some("2001:db8::1".parse().unwrap()),
                    token: None,
                },
                action: "rule.update".into(),
                target_kind: "rule".into(),
                target_id: "17".into(),
                before: Some(json!({ "note": "", "enabled": true })),
                after: None,
            };
            let hash = hash(&before, position, &event);
            before = hash;
            Link { position, event, hash }
        };
        (1..=length).map(link).collect()
    }

    fn follow(links: &[Link], known: Option<Anchor>) -> Result<Anchor, Broken> {
        let mut follower = Follower::new(known);
        links.iter().try_for_each(|link| follower.follow(link))?;
        follower.end()
    }

    /// Chains that are stored must verify for ever: this text and hash never change.
    #[test]
    fn the_encoding_is_what_it_was() {
        let link = chain(1).remove(0);
        let line = serde_json::to_string(&link).unwrap();
        assert_eq!(
            line,
            r#"{"position":1,"id":11,"at":"2023-11-14T22:13:20.123456Z","actor":{"kind":"user","id":"00000000-0000-0000-0000-000000000007","name":"Zoë","address":"2001:db8::1"},"action":"rule.update","target_kind":"rule","target_id":"17","before":{"enabled":true,"note":""},"after":null,"hash":"HASH"}"#
                .replace("HASH", &link.hash.to_string())
        );
        assert_eq!(link.hash.to_string(), "4ebec0a0c9f3d606d305a11e40a4a54e508c271f72f910a0ca5151da8d6fbd3a");
        assert_eq!(serde_json::from_str::<Link>(&line).unwrap(), link);
    }

    #[test]
    fn a_whole_chain_ends_with_its_last_entry() {
        let links = chain(3);
        let end = Anchor { position: 3, hash: links[2].hash };
        assert_eq!(follow(&links, None), Ok(end));
        assert_eq!(follow(&links, Some(end)), Ok(end));
        assert_eq!(follow(&[], None), Ok(Anchor { position: 0, hash: Hash::START }));
        assert_eq!(end.to_string().parse(), Ok(end));
    }

    #[test]
    fn an_entry_that_is_changed_missing_or_moved_breaks_it() {
        let changed = |change: fn(&mut Vec<Link>)| {
            let mut links = chain(4);
            change(&mut links);
            follow(&links, None).unwrap_err()
        };
        assert!(matches!(changed(|links| links[1].event.id += 1), Broken::Changed { position: 2, .. }));
        assert!(matches!(changed(|links| links[1].event.actor.address = None), Broken::Changed { .. }));
        assert!(matches!(changed(|links| links[1].event.after = Some(json!({}))), Broken::Changed { .. }));
        assert!(matches!(changed(|links| links[1].hash = Hash::START), Broken::Changed { position: 2, .. }));
        assert_eq!(changed(|links| drop(links.remove(1))), Broken::Missing { expected: 2, found: 3 });
        assert_eq!(changed(|links| drop(links.remove(0))), Broken::Missing { expected: 1, found: 2 });
        assert_eq!(changed(|links| links.swap(1, 2)), Broken::Missing { expected: 2, found: 3 });
        // Numbered anew, it is the hash that tells.
        let renumbered = changed(|links| {
            drop(links.remove(1));
            links[1].position = 2;
        });
        assert!(matches!(renumbered, Broken::Changed { position: 2, .. }));
    }

    #[test]
    fn an_anchor_finds_a_chain_that_was_cut_off_or_made_anew() {
        let links = chain(4);
        let known = Anchor { position: 4, hash: links[3].hash };
        assert_eq!(follow(&links[..3], Some(known)), Err(Broken::CutOff { expected: 4, found: 3 }));
        let other = Anchor { position: 2, hash: links[2].hash };
        assert_eq!(follow(&links, Some(other)), Err(Broken::Rewritten(other)));
    }

    #[test]
    fn what_is_no_anchor_is_refused() {
        for text in [
            "",
            "3",
            "3:",
            ":aa",
            "-1:aa",
            &format!("3:{}", "A".repeat(64)),
            &format!("x:{}", "a".repeat(64)),
        ] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }
}
