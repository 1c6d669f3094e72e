//! Addresses, routes and settings of the tunnel's interface in a real kernel.

use nexa_gateway::net::{HostSettings, Net};
use nexa_wire::snapshot::Network;

use super::lab::{Wire, in_namespace, run, runtime, try_run};

fn network() -> Network {
    let snapshot: nexa_wire::snapshot::Snapshot =
        serde_json::from_str(include_str!("../../../crates/nexa-wire/tests/snapshot-v1.json")).unwrap();
    snapshot.network
}

fn words(command: &str) -> String {
    run(command).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_interface_comes_up_with_the_network_s_addresses_and_nothing_else() {
    in_namespace(|| {
        let _wire = Wire::make("wg0");
        runtime().block_on(async {
            let net = Net::connect(&"wg0".parse().unwrap()).unwrap();
            assert!(!net.link().await.unwrap().unwrap().is_up, "a new interface is down");
            net.bring_up(&network()).await.unwrap();
            let link = net.link().await.unwrap().unwrap();
            assert!(link.is_up && link.mtu == 1420, "{link:?}");
            let addresses = words("ip -brief address show wg0");
            assert!(
                addresses.ends_with("100.96.0.1/32 fd6e:7861::1/128"),
                "no link-local address: {addresses}"
            );
            let own = net.local_addresses().await.unwrap();
            assert!(
                own.contains(&"100.96.0.1".parse().unwrap()) && own.contains(&"::1".parse().unwrap()),
                "{own:?}"
            );
            net.bring_up(&network()).await.unwrap();
            assert_eq!(words("ip -brief address show wg0"), addresses, "twice is as once");
        });
    });
}

#[test]
fn pools_are_unreachable_when_the_interface_is_gone() {
    in_namespace(|| {
        let wire = Wire::make("wg0");
        let _uplink = Wire::up("wan0", &["192.0.2.1/24", "2001:db8::1/64"]);
        run("ip route add default dev wan0");
        run("ip -6 route add default dev wan0");
        runtime().block_on(async {
            Net::connect(&"wg0".parse().unwrap()).unwrap().bring_up(&network()).await.unwrap();
        });
        for device in ["100.96.0.2", "fd6e:7861::2"] {
            assert!(run(&format!("ip route get {device}")).contains("dev wg0"));
        }
        drop(wire);
        for device in ["100.96.0.2", "fd6e:7861::2"] {
            let (reachable, text) = try_run(&format!("ip route get {device}"));
            assert!(!reachable, "{device} would leave in clear: {text}");
        }
    });
}

#[test]
fn another_network_replaces_addresses_and_routes() {
    in_namespace(|| {
        let _wire = Wire::make("wg0");
        run("ip route add 203.0.113.0/24 dev lo");
        runtime().block_on(async {
            let net = Net::connect(&"wg0".parse().unwrap()).unwrap();
            net.bring_up(&network()).await.unwrap();
            let mut other = network();
            other.pool_v4 = "100.97.0.0/16".parse().unwrap();
            other.tunnel_v4 = "100.97.0.1".parse().unwrap();
            other.mtu = 1380;
            net.bring_up(&other).await.unwrap();
            assert_eq!(net.link().await.unwrap().unwrap().mtu, 1380);
        });
        let routes = words("ip route");
        assert!(!routes.contains("100.96.") && routes.contains("100.97.0.0/16 dev wg0"), "{routes}");
        assert!(routes.contains("203.0.113.0/24"), "routes of others stay: {routes}");
        assert!(words("ip -brief address show wg0").ends_with("100.97.0.1/32 fd6e:7861::1/128"));
    });
}

#[test]
fn host_settings_are_made_and_the_earlier_ones_noted_once() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        run(
            "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv4.conf.all.send_redirects=1",
        );
        let _wire = Wire::make("wan0");
        run("sysctl -qw net.ipv6.conf.wan0.accept_ra=1");
        let settings = HostSettings::new(folder.path());
        let uplink = "wan0".parse().unwrap();
        for _ in 0..2 {
            settings.apply(Some(&uplink), 1).unwrap();
            assert_eq!(words("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding"), "1 1");
            assert_eq!(
                words("sysctl -n net.ipv4.conf.all.send_redirects net.ipv6.conf.wan0.accept_ra"),
                "0 2"
            );
            let noted = settings.noted();
            assert_eq!(noted["net/ipv4/ip_forward"], "0");
            assert_eq!(noted["net/ipv6/conf/wan0/accept_ra"], "1");
        }
    });
}
