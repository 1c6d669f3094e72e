//! Peers of the gateway that begin a session, in the times that the protocol gives them.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey as X25519Public, StaticSecret},
};
use nexa_tunnel::PrivateKey;
use nexa_types::PublicKey;

/// They begin one after the other within this.
const BEGINS: Duration = Duration::from_secs(1);
/// REKEY_TIMEOUT (WireGuard paper, 6.4): who had no answer tries again, also who was given a cookie.
const AGAIN: Duration = Duration::from_secs(5);
/// Who has no session by then counts as having waited so long.
const LIMIT: Duration = Duration::from_secs(12);
/// Between two looks at all sockets.
const LOOK: Duration = Duration::from_millis(1);

struct Peer {
    socket: UdpSocket,
    tunnel: Tunn,
    begins: Duration,
    tries_at: Duration,
    waited: Option<Duration>,
}

/// Shakes hands for all, from sockets in this thread's namespace; returns how long each waited.
pub(super) fn shake_hands(
    keys: &[PrivateKey],
    gateway: PublicKey,
    endpoint: SocketAddr,
) -> Result<Vec<Duration>> {
    let mut peers = (0_u32..)
        .zip(keys)
        .map(|(n, key)| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("no socket")?;
            socket.connect(endpoint).context("no route to the gateway")?;
            socket.set_nonblocking(true).context("cannot go on without waiting")?;
            let secret = StaticSecret::from(*key.to_bytes());
            let gateway = X25519Public::from(*gateway.as_bytes());
            let tunnel = Tunn::new(secret, gateway, None, None, n, None);
            let begins = BEGINS * n / u32::try_from(keys.len()).context("too many")?;
            Ok(Peer { socket, tunnel, begins, tries_at: begins, waited: None })
        })
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    while start.elapsed() < LIMIT && peers.iter().any(|peer| peer.waited.is_none()) {
        for peer in peers.iter_mut().filter(|peer| peer.waited.is_none()) {
            peer.go_on(start.elapsed())?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(peers.iter().map(|peer| peer.waited.unwrap_or(LIMIT)).collect())
}

impl Peer {
    fn go_on(&mut self, now: Duration) -> Result<()> {
        let (mut out, mut heard) = ([0; 256], [0; 256]);
        while let Ok(length) = self.socket.recv(&mut heard) {
            // The confirmation of a session; of a cookie nothing is sent, it waits for the next try.
            if let TunnResult::WriteToNetwork(confirmation) =
                self.tunnel.decapsulate(None, &heard[..length], &mut out)
            {
                drop(self.socket.send(confirmation));
                self.waited = Some(now.saturating_sub(self.begins));
                return Ok(());
            }
        }
        if now >= self.tries_at {
            let TunnResult::WriteToNetwork(initiation) =
                self.tunnel.format_handshake_initiation(&mut out, true)
            else {
                bail!("no initiation")
            };
            // That there is no room for it now is as if it were lost on the way.
            drop(self.socket.send(initiation));
            self.tries_at = now + AGAIN;
        }
        Ok(())
    }
}
