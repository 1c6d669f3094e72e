//! Forwards a port of the machine's loopback into a namespace, so that a browser reaches what runs there.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::namespace::{Handle, Namespace};

/// A forwarded port; it lasts as long as the process.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    local: SocketAddr,
}

impl Forward {
    /// Forwards a free port of 127.0.0.1 to `target` inside `namespace`. Call it outside any namespace.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(namespace: &Namespace, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
        let local = listener.local_addr().context("cannot read a listener's address")?;
        let handle = Arc::new(namespace.handle()?);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let handle = Arc::clone(&handle);
                thread::spawn(move || serve(&handle, client, target));
            }
        });
        Ok(Self { local })
    }

    /// Where it listens, as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.local)
    }
}

/// Moves bytes both ways until either side ends. A target that is down ends the client's connection.
fn serve(handle: &Handle, client: TcpStream, target: SocketAddr) {
    if handle.enter().is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pump(&client, &server));
        pump(&server, &client);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}
