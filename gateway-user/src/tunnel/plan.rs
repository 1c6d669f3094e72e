//! In which order peers change.

use std::collections::HashMap;
use std::net::IpAddr;

use nexa_types::PublicKey;
use nexa_wire::snapshot::Peer;

/// The peers of `old` that may stay in the tunnel while policy changes from `old` to `new`; `None` if all may.
///
/// The programs know a device by its address. While one address passes from one key to another, the old key must be
/// gone from the tunnel before the new device's policy is in force, or it would be served under that policy.
/// Otherwise policy changes first: a removed peer loses in the kernel, and a new one finds its policy in place.
pub fn without_moved_addresses(old: &[Peer], new: &[Peer]) -> Option<Vec<Peer>> {
    let owner: HashMap<IpAddr, PublicKey> =
        new.iter().flat_map(|peer| peer.addresses().map(|address| (address, peer.public_key))).collect();
    let keeps_its_own = |peer: &&Peer| {
        peer.addresses().iter().all(|address| owner.get(address).is_none_or(|key| *key == peer.public_key))
    };
    let kept: Vec<_> = old.iter().filter(keeps_its_own).cloned().collect();
    (kept.len() < old.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::peer;

    #[test]
    fn additions_and_removals_leave_the_others_alone() {
        assert_eq!(without_moved_addresses(&[peer(2), peer(3)], &[peer(3), peer(4)]), None);
        assert_eq!(without_moved_addresses(&[], &[peer(2)]), None);
        assert_eq!(without_moved_addresses(&[peer(2)], &[]), None);
    }

    #[test]
    fn a_key_that_loses_its_address_to_another_leaves_the_tunnel_first() {
        let mut heir = peer(4);
        heir.v6 = peer(2).v6;
        assert_eq!(without_moved_addresses(&[peer(2), peer(3)], &[peer(3), heir]), Some(vec![peer(3)]));
    }

    #[test]
    fn a_device_with_a_new_key_loses_the_old_one_first() {
        let mut rekeyed = peer(2);
        rekeyed.public_key = peer(9).public_key;
        assert_eq!(without_moved_addresses(&[peer(2)], &[rekeyed]), Some(vec![]));
    }
}
