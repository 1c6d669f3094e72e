//! What the kernel carries between two namespaces over a veth: every packet of the lab crosses several.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nexa_lab::{ledger::Ledger, names::Prefix, namespace::Namespace};

use super::cipher::PACKET_BYTES;

/// Addresses for measurements (RFC 2544, appendix C.2.2).
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];

/// Bytes of a write, and of a read.
const WRITE_BYTES: usize = 1 << 20;

/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Two namespaces with a veth between them; they go with this value.
#[derive(Debug)]
pub struct Link {
    ends: [Namespace; 2],
}

impl Link {
    /// Makes them, under names that nothing else of the lab with this prefix has.
    ///
    /// # Errors
    /// When the kernel refuses, or something of that name is there.
    pub fn new(prefix: &Prefix, ledger: &Ledger) -> Result<Self> {
        let namespace = |name: &str| {
            let name = prefix.name(name);
            ledger.namespace(&name)?;
            Namespace::new(&name)
        };
        let ends = [namespace("fl1")?, namespace("fl2")?];
        ends[0].ip([format!("link add veth0 type veth peer name veth0 netns {}", ends[1].name())])?;
        for (end, address) in ends.iter().zip(ENDS) {
            end.ip([format!("address add {address}/30 dev veth0"), "link set veth0 up".to_owned()])?;
        }
        Ok(Self { ends })
    }

    /// Sends by TCP for a while, and returns what arrived, in 10⁹ bits per second.
    ///
    /// # Errors
    /// When nothing does.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn tcp_gbit_per_s(&self, run: Duration) -> Result<f64> {
        // A socket stays in the namespace where it was made, whichever thread uses it.
        let listener = self.ends[1].run(|| TcpListener::bind((ENDS[1], 0)))?.context("cannot listen")?;
        let to = listener.local_addr().context("no address")?;
        let connect = || TcpStream::connect_timeout(&to, LIMIT);
        let mut sender = self.ends[0].run(connect)?.context("cannot connect over the veth")?;
        let (mut receiver, _) = listener.accept().context("cannot accept")?;
        receiver.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
        let start = Instant::now();
        let bytes = thread::scope(|scope| {
            let receiving = scope.spawn(move || -> Result<u64> {
                let (mut buffer, mut bytes) = (vec![0; WRITE_BYTES], 0);
                loop {
                    match receiver.read(&mut buffer).context("cannot receive")? {
                        0 => return Ok(bytes),
                        count => bytes += count as u64,
                    }
                }
            });
            let buffer = vec![0; WRITE_BYTES];
            while start.elapsed() < run {
                sender.write_all(&buffer).context("cannot send")?;
            }
            drop(sender);
            receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        ensure!(bytes > 0, "nothing arrived");
        Ok(bytes as f64 * 8.0 / 1e9 / start.elapsed().as_secs_f64())
    }

    /// Sends full packets by UDP for a while, as fast as it goes, and returns the nanoseconds of one that arrived.
    ///
    /// # Errors
    /// When none does.
    pub fn udp_packet_ns(&self, run: Duration) -> Result<f64> {
        let bind =
            |end: usize| self.ends[end].run(|| UdpSocket::bind((ENDS[end], 0)))?.context("cannot bind");
        let (sender, receiver) = (bind(0)?, bind(1)?);
        let to: SocketAddr = receiver.local_addr().context("no address")?;
        sender.connect(to).context("no route over the veth")?;
        receiver.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
        let over = AtomicBool::new(false);
        let start = Instant::now();
        let (count, last) = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let outcome = receive(&receiver);
                over.store(true, Ordering::Relaxed);
                outcome
            });
            let packet = [0; PACKET_BYTES];
            while start.elapsed() < run {
                send(&sender, &packet)?;
            }
            // An empty packet is the end. It may be lost where the receiver is full, so that one is not enough.
            while !over.load(Ordering::Relaxed) {
                send(&sender, &[])?;
                thread::yield_now();
            }
            receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Ok(last.saturating_duration_since(start).as_secs_f64() * 1e9 / f64::from(count))
    }
}

/// Receives until an empty packet, and returns how many others came, and when the last did.
fn receive(socket: &UdpSocket) -> Result<(u32, Instant)> {
    let mut buffer = [0; 2 * PACKET_BYTES];
    let mut seen = None;
    while socket.recv(&mut buffer).context("nothing arrives")? > 0 {
        let (count, _) = seen.unwrap_or((0, Instant::now()));
        seen = Some((count + 1, Instant::now()));
    }
    seen.context("nothing arrived")
}

/// Sends a packet; that there is no room for it now is as if it were lost on the way.
fn send(socket: &UdpSocket, packet: &[u8]) -> Result<()> {
    match socket.send(packet) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error).context("cannot send"),
    }
}
