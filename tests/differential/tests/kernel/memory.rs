//! The kernel's memory that maps take.

use std::net::{Ipv4Addr, Ipv6Addr};

use aya::util::KernelVersion;
use nexa_differential::policy;
use nexa_gateway::dataplane::{Dataplane, MapMemory, Options, expected_memory};
use nexa_types::{Cidr, DeviceId, PortRange, Protocol, PublicKey, ResourceId, RuleId, UserId, When};
use nexa_wire::snapshot::{Effect, Peer, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

use crate::apply;

/// What docs/performance.md promises for ten thousand devices, on a host with so many possible CPUs.
const fn promised_bytes(cpus: u64) -> u64 {
    (94 + 12 * cpus) << 20
}

/// A device with a rule of its own, for each of ten thousand.
fn snapshot() -> Snapshot {
    let id = |kind: u128, n: u32| Uuid::from_u128(kind << 64 | u128::from(n));
    let mut snapshot =
        Snapshot { network: policy::network(), peers: vec![], resources: vec![], rules: vec![] };
    for n in 0..10_000_u32 {
        let mut key = [9; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let device = DeviceId(id(1, n));
        snapshot.peers.push(Peer {
            device,
            name: format!("device-{n}"),
            user: UserId(id(2, n)),
            owner: String::new(),
            groups: vec![],
            public_key: PublicKey::from_bytes(key).unwrap(),
            v4: Ipv4Addr::from_bits(Ipv4Addr::new(100, 96, 0, 2).to_bits() + n),
            v6: Ipv6Addr::from_bits(
                Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, 2).to_bits() + u128::from(n),
            ),
            expires_at: None,
        });
        let port = u16::try_from(1 + n % 50_000).unwrap();
        let server = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + n);
        snapshot.resources.push(Resource {
            id: ResourceId(id(4, n)),
            name: format!("server-{n}"),
            cidrs: vec![Cidr::host(server.into())],
            devices: vec![],
            traffic: vec![Traffic::new(Protocol::Tcp, PortRange::new(port, port).ok()).unwrap()],
        });
        snapshot.rules.push(Rule {
            id: RuleId(n + 1),
            effect: Effect::Allow,
            who: vec![Subject::Device(device)],
            what: vec![Target::Resource(ResourceId(id(4, n)))],
            when: When::default(),
        });
    }
    snapshot
}

#[test]
fn the_maps_of_ten_thousand_devices_take_the_memory_that_is_stated() {
    let options = Options::default();
    let mut dataplane = Dataplane::open(&options).unwrap();
    apply(&mut dataplane, &snapshot());
    let measured = dataplane.memory().unwrap();
    let cpus = aya::util::nr_cpus().unwrap() as u64;
    // Older kernels say what a full trie would take.
    let is_exact = KernelVersion::current().unwrap() >= KernelVersion::new(6, 4, 0);
    let filled = if is_exact { 11_000 } else { u64::from(options.max_entries) };
    let expected = expected_memory(&options, filled, cpus);
    for (MapMemory { map, bytes }, expected) in measured.iter().zip(&expected) {
        assert_eq!(*map, expected.map);
        assert!(*bytes <= expected.bytes, "{map} takes {bytes} bytes, more than {}", expected.bytes);
        assert!(*bytes > 0, "{map}");
    }
    let sum = |of: &[MapMemory]| of.iter().map(|memory| memory.bytes).sum::<u64>();
    if is_exact {
        let stated = promised_bytes(cpus);
        assert!(sum(&measured) <= stated, "{} of {stated} bytes: {measured:?}", sum(&measured));
        assert!(sum(&expected) < 2 * sum(&measured), "a bound that says little: {expected:?}, {measured:?}");
    }
}
