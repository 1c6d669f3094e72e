//! A bad network on demand: a relay that loses, doubles, reorders, corrupts and delays datagrams, by a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ns::Ns;

/// What happens to datagrams, in tenths of a percent.
#[derive(Clone, Copy, Default)]
pub struct Harm {
    pub lost: u64,
    pub doubled: u64,
    pub corrupted: u64,
    /// Held back for up to this long, which reorders.
    pub delay: Duration,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub lost: u64,
    pub doubled: u64,
    pub corrupted: u64,
    pub delivered: u64,
}

/// Between one client and the gateway, until dropped.
pub struct Injector {
    place: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Done>>,
}

impl Injector {
    /// Relays between whoever sends to [`Injector::place`] and the gateway's port on the same host, in `ns`.
    pub fn start(ns: &Ns, at: SocketAddr, gateway: SocketAddr, harm: Harm, seed: u64) -> Self {
        let (outside, inside) =
            ns.run(|| (UdpSocket::bind((at.ip(), 0)).unwrap(), UdpSocket::bind((gateway.ip(), 0)).unwrap()));
        inside.connect(gateway).unwrap();
        let place = outside.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                Relay {
                    outside,
                    inside,
                    client: None,
                    harm,
                    chance: Chance(seed | 1),
                    waiting: BinaryHeap::new(),
                    done: Done::default(),
                }
                .run(&stop)
            }
        });
        Self { place, stop, thread: Some(thread) }
    }

    /// Where clients find the gateway.
    pub fn place(&self) -> SocketAddr {
        self.place
    }

    /// Ends it; what was done to whom.
    pub fn end(mut self) -> Done {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A datagram that leaves at a time; the number keeps those of one time in order.
type Held = Reverse<(Instant, u64, Towards, Vec<u8>)>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Towards {
    Gateway,
    Client,
}

struct Relay {
    outside: UdpSocket,
    inside: UdpSocket,
    client: Option<SocketAddr>,
    harm: Harm,
    chance: Chance,
    waiting: BinaryHeap<Held>,
    done: Done,
}

impl Relay {
    fn run(mut self, stop: &AtomicBool) -> Done {
        for socket in [&self.outside, &self.inside] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut buffer = vec![0; 1 << 16];
        let mut number = 0;
        while !stop.load(Ordering::Acquire) {
            let mut idle = true;
            while let Ok((length, from)) = self.outside.recv_from(&mut buffer) {
                self.client = Some(from);
                number += 1;
                self.take(number, Towards::Gateway, &buffer[..length]);
                idle = false;
            }
            while let Ok(length) = self.inside.recv(&mut buffer) {
                number += 1;
                self.take(number, Towards::Client, &buffer[..length]);
                idle = false;
            }
            self.deliver();
            if idle {
                // Two sockets and a clock: a short nap is simpler than waiting for all three.
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        self.done
    }

    fn take(&mut self, number: u64, towards: Towards, datagram: &[u8]) {
        if self.chance.of(self.harm.lost) {
            self.done.lost += 1;
            return;
        }
        let mut copies = 1;
        if self.chance.of(self.harm.doubled) {
            self.done.doubled += 1;
            copies = 2;
        }
        for _ in 0..copies {
            let mut datagram = datagram.to_vec();
            if self.chance.of(self.harm.corrupted) {
                self.done.corrupted += 1;
                let at = self.chance.below(datagram.len() as u64 * 8) as usize;
                datagram[at / 8] ^= 1 << (at % 8);
            }
            let late = Duration::from_micros(self.chance.below(self.harm.delay.as_micros() as u64 + 1));
            self.waiting.push(Reverse((Instant::now() + late, number, towards, datagram)));
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, towards, datagram))) = self.waiting.pop() else { return };
            self.done.delivered += 1;
            // A full buffer or a refusal is one more loss.
            let _ = match (towards, self.client) {
                (Towards::Gateway, _) => self.inside.send(&datagram),
                (Towards::Client, Some(client)) => self.outside.send_to(&datagram, client),
                (Towards::Client, None) => Ok(0),
            };
        }
    }
}

/// Numbers that a seed decides (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if bound == 0 { 0 } else { self.0 % bound }
    }

    fn of(&mut self, tenths_of_a_percent: u64) -> bool {
        self.below(1000) < tenths_of_a_percent
    }
}
