use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::ns::Ns;

/// After so long without a byte a transfer has failed.
const STALLED: Duration = Duration::from_secs(10);

/// Sends pings of one each until one is answered, at most `limit`; returns how long that took.
pub fn ping_until_answered(ns: &Ns, to: &str, limit: Duration) -> Duration {
    let start = Instant::now();
    while !ping(ns, to, 1) {
        assert!(start.elapsed() < limit, "{to} does not answer within {limit:?}");
    }
    start.elapsed()
}

/// Whether all of `count` pings are answered within a second each.
pub fn ping(ns: &Ns, to: &str, count: u32) -> bool {
    let count = count.to_string();
    let done =
        ns.command("ping").args(["-n", "-q", "-W", "1", "-i", "0.05", "-c", &count, to]).output().unwrap();
    let shown = String::from_utf8_lossy(&done.stdout).into_owned();
    done.status.success() && shown.contains(" 0% packet loss")
}

/// Bytes that differ at every place, so that loss, doubling and reordering show.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// Sends `bytes` from one namespace to a listener on `address` in the other; panics unless they arrive unchanged.
pub fn transfer(from: &Ns, to: &Ns, address: IpAddr, bytes: &[u8]) {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    // Connected before anyone waits for it, and nobody waits for ever: a test that hangs says less than one that fails.
    let mut sender = from.run(|| TcpStream::connect_timeout(&target, STALLED).unwrap());
    sender.set_write_timeout(Some(STALLED)).unwrap();
    std::thread::scope(|scope| {
        let received = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(STALLED)).unwrap();
            let (start, mut received) = (Instant::now(), Vec::new());
            // In pieces: a tunnel that loses packets would go on for minutes on retransmissions.
            while (&mut stream).take(1 << 18).read_to_end(&mut received).unwrap() > 0 {
                assert!(start.elapsed() < STALLED, "only {} bytes within {STALLED:?}", received.len());
            }
            received
        });
        sender.write_all(bytes).unwrap();
        drop(sender);
        assert!(received.join().unwrap() == bytes, "the bytes arrived changed");
    });
}
