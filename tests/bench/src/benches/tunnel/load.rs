//! What goes through: iperf3, and datagrams of our own.

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nexa_lab::{namespace::Namespace, wait};

/// Seconds of one run of iperf3.
const SECONDS: &str = "2";
/// The port of iperf3.
const IPERF3_PORT: u16 = 5_201;
/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Round trips of one sample.
const ROUND_TRIPS: usize = 2_000;
/// How long datagrams are sent as fast as it goes.
const SENDING: Duration = Duration::from_secs(1);

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the gateway.
    Up,
    /// From the gateway to the client.
    Down,
}

/// What one stream came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) gbit_per_s: f64,
    /// 10⁹ bytes that arrived.
    pub(super) gb: f64,
}

/// One TCP stream to or from the gateway.
pub(super) fn tcp([client, gateway]: [&Namespace; 2], address: Ipv4Addr, way: Way) -> Result<Stream> {
    let mut server =
        gateway.command("iperf3")?.args(["-s", "-1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let outcome = iperf3([client, gateway], address, way);
    if outcome.is_err() {
        drop(server.kill());
    }
    server.wait().context("cannot wait for iperf3")?;
    outcome
}

fn iperf3([client, gateway]: [&Namespace; 2], address: Ipv4Addr, way: Way) -> Result<Stream> {
    wait::until("iperf3 listens", LIMIT, || {
        let filter = format!("sport = {IPERF3_PORT}");
        let listed = gateway.command("ss")?.args(["-Hltn", &filter]).output().context("cannot start ss")?;
        Ok((!listed.stdout.is_empty()).then_some(()))
    })?;
    let output = client
        .command("iperf3")?
        .args(["-c", &address.to_string(), "-t", SECONDS, "-J"])
        .args((way == Way::Down).then_some("-R"))
        .output()
        .context("cannot start iperf3")?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).context("iperf3 wrote no JSON")?;
    let received = &said["end"]["sum_received"];
    let [bits, bytes] = ["bits_per_second", "bytes"].map(|key| received[key].as_f64());
    let (bits, bytes) = bits.zip(bytes).with_context(|| format!("iperf3: {}", said["error"]))?;
    ensure!(bytes > 0.0, "nothing arrived");
    Ok(Stream { gbit_per_s: bits / 1e9, gb: bytes / 1e9 })
}

/// Times of datagrams of 64 bytes there and back, one after the other, in microseconds and in order of size.
pub(super) fn round_trips([client, gateway]: [&Namespace; 2], address: Ipv4Addr) -> Result<Vec<f64>> {
    let (sender, echo) = (bind(client, Ipv4Addr::UNSPECIFIED)?, bind(gateway, address)?);
    sender.connect(echo.local_addr().context("no address")?).context("no way to the gateway")?;
    echo.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
    sender.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
    thread::scope(|scope| {
        let echoing = scope.spawn(|| -> Result<()> {
            let mut buffer = [0; 64];
            loop {
                let (length, from) = echo.recv_from(&mut buffer).context("nothing arrives at the gateway")?;
                if length == 0 {
                    return Ok(());
                }
                echo.send_to(&buffer[..length], from).context("cannot answer")?;
            }
        });
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let start = Instant::now();
            sender.send(&[0; 64]).context("cannot send")?;
            sender.recv(&mut [0; 64]).context("no answer")?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        sender.send(&[]).context("cannot send")?;
        echoing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        times.sort_by(f64::total_cmp);
        Ok(times)
    })
}

/// Datagrams of 200 bytes that arrive in a second of those that are sent as fast as it goes.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn per_second([client, gateway]: [&Namespace; 2], address: Ipv4Addr) -> Result<f64> {
    let (sender, receiver) = (bind(client, Ipv4Addr::UNSPECIFIED)?, bind(gateway, address)?);
    sender.connect(receiver.local_addr().context("no address")?).context("no way to the gateway")?;
    receiver.set_read_timeout(Some(Duration::from_millis(100))).context("cannot set a limit")?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (mut count, mut buffer) = (0_u64, [0; 256]);
            while !over.load(Ordering::Relaxed) {
                count += u64::from(receiver.recv(&mut buffer).is_ok());
            }
            count
        });
        let start = Instant::now();
        while start.elapsed() < SENDING {
            // That there is no room now is as if it were lost on the way.
            drop(sender.send(&[0; 200]));
        }
        over.store(true, Ordering::Relaxed);
        let elapsed = start.elapsed().as_secs_f64();
        let count = receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ensure!(count > 0, "nothing arrived");
        Ok(count as f64 / elapsed)
    })
}

/// A socket stays in the namespace where it was made, whichever thread uses it.
fn bind(namespace: &Namespace, address: Ipv4Addr) -> Result<UdpSocket> {
    namespace.run(|| UdpSocket::bind((address, 0)))?.with_context(|| format!("cannot bind to {address}"))
}
