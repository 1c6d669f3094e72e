//! What this gateway cannot do, found before anything changes. Contradictions of the policy are gateway-core's.

use nexa_types::PublicKey;
use nexa_wire::snapshot::Snapshot;

/// RFC 8200, section 5: no link that carries IPv6 has less.
const SMALLEST_MTU: u16 = 1280;

/// Why a snapshot cannot be served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Infeasible {
    /// IPv6 would not work.
    #[error("an MTU of {0} is below the {SMALLEST_MTU} that IPv6 needs; set the network's MTU to 1420")]
    Mtu(u16),
    /// WireGuard needs a known port.
    #[error("the gateway's endpoint has no port; give it one, such as 51900")]
    NoPort,
    /// A pool of the wrong family.
    #[error("pool_v4 must be an IPv4 prefix and pool_v6 an IPv6 prefix")]
    PoolFamily,
    /// The gateway as its own peer.
    #[error("a device has the public key of this gateway; enrol it with a key pair of its own")]
    OwnKey,
}

/// Checks what the kernel or the tunnel would refuse only after other parts changed.
pub fn check(snapshot: &Snapshot, own: PublicKey) -> Result<(), Infeasible> {
    let network = &snapshot.network;
    if network.mtu < SMALLEST_MTU {
        return Err(Infeasible::Mtu(network.mtu));
    }
    if network.listen_port == 0 {
        return Err(Infeasible::NoPort);
    }
    if !network.pool_v4.net().addr().is_ipv4() || !network.pool_v6.net().addr().is_ipv6() {
        return Err(Infeasible::PoolFamily);
    }
    if snapshot.peers.iter().any(|peer| peer.public_key == own) {
        return Err(Infeasible::OwnKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn refusal(spoil: impl FnOnce(&mut Snapshot)) -> Infeasible {
        let own = PublicKey::from_bytes([9; 32]).unwrap();
        let mut snapshot = fixture::snapshot();
        assert_eq!(check(&snapshot, own), Ok(()));
        spoil(&mut snapshot);
        check(&snapshot, own).unwrap_err()
    }

    #[test]
    fn what_the_tunnel_would_refuse_too_late_is_refused_before() {
        assert_eq!(refusal(|snapshot| snapshot.network.mtu = 1279), Infeasible::Mtu(1279));
        assert_eq!(refusal(|snapshot| snapshot.network.listen_port = 0), Infeasible::NoPort);
        assert_eq!(
            refusal(|snapshot| snapshot.peers[0].public_key = fixture::peer(9).public_key),
            Infeasible::OwnKey
        );
        let swap = |snapshot: &mut Snapshot| snapshot.network.pool_v4 = snapshot.network.pool_v6;
        assert_eq!(refusal(swap), Infeasible::PoolFamily);
    }
}
