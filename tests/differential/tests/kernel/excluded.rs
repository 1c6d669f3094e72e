//! What no range of a resource covers, and why it is said to be refused.

use std::net::IpAddr;

use nexa_differential::craft::{end, udp};
use nexa_differential::policy;
use nexa_gateway::dataplane::INGRESS;
use nexa_gateway_core::lower;
use nexa_gateway_core::model::exclusion;
use nexa_wire::local::Exclusion;
use nexa_wire::snapshot::Snapshot;

use crate::flows::granted;
use crate::{Answer, flat, open, run};

/// Every address of every family, to who may reach it.
fn everywhere() -> Snapshot {
    let mut snapshot = granted();
    snapshot.resources[0].cidrs = ["0.0.0.0/0", "::/0"].map(|cidr| cidr.parse().unwrap()).to_vec();
    snapshot
}

#[test]
fn what_a_resource_of_everything_does_not_cover_is_refused_for_that_reason_and_nothing_else_is() {
    let local = ["100.96.0.1", "fd6e:7861::1", "192.0.2.7", "2001:db8::7"].map(|text| text.parse().unwrap());
    let mut dataplane = open();
    let lowered = lower(&everywhere(), &local, policy::at()).unwrap();
    dataplane.apply(&lowered, policy::at() + chrono::TimeDelta::days(1)).unwrap();
    for (destination, what) in [
        ("0.1.2.3", Some(Exclusion::Unspecified)),
        ("127.0.0.1", Some(Exclusion::Loopback)),
        ("169.254.169.254", Some(Exclusion::Metadata)),
        ("169.254.0.1", Some(Exclusion::LinkLocal)),
        ("224.0.0.251", Some(Exclusion::Multicast)),
        ("255.255.255.255", Some(Exclusion::Reserved)),
        ("100.96.0.1", Some(Exclusion::Gateway)),
        ("192.0.2.7", Some(Exclusion::Gateway)),
        ("100.96.255.255", Some(Exclusion::TunnelPool)),
        ("192.0.2.8", None),
        ("1.0.0.0", None),
        ("223.255.255.255", None),
        ("100.97.0.0", None),
        ("::", Some(Exclusion::Unspecified)),
        ("::1", Some(Exclusion::Loopback)),
        ("::ffff:10.20.0.10", Some(Exclusion::MappedV4)),
        ("fe80::1", Some(Exclusion::LinkLocal)),
        ("fd00:ec2::254", Some(Exclusion::Metadata)),
        ("ff02::1", Some(Exclusion::Multicast)),
        ("fd6e:7861::1", Some(Exclusion::Gateway)),
        ("2001:db8::7", Some(Exclusion::Gateway)),
        ("fd6e:7861::3", Some(Exclusion::TunnelPool)),
        ("2001:db8::8", None),
        ("::2", None),
    ] {
        let address: IpAddr = destination.parse().unwrap();
        assert_eq!(exclusion(&policy::network(), &local, address), what, "{destination}");
        let source = if address.is_ipv4() { "100.96.0.2" } else { "fd6e:7861::2" };
        // A port that the tunnel's own services do not have.
        for (port, speaks) in [(53, true), (54, false)] {
            if port == 53 && ["100.96.0.1", "fd6e:7861::1"].contains(&destination) {
                continue;
            }
            let before = flat(&dataplane.counters().unwrap());
            let answer = run(&dataplane, INGRESS, &udp(end(source, 40_000), end(destination, port)));
            let after = flat(&dataplane.counters().unwrap());
            let moved = |name: &str| after.get(name) != before.get(name);
            let expected = if what.is_none() && speaks { Answer::Pass } else { Answer::Drop };
            assert_eq!(answer, expected, "{destination} {port}");
            assert_eq!(moved("ingress excluded"), what.is_some(), "{destination} {port}: {after:?}");
            assert_eq!(
                moved("ingress no_rule"),
                what.is_none() && !speaks,
                "{destination} {port}: {after:?}"
            );
        }
    }
}
