//! A gateway in full between a client and a LAN, with a capture at either end that shows what it can see.

use nexa_types::Revision;
use nexa_wire::gateway::FromGateway;
use nexa_wire::snapshot::Sealed;

use super::client::{Client, snapshot};
use super::daemon::{Daemon, Host};
use super::lab::{PATIENCE, Wire, checksum};
use super::tap::Tap;
use crate::fake_control::{Connection, FakeControl};

/// Running parts, ended in this order.
pub struct Scene {
    pub daemon: Daemon,
    pub tap: Tap,
    _client: Client,
    pub lan: Wire,
    _host: Host,
    canaries: u16,
    _connection: Connection,
    _control: FakeControl,
}

/// What canaries carry and nothing else does.
const SONG: &[u8] = b"a canary, number ";

impl Scene {
    /// Starts all, with the policy of `snapshot-v1.json` in force and the client connected.
    pub async fn start() -> Self {
        let mut control = FakeControl::start().await;
        let host = Host::new(&control.address.to_string());
        let client = Client::start();
        let mut daemon = host.start("log");
        let mut connection = control.connection().await;
        let FromGateway::Hello { public_key, .. } = connection.receive().await else { panic!() };
        connection.send(Sealed::new(Revision(1), &snapshot(client.public_key)).unwrap()).await;
        assert_eq!(
            connection.receive().await,
            FromGateway::Ack { revision: Revision(1) },
            "{}",
            daemon.text()
        );
        daemon.wait_for_log("snapshot in force");
        let lan = Wire::up("lan0", &["10.20.0.1/24", "fd20::1/64"]);
        client.connect_to(public_key);
        client.wait_for_ping("100.96.0.1");
        client.allow_anywhere();
        let tap = client.tap();
        Self {
            daemon,
            tap,
            _client: client,
            lan,
            _host: host,
            canaries: 0,
            _connection: connection,
            _control: control,
        }
    }

    /// Sends a granted packet into the tunnel; its song.
    fn release(&mut self) -> Vec<u8> {
        self.canaries += 1;
        let song = [SONG, self.canaries.to_string().as_bytes(), b"."].concat();
        self.tap.send(&echo([100, 96, 0, 2], [10, 20, 0, 10], 8, &[&[0, 9, 0, 1], &song[..]].concat()));
        song
    }

    /// What the LAN has seen until a canary of now comes through: it was sent last, and packets keep their order.
    pub fn seen_by_lan(&mut self) -> Vec<Vec<u8>> {
        self.seen_by_lan_with_canary().0
    }

    fn seen_by_lan_with_canary(&mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let song = self.release();
        let mut seen = Vec::new();
        loop {
            let packet =
                self.lan.receive_bytes(PATIENCE).expect("the capture on the LAN does not see a canary");
            if holds(&packet, &song) {
                return (seen, packet);
            }
            if !is_between_neighbours(&packet) && !holds(&packet, SONG) {
                seen.push(packet);
            }
        }
    }

    /// What the client has seen until an answer of now comes through, to a canary that went to the LAN.
    pub fn seen_by_client(&mut self) -> Vec<Vec<u8>> {
        let (_, canary) = self.seen_by_lan_with_canary();
        let address = |at: usize| <[u8; 4]>::try_from(&canary[at..at + 4]).unwrap();
        self.lan.send(&echo(address(16), address(12), 0, &canary[24..]));
        let mut seen = Vec::new();
        loop {
            let packet =
                self.tap.receive(PATIENCE).expect("the capture at the client does not see an answer");
            if holds(&packet, &canary[28..]) {
                return seen;
            }
            if !is_between_neighbours(&packet) && !holds(&packet, SONG) {
                seen.push(packet);
            }
        }
    }

    /// Whether a granted packet reaches the LAN, where one may not.
    pub fn canary_arrives(&mut self, limit: std::time::Duration) -> bool {
        let song = self.release();
        while let Some(packet) = self.lan.receive_bytes(limit) {
            if holds(&packet, &song) {
                return true;
            }
        }
        false
    }
}

/// An echo request or reply over IPv4. `rest` is the identifier and what follows.
fn echo(source: [u8; 4], destination: [u8; 4], kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut icmp = [&[kind, 0, 0, 0], rest].concat();
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0];
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [header, icmp].concat()
}

fn holds(packet: &[u8], text: &[u8]) -> bool {
    packet.windows(text.len()).any(|window| window == text)
}

/// Multicast of IPv6: neighbours look for each other, and report what they listen to.
fn is_between_neighbours(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6 && packet[24] == 0xff
}
