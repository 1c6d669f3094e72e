use std::io::Write;
use std::process::Stdio;

use crate::ns::Ns;
use crate::world::forward;

/// A router between the gateway and one client: `outside` towards the gateway, `inside` towards the client.
pub struct Router(Ns);

impl Router {
    /// Joins both namespaces by a router's. Outside it is 10.77.n.2 and fd77:n::2, inside 192.168.n.1 and fd68:n::1.
    pub fn between(gateway: &Ns, client: &Ns, n: u8, name: &str) -> Self {
        let router = Ns::new(name);
        // Its own addresses on the links are what it looks for neighbours with: of use at once, not after two seconds.
        router.sysctl("net/ipv6/conf/default/accept_dad", 0);
        gateway.ip(&format!("link add c{n} type veth peer name outside netns {name}"));
        router.ip(&format!("link add inside type veth peer name eth0 netns {}", client.name()));
        for (ns, device, v4, v6) in [
            (gateway, format!("c{n}"), format!("10.77.{n}.1"), format!("fd77:{n}::1")),
            (&router, "outside".to_owned(), format!("10.77.{n}.2"), format!("fd77:{n}::2")),
            (&router, "inside".to_owned(), format!("192.168.{n}.1"), format!("fd68:{n}::1")),
            (client, "eth0".to_owned(), format!("192.168.{n}.2"), format!("fd68:{n}::2")),
        ] {
            ns.ip(&format!("addr add {v4}/24 dev {device}"));
            ns.ip(&format!("addr add {v6}/64 dev {device} nodad"));
            ns.ip(&format!("link set {device} up"));
        }
        client.ip(&format!("route add default via 192.168.{n}.1"));
        client.ip(&format!("route add default via fd68:{n}::1"));
        gateway.ip(&format!("route add 192.168.{n}.0/24 via 10.77.{n}.2"));
        gateway.ip(&format!("route add fd68:{n}::/64 via fd77:{n}::2"));
        forward(&router);
        Self(router)
    }

    /// `ip …` on the router.
    pub fn ip(&self, arguments: &str) -> String {
        self.0.ip(arguments)
    }

    /// Hides what is inside behind the router's address, at random ports, and forgets who is silent for so long.
    pub fn masquerade(&self, outside: &str, forgets_seconds: u32) {
        let rules = format!(
            "table ip nat {{\nchain out {{\ntype nat hook postrouting priority srcnat\n\
             oifname {outside} masquerade fully-random\n}}\n}}\n"
        );
        let mut nft = self.0.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
        for setting in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
            self.0.sysctl(&format!("net/netfilter/{setting}"), forgets_seconds);
        }
    }
}
