use std::net::UdpSocket;

/// Numbered datagrams one way. Nothing ever comes back on it.
pub struct Flow {
    pub name: String,
    from: UdpSocket,
    to: UdpSocket,
    pub sent: u64,
    /// Distinct ones that arrived, and the last of them.
    pub arrived: u64,
    last: u64,
    /// The most that were sent one after the other without any that arrived.
    pub longest_silence: u64,
}

impl Flow {
    pub fn new(name: String, from: UdpSocket, to: UdpSocket) -> Self {
        from.connect(to.local_addr().unwrap()).unwrap();
        to.set_nonblocking(true).unwrap();
        Self { name, from, to, sent: 0, arrived: 0, last: 0, longest_silence: 0 }
    }

    /// Sends the next one, and takes what has arrived.
    pub fn step(&mut self) {
        self.sent += 1;
        self.from.send(&self.sent.to_be_bytes()).unwrap();
        self.collect();
        self.longest_silence = self.longest_silence.max(self.sent - self.last);
    }

    pub fn collect(&mut self) {
        let mut datagram = [0; 64];
        while let Ok(length) = self.to.recv(&mut datagram) {
            let number = u64::from_be_bytes(datagram[..length].try_into().unwrap());
            self.arrived += 1;
            self.last = self.last.max(number);
        }
    }
}
