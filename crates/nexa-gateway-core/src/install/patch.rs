//! A change of one device, made in the bank that is live.
//!
//! A bank takes the place of another by one store, and so may one word of a profile: no program sees half of either. So a
//! policy that differs from the one in force in one word needs no other bank, no grace period before the next, and no
//! profile of any other device. A device that comes needs several words, and goes by the swap of banks.

use nexa_abi::layout::{MAX_PEERS, Profile};

use super::Patch;

/// What makes one bank out of another, at most one patch, with the index of whom it is for. None where it takes more. Both
/// are in order of their positions.
pub fn between(before: &[(u32, Profile)], after: &[(u32, Profile)]) -> Option<Option<(u32, Patch)>> {
    let mut only = None;
    let mut after = after.iter().peekable();
    for (position, before) in before {
        let index = position % MAX_PEERS;
        let now = after.next_if(|(position, _)| position % MAX_PEERS == index);
        let patch = match now {
            None => Patch::Gone,
            Some((_, now)) if now == before => continue,
            Some((_, now)) => of_one(before, now)?,
        };
        if only.replace((index, patch)).is_some() {
            return None;
        }
    }
    // Whoever is left has come.
    after.next().is_none().then_some(only)
}

/// The one word that makes one profile out of another.
fn of_one(before: &Profile, after: &Profile) -> Option<Patch> {
    let Profile { shared, own, lease_until_ns, .. } = *after;
    let candidates = [
        (Profile { lease_until_ns, ..*before }, Patch::Lease(lease_until_ns)),
        (Profile { shared, ..*before }, Patch::Shared(shared)),
        (Profile { own, ..*before }, Patch::Own(own)),
    ];
    candidates.into_iter().find(|(patched, _)| patched == after).map(|(_, patch)| patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank(number: u32, peers: &[(u32, u32, u32, u64)]) -> Vec<(u32, Profile)> {
        let profile = |&(peer, shared, own, lease_until_ns)| {
            (number * MAX_PEERS + peer, Profile { peer, shared, own, epoch: 7, lease_until_ns })
        };
        peers.iter().map(profile).collect()
    }

    #[test]
    fn one_word_of_one_device_is_a_patch_and_more_is_not() {
        let before = bank(0, &[(0, 1, 2, 9), (3, 1, 4, 9), (5, 1, 0, 9)]);
        let after = |peers: &[_]| between(&before, &bank(1, peers));
        assert_eq!(after(&[(0, 1, 2, 9), (3, 1, 4, 9), (5, 1, 0, 9)]), Some(None));
        assert_eq!(after(&[(0, 1, 2, 9), (5, 1, 0, 9)]), Some(Some((3, Patch::Gone))));
        assert_eq!(after(&[(0, 1, 2, 9), (3, 1, 4, 9)]), Some(Some((5, Patch::Gone))));
        assert_eq!(after(&[(0, 1, 2, 9), (3, 1, 8, 9), (5, 1, 0, 9)]), Some(Some((3, Patch::Own(8)))));
        assert_eq!(after(&[(0, 6, 2, 9), (3, 1, 4, 9), (5, 1, 0, 9)]), Some(Some((0, Patch::Shared(6)))));
        assert_eq!(after(&[(0, 1, 2, 9), (3, 1, 4, 9), (5, 1, 0, 3)]), Some(Some((5, Patch::Lease(3)))));
        for more in [
            &[(0, 1, 2, 9), (3, 5, 8, 9), (5, 1, 0, 9)][..],
            &[(0, 1, 2, 9), (5, 1, 1, 9)],
            &[(0, 1, 2, 9)],
            &[(0, 1, 2, 9), (3, 1, 4, 9), (4, 1, 0, 9), (5, 1, 0, 9)],
            &[(0, 1, 2, 9), (3, 1, 4, 9), (5, 1, 0, 9), (6, 1, 0, 9)],
            &[(0, 1, 2, 9), (3, 1, 4, 9), (6, 1, 0, 9)],
        ] {
            assert_eq!(after(more), None, "{more:?}");
        }
    }
}
