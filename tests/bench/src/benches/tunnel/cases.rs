//! All that is measured.

use anyhow::{Context as _, Result};

use super::{
    engine::Engine::{self, Boringtun, Copying, Gotatun, Ours, WireguardGo},
    flood::Weather,
    load::{self, Way},
    scene::{
        Over::{self, Guard, Tunnel, Veth},
        Scene,
    },
};
use crate::interleave::{Better, Metric};

/// A case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) over: Over,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
enum Load {
    Tcp(Way),
    GatewayCpu,
    /// So many of a thousand are not slower.
    RoundTrip(usize),
    PerSecond,
    Guarded(Weather),
    Handshakes,
}

const BOTH: [Over; 4] = [both(Ours), both(WireguardGo), both(Boringtun), both(Gotatun)];

pub(super) const ALL: [Measured; 27] = [
    of("up_veth_gbit_per_s", Veth, Load::Tcp(Way::Up)),
    of("up_ours_gbit_per_s", BOTH[0], Load::Tcp(Way::Up)),
    of("up_wireguard_go_gbit_per_s", BOTH[1], Load::Tcp(Way::Up)),
    of("up_boringtun_gbit_per_s", BOTH[2], Load::Tcp(Way::Up)),
    of("up_gotatun_gbit_per_s", BOTH[3], Load::Tcp(Way::Up)),
    of("down_veth_gbit_per_s", Veth, Load::Tcp(Way::Down)),
    of("down_ours_gbit_per_s", BOTH[0], Load::Tcp(Way::Down)),
    of("down_wireguard_go_gbit_per_s", BOTH[1], Load::Tcp(Way::Down)),
    of("down_boringtun_gbit_per_s", BOTH[2], Load::Tcp(Way::Down)),
    of("down_gotatun_gbit_per_s", BOTH[3], Load::Tcp(Way::Down)),
    of("up_copying_gbit_per_s", both(Copying), Load::Tcp(Way::Up)),
    of("down_copying_gbit_per_s", both(Copying), Load::Tcp(Way::Down)),
    of("gateway_ours_cpu_s_per_gb", BOTH[0], Load::GatewayCpu),
    of("gateway_wireguard_go_cpu_s_per_gb", Tunnel(Ours, WireguardGo), Load::GatewayCpu),
    of("gateway_boringtun_cpu_s_per_gb", Tunnel(Ours, Boringtun), Load::GatewayCpu),
    of("gateway_gotatun_cpu_s_per_gb", Tunnel(Ours, Gotatun), Load::GatewayCpu),
    of("round_trip_veth_us", Veth, Load::RoundTrip(500)),
    of("round_trip_ours_us", BOTH[0], Load::RoundTrip(500)),
    of("round_trip_wireguard_go_us", BOTH[1], Load::RoundTrip(500)),
    of("round_trip_p99_ours_us", BOTH[0], Load::RoundTrip(990)),
    of("round_trip_p99_wireguard_go_us", BOTH[1], Load::RoundTrip(990)),
    of("udp_veth_per_s", Veth, Load::PerSecond),
    of("udp_ours_per_s", BOTH[0], Load::PerSecond),
    of("udp_wireguard_go_per_s", BOTH[1], Load::PerSecond),
    of("guarded_calm_gbit_per_s", Guard, Load::Guarded(Weather::Calm)),
    of("guarded_flooded_gbit_per_s", Guard, Load::Guarded(Weather::Flooded)),
    of("flooded_handshake_p99_ms", Guard, Load::Handshakes),
];

const fn both(engine: Engine) -> Over {
    Tunnel(engine, engine)
}

const fn of(name: &'static str, over: Over, load: Load) -> Measured {
    Measured { name, over, load }
}

impl Measured {
    pub(super) const fn metric(self) -> Metric {
        let (unit, better, what) = match self.load {
            Load::Tcp(Way::Up) => ("Gbit/s", Better::Higher, "one TCP stream, client to gateway"),
            Load::Tcp(Way::Down) => ("Gbit/s", Better::Higher, "one TCP stream, gateway to client"),
            Load::GatewayCpu => {
                ("CPU-s/GB", Better::Lower, "the gateway's process, both ways, client nexa-wg")
            }
            Load::RoundTrip(_) => ("µs", Better::Lower, "UDP, 64 bytes there and back"),
            Load::Guarded(Weather::Calm) => {
                ("Gbit/s", Better::Higher, "one TCP stream to the gateway, the XDP guard on")
            }
            Load::Guarded(Weather::Flooded) => {
                ("Gbit/s", Better::Higher, "the same, and 200,000 datagrams of junk a second")
            }
            Load::Handshakes => ("ms", Better::Lower, "99 of 100 new sessions take no longer, in that flood"),
            Load::PerSecond => ("1/s", Better::Higher, "UDP, 200 bytes, arrived at the gateway"),
        };
        Metric { name: self.name, unit, better, what }
    }

    pub(super) fn run(self, scene: &Scene<'_>) -> Result<f64> {
        let (ends, address) = (scene.ends(), scene.address(self.over));
        match self.load {
            Load::Tcp(way) => Ok(load::tcp(ends, address, way)?.gbit_per_s),
            Load::GatewayCpu => {
                let gateway = &scene.link(self.over).context("not prepared")?.gateway;
                let before = gateway.cpu_seconds()?;
                let [up, down] = [load::tcp(ends, address, Way::Up)?, load::tcp(ends, address, Way::Down)?];
                Ok((gateway.cpu_seconds()? - before) / (up.gb + down.gb))
            }
            Load::RoundTrip(of_thousand) => {
                let times = load::round_trips(ends, address)?;
                times.get((times.len() - 1) * of_thousand / 1_000).copied().context("no round trip")
            }
            Load::Guarded(weather) => scene.flood().context("not prepared")?.gbit_per_s(weather),
            Load::Handshakes => scene.flood().context("not prepared")?.handshake_p99_ms(),
            Load::PerSecond => load::per_second(ends, address),
        }
    }
}
