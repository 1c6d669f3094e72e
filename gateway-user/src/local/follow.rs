//! Drops, those that were and those that are to come.

use std::io;
use std::sync::Arc;

use nexa_types::DeviceId;
use nexa_wire::local::{Answer, PeerDrop};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::events::Board;

/// Somebody who wants to hear of drops as they come.
pub struct Following {
    news: Receiver<Arc<PeerDrop>>,
    device: Option<DeviceId>,
}

/// The latest drops, of one device or of all, and those that are to come.
pub fn begin(board: &Board, device: Option<DeviceId>) -> (Answer, Following) {
    let (recent, news) = board.subscribe();
    let following = Following { news, device };
    let drops = recent.iter().filter(|drop| following.wants(drop)).map(|drop| PeerDrop::clone(drop));
    (Answer::Drops { drops: drops.collect(), missed: 0 }, following)
}

impl Following {
    fn wants(&self, drop: &PeerDrop) -> bool {
        self.device.is_none() || self.device == drop.peer.as_ref().map(|peer| peer.device)
    }

    /// Tells of drops until who asked goes. Whoever reads slower than drops come learns how many were missed, and holds
    /// up nobody.
    pub async fn serve(
        mut self,
        reading: &mut (impl AsyncRead + Unpin),
        writing: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut byte = [0];
        loop {
            let (drops, missed) = tokio::select! {
                // Nothing more is to be said, so whatever comes is the end.
                _ = reading.read(&mut byte) => return Ok(()),
                news = self.news.recv() => match news {
                    Ok(drop) if self.wants(&drop) => (vec![PeerDrop::clone(&drop)], 0),
                    Ok(_) => continue,
                    Err(RecvError::Lagged(missed)) => (Vec::new(), missed),
                    Err(RecvError::Closed) => return Ok(()),
                },
            };
            super::write(writing, &Answer::Drops { drops, missed }).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use nexa_wire::local::PeerName;
    use tokio::io::{AsyncBufReadExt as _, BufReader, duplex};

    use super::*;
    use crate::fixture::{dropped, peer};

    fn drop_of(n: u8, port: u16) -> PeerDrop {
        let peer = peer(n);
        let name = PeerName { device: peer.device, name: peer.name, owner: peer.owner };
        PeerDrop { peer: Some(name), dropped: dropped(port) }
    }

    #[tokio::test]
    async fn who_follows_hears_of_one_device_only_and_who_goes_ends_it() {
        let board = Board::default();
        board.put_up(vec![drop_of(2, 1), drop_of(3, 2)]);
        let (answer, following) = begin(&board, Some(peer(2).device));
        assert_eq!(answer, Answer::Drops { drops: vec![drop_of(2, 1)], missed: 0 });

        let (here, there) = duplex(1 << 20);
        let (mut reading, mut writing) = tokio::io::split(here);
        let served = tokio::spawn(async move { following.serve(&mut reading, &mut writing).await });
        board.put_up(vec![drop_of(3, 3), drop_of(2, 4)]);
        let mut line = String::new();
        let mut there = BufReader::new(there);
        there.read_line(&mut line).await.unwrap();
        let answer: Answer = serde_json::from_str(&line).unwrap();
        assert_eq!(answer, Answer::Drops { drops: vec![drop_of(2, 4)], missed: 0 });
        drop(there);
        served.await.unwrap().unwrap();
        assert_eq!(board.subscribe().1.len(), 0);
    }

    #[tokio::test]
    async fn who_reads_too_slowly_learns_how_many_were_missed() {
        let board = Board::default();
        let (_, following) = begin(&board, None);
        board.put_up((1..=1030).map(|port| drop_of(2, port)).collect());
        let mut told = Vec::new();
        // One end of a pipe whose other end says nothing.
        let (mut never, _silent) = duplex(1);
        drop(board);
        following.serve(&mut never, &mut told).await.unwrap();
        let first: Answer =
            serde_json::from_slice(told.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        assert_eq!(first, Answer::Drops { drops: vec![], missed: 6 });
        assert_eq!(told.split(|byte| *byte == b'\n').count(), 1 + 1024 + 1);
    }
}
