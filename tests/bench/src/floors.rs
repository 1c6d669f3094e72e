//! The machine's floors: what it does, in the same run, where nothing of ours is in the way. A result that is worse
//! than before beside a floor that is worse too says something about the machine, and nothing about the code.

use std::time::Duration;

use anyhow::Result;

use crate::interleave::{self, Better, Case, Metric, Plain, Rounds, Series};
use cipher::{Cipher, PACKET_BYTES};
use memcpy::Copier;
use ping_pong::Cpus;
use veth::Link;

pub mod cipher;
pub mod memcpy;
pub mod ping_pong;
pub mod syscall;
pub mod veth;

/// How long each floor is measured, five times.
const RUN: Duration = Duration::from_millis(200);

/// What the floors are measured on.
struct Bench<'a> {
    run: Duration,
    cipher: Cipher,
    copier: Copier,
    cpus: Cpus,
    link: &'a Link,
}

fn cases<'a>() -> [Case<Plain<Bench<'a>>>; 7] {
    [
        Case { metric: SEAL, run: |bench, _| bench.cipher.packet_ns(bench.run) },
        Case {
            metric: Metric {
                name: "memcpy_gb_per_s",
                unit: "GB/s",
                better: Better::Higher,
                what: "copied from memory to memory, beyond the caches, one core",
            },
            run: |bench, _| Ok(bench.copier.gb_per_s(bench.run)),
        },
        Case {
            metric: Metric {
                name: "veth_tcp_gbit_per_s",
                unit: "Gbit/s",
                better: Better::Higher,
                what: "TCP between two namespaces over a veth, large writes",
            },
            run: |bench, _| bench.link.tcp_gbit_per_s(bench.run),
        },
        Case {
            metric: Metric {
                name: "veth_udp_packet_ns",
                unit: "ns",
                better: Better::Lower,
                what: "the same by UDP, a delivered packet of 1420 bytes, one system call each",
            },
            run: |bench, _| bench.link.udp_packet_ns(bench.run),
        },
        Case {
            metric: Metric {
                name: "syscall_ns",
                unit: "ns",
                better: Better::Lower,
                what: "a system call that does nothing (getppid)",
            },
            run: |bench, _| Ok(syscall::call_ns(bench.run)),
        },
        Case {
            metric: Metric {
                name: "ping_pong_spin_ns",
                unit: "ns",
                better: Better::Lower,
                what: "two cores, there and back, both spinning on a cache line",
            },
            run: |bench, _| bench.cpus.spin_ns(bench.run),
        },
        Case {
            metric: Metric {
                name: "ping_pong_sleep_ns",
                unit: "ns",
                better: Better::Lower,
                what: "two cores, there and back, both asleep on an eventfd",
            },
            run: |bench, _| bench.cpus.sleep_ns(bench.run),
        },
    ]
}

const SEAL: Metric = Metric {
    name: "cipher_packet_ns",
    unit: "ns",
    better: Better::Lower,
    what: "a packet of 1420 bytes sealed as boringtun does it, one core",
};

const SEAL_SPEED: Metric = Metric {
    name: "cipher_gb_per_s",
    unit: "GB/s",
    better: Better::Higher,
    what: "the same as a speed: ChaCha20-Poly1305 of `ring`",
};

/// Measures all floors, in some ten seconds. The link is made for it.
///
/// # Errors
/// When one cannot be measured: there are no two CPUs, or the link does not carry.
pub fn measure(link: &Link) -> Result<Vec<Series>> {
    let (cipher, copier, cpus) = (Cipher::new()?, Copier::beyond_caches(), Cpus::two()?);
    let mut bench = Bench { run: RUN, cipher, copier, cpus, link };
    let mut floors = interleave::run(&mut bench, &cases(), Rounds::LEAST, &mut |_| {})?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let speed = floors[0].seen_as(SEAL_SPEED, |ns| PACKET_BYTES as f64 / ns)?;
    floors.insert(1, speed);
    Ok(floors)
}
