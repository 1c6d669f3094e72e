//! Drops, those that were and those that are to come, and flows as they begin.

use std::io;
use std::sync::Arc;

use nexa_types::DeviceId;
use nexa_wire::local::{Answer, PeerDrop};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::events::{Begun, Board};

/// Somebody who wants to hear of what comes.
pub enum Following {
    /// Of drops.
    Drops(News<PeerDrop>),
    /// Of flows that begin.
    Flows(News<Begun>),
}

/// What comes, of one device or of all.
pub struct News<T> {
    news: Receiver<Arc<T>>,
    device: Option<DeviceId>,
}

/// The latest drops, of one device or of all, and those that are to come.
pub fn begin(board: &Board, device: Option<DeviceId>) -> (Answer, Following) {
    let (recent, news) = board.subscribe();
    let news = News { news, device };
    let drops = recent.iter().filter(|drop| news.wants(drop)).map(|drop| PeerDrop::clone(drop));
    (Answer::Drops { drops: drops.collect(), missed: 0 }, Following::Drops(news))
}

/// The flows that are to begin, of one device or of all.
pub fn begin_flows(board: &Board, device: Option<DeviceId>) -> (Answer, Following) {
    let following = Following::Flows(News { news: board.subscribe_to_flows(), device });
    (Answer::Flows { flows: Vec::new(), total: 0 }, following)
}

impl Following {
    /// Tells of what comes until who asked goes. Whoever reads slower than it comes learns how many were missed, and holds
    /// up nobody.
    pub async fn serve(
        self,
        reading: &mut (impl AsyncRead + Unpin),
        writing: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match self {
            Self::Drops(news) => news.serve(reading, writing).await,
            Self::Flows(news) => news.serve(reading, writing).await,
        }
    }
}

/// What may be told.
pub trait Told {
    /// Whose it is.
    fn device(&self) -> Option<DeviceId>;
    /// It, or that so many were missed.
    fn answer(told: Option<&Self>, missed: u64) -> Answer;
}

impl Told for PeerDrop {
    fn device(&self) -> Option<DeviceId> {
        self.peer.as_ref().map(|peer| peer.device)
    }

    fn answer(told: Option<&Self>, missed: u64) -> Answer {
        Answer::Drops { drops: told.into_iter().cloned().collect(), missed }
    }
}

impl Told for Begun {
    fn device(&self) -> Option<DeviceId> {
        Some(self.flow.peer.device)
    }

    fn answer(told: Option<&Self>, missed: u64) -> Answer {
        let total = missed + told.map_or(0, |begun| 1 + begun.untold);
        Answer::Flows { flows: told.into_iter().map(|begun| begun.flow.clone()).collect(), total }
    }
}

impl<T: Told> News<T> {
    fn wants(&self, told: &T) -> bool {
        self.device.is_none() || self.device == told.device()
    }

    async fn serve(
        mut self,
        reading: &mut (impl AsyncRead + Unpin),
        writing: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut byte = [0];
        loop {
            let answer = tokio::select! {
                // Nothing more is to be said, so whatever comes is the end.
                _ = reading.read(&mut byte) => return Ok(()),
                news = self.news.recv() => match news {
                    Ok(told) if self.wants(&told) => T::answer(Some(&told), 0),
                    Ok(_) => continue,
                    Err(RecvError::Lagged(missed)) => T::answer(None, missed),
                    Err(RecvError::Closed) => return Ok(()),
                },
            };
            super::write(writing, &answer).await?;
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

    #[tokio::test]
    async fn flows_are_told_as_they_begin_with_those_that_were_too_many() {
        let board = Board::default();
        assert!(!board.follows_flows());
        let (answer, following) = begin_flows(&board, Some(peer(2).device));
        assert_eq!(answer, Answer::Flows { flows: vec![], total: 0 });
        assert!(board.follows_flows());
        let flow = |n| {
            let text = serde_json::json!({
                "device": peer(n).device, "name": "laptop", "owner": "Ada", "source": "100.96.0.2", "source_port": 1,
                "destination": "10.20.0.10", "destination_port": 443, "protocol": 6, "rule": 17, "phase": "new",
                "idle_seconds": 0
            });
            serde_json::from_value::<nexa_wire::local::Flow>(text).unwrap()
        };
        board.flow_began(Begun { flow: flow(3), untold: 0 });
        board.flow_began(Begun { flow: flow(2), untold: 4 });
        let mut told = Vec::new();
        let (mut never, _silent) = duplex(1);
        drop(board);
        following.serve(&mut never, &mut told).await.unwrap();
        let answer: Answer = serde_json::from_slice(&told).unwrap();
        assert_eq!(answer, Answer::Flows { flows: vec![flow(2)], total: 5 });
    }
}
