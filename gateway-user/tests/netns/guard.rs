//! The nft guard in a real kernel: what it drops when the programs on the tunnel's interface did not speak, and what
//! comes through when they did. A rule of the test's own stands for the programs: it marks UDP port 7000.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::{PATIENCE, Packet, UDP, Wire, in_namespace, nft, run, runtime, try_run, wait_for};
use nexa_gateway::guard::{self, Guard, Spec, State, TunnelAddresses};
use nexa_gateway::net::RulesetEvents;
use nexa_gateway::status::Status;

/// A marked packet sent after the others: when it is through, they would have been.
const MARKED_PORT: u16 = 7000;

fn spec() -> Spec {
    let addresses = TunnelAddresses {
        pool_v4: "100.96.0.0/16".parse().unwrap(),
        pool_v6: "fd6e:7861::/64".parse().unwrap(),
        tunnel_v4: Ipv4Addr::new(100, 96, 0, 1),
        tunnel_v6: "fd6e:7861::1".parse().unwrap(),
        proxy_v4: None,
        proxy_v6: None,
    };
    Spec::new("wg0".parse().unwrap(), Some(addresses))
}

struct Gateway {
    tunnel: Wire,
    lan: Wire,
    guard: Guard,
}

/// A gateway between a tunnel and a LAN, guarded, with a stand-in for the programs.
fn gateway() -> Gateway {
    let guard = Guard::new();
    guard.apply(&spec()).unwrap();
    let tunnel = Wire::up("wg0", &["100.96.0.1/32", "fd6e:7861::1/128"]);
    let lan = Wire::up("lan0", &["10.20.0.1/24", "fd20::1/64"]);
    run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    run("ip route add 100.96.0.0/16 dev wg0");
    run("ip route add fd6e:7861::/64 dev wg0");
    stand_in_for_the_programs();
    Gateway { tunnel, lan, guard }
}

fn stand_in_for_the_programs() {
    nft(&format!(
        "table inet programs {{ chain stand_in {{ type filter hook prerouting priority -400; policy accept;
         iifname wg0 udp dport {MARKED_PORT} meta mark set 0x004e0000
         iifname wg0 udp dport 53 meta mark set 0x004e0000
         iifname wg0 udp dport 9580 meta mark set 0x004e0000
         }}; }}"
    ));
}

const FAMILIES: [(&str, &str, &str); 2] =
    [("100.96.0.2", "10.20.0.10", "10.20.0.1"), ("fd6e:7861::2", "fd20::10", "fd20::1")];

#[test]
fn only_marked_packets_leave_the_tunnel_and_they_leave_with_the_gateway_s_address() {
    in_namespace(|| {
        let mut gateway = gateway();
        for (device, server, gateway_lan) in FAMILIES {
            for port in [80, MARKED_PORT - 1, MARKED_PORT + 1] {
                gateway.tunnel.send(&Packet::udp(device, server, 4000, port).bytes());
            }
            gateway.tunnel.send(&Packet::udp(device, server, 4000, MARKED_PORT).bytes());
            let first = gateway.lan.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
            assert_eq!(first.destination_port, MARKED_PORT, "an unmarked packet came through: {first:?}");
            assert_eq!(first.source, gateway_lan.parse::<std::net::IpAddr>().unwrap());

            gateway.lan.send(&first.reply().bytes());
            let answer = gateway.tunnel.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
            assert_eq!(answer, Packet::udp(server, device, MARKED_PORT, 4000));
        }
    });
}

#[test]
fn the_lan_cannot_begin_towards_devices_nor_reach_the_tunnel_s_addresses_nor_forge_devices() {
    in_namespace(|| {
        let mut gateway = gateway();
        run("nft add table inet seen");
        run("nft add chain inet seen in { type filter hook input priority 100 ; }");
        run("nft add rule inet seen in iifname lan0 ip daddr 100.96.0.1 counter");
        run("nft add rule inet seen in iifname lan0 ip saddr 100.96.0.2 counter");
        for (device, server, _) in FAMILIES {
            gateway.lan.send(&Packet::udp(server, device, 4000, MARKED_PORT).bytes());
        }
        gateway.lan.send(&Packet::udp("10.20.0.10", "100.96.0.1", 4000, 53).bytes());
        gateway.lan.send(&Packet::udp("100.96.0.2", "10.20.0.1", 4000, 53).bytes());
        // Packets of one TUN are handled in order: once this one is answered, those were decided.
        gateway.lan.send(&Packet::udp("10.20.0.10", "10.20.0.1", 4000, 9).bytes());
        let icmp = gateway.lan.receive(PATIENCE, |packet| packet.protocol == 1).expect("port unreachable");
        assert_eq!(icmp.destination, "10.20.0.10".parse::<std::net::IpAddr>().unwrap());
        assert_eq!(gateway.tunnel.receive(Duration::ZERO, |packet| packet.protocol == UDP), None);
        let seen = run("nft list chain inet seen in");
        assert_eq!(seen.matches("packets 0").count(), 2, "{seen}");
    });
}

#[test]
fn from_the_tunnel_only_dns_and_echo_reach_the_gateway_itself_and_metrics_never_do() {
    in_namespace(|| {
        let mut gateway = gateway();
        let bind = |port: u16| std::net::UdpSocket::bind(("0.0.0.0", port)).unwrap();
        let (dns, metrics) = (bind(53), bind(9580));
        for address in ["100.96.0.1", "10.20.0.1"] {
            gateway.tunnel.send(&Packet::udp("100.96.0.2", address, 4000, 9580).bytes());
        }
        gateway.tunnel.send(&Packet::udp("100.96.0.2", "10.20.0.1", 4000, 53).bytes());
        gateway.tunnel.send(&Packet::udp("100.96.0.3", "100.96.0.1", 4000, 53).bytes());
        dns.set_read_timeout(Some(PATIENCE)).unwrap();
        let (_, from) = dns.recv_from(&mut [0; 64]).unwrap();
        assert_eq!(from.to_string(), "100.96.0.3:4000", "only the tunnel's own address serves DNS");
        metrics.set_nonblocking(true).unwrap();
        assert!(metrics.recv_from(&mut [0; 64]).is_err());
        dns.send_to(b"an answer of dns", from).unwrap();
        let answer = gateway.tunnel.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
        assert_eq!((answer.source_port, answer.destination_port), (53, 4000));
    });
}

#[test]
fn when_the_tunnel_s_interface_vanishes_nothing_for_devices_leaves_in_clear() {
    in_namespace(|| {
        let mut gateway = gateway();
        let mut uplink = Wire::up("wan0", &["192.0.2.1/24"]);
        run("ip route add default dev wan0");
        drop(std::mem::replace(&mut gateway.tunnel, Wire::make("other0")));
        wait_for("wg0 is gone", || !try_run("ip link show wg0").0);
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        let _ = socket.send_to(b"for a device", "100.96.0.2:4000");
        gateway.lan.send(&Packet::udp("10.20.0.10", "100.96.0.2", 4000, 4000).bytes());
        gateway.lan.send(&Packet::udp("10.20.0.10", "198.51.100.1", 4000, 4000).bytes());
        let first = uplink.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
        assert_eq!(first.destination, "198.51.100.1".parse::<std::net::IpAddr>().unwrap());
    });
}

#[test]
fn a_flush_of_the_ruleset_is_noticed_repaired_and_counted() {
    in_namespace(|| {
        let runtime = runtime();
        let gateway = gateway();
        let guard = Arc::new(gateway.guard);
        let status = Arc::new(Status::default());
        let events = runtime.block_on(async { RulesetEvents::open() }).unwrap();
        runtime.spawn(guard::watch(Arc::clone(&guard), events, Arc::clone(&status)));
        let intact = run("nft --stateless list table inet nexavpn");
        for (repairs, harm) in [
            (1, "flush ruleset"),
            (2, "delete table inet nexavpn"),
            (3, "flush chain inet nexavpn prerouting"),
            (4, "add chain inet nexavpn stranger"),
            (5, "insert rule inet nexavpn prerouting accept"),
        ] {
            nft(harm);
            wait_for(harm, || status.guard_repairs() >= repairs);
            assert_eq!(run("nft --stateless list table inet nexavpn"), intact, "after {harm}");
            assert_eq!(status.guard_repairs(), repairs, "one repair for {harm}");
        }
        assert_eq!(guard.state().unwrap(), State::Intact);
    });
}

#[test]
fn a_table_of_an_earlier_version_is_replaced() {
    in_namespace(|| {
        nft(
            "table inet nexavpn { chain prerouting { type filter hook prerouting priority 17; policy drop; }; }",
        );
        let guard = Guard::new();
        guard.apply(&spec()).unwrap();
        assert_eq!(guard.state().unwrap(), State::Intact);
        assert!(!run("nft list table inet nexavpn").contains("policy drop"));
    });
}

#[test]
fn replacing_the_guard_under_load_lets_nothing_unmarked_through() {
    in_namespace(|| {
        let mut gateway = gateway();
        let guard = gateway.guard;
        let changes = std::thread::spawn(move || {
            for _ in 0..50 {
                guard.apply(&spec()).unwrap();
            }
        });
        let mut sent = 0;
        while !changes.is_finished() {
            gateway.tunnel.send(&Packet::udp("100.96.0.2", "10.20.0.10", 4000, 80).bytes());
            sent += 1;
        }
        changes.join().unwrap();
        gateway.tunnel.send(&Packet::udp("100.96.0.2", "10.20.0.10", 4000, MARKED_PORT).bytes());
        let first = gateway.lan.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
        assert_eq!(first.destination_port, MARKED_PORT, "one of {sent} came through");
        assert!(sent > 100, "only {sent} packets: no load");
    });
}
