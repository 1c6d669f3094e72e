//! The ring buffer that the programs write events to.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use nexa_abi::layout::Event;

/// The reading end. There is one: events are taken out.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// Takes the map as a ring buffer.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(map: Map) -> anyhow::Result<Self> {
        Ok(Self(map.try_into().context("EVENTS is no ring buffer")?))
    }

    /// Takes the next event out, if there is one. What is too short to be one, of a program of another version, is passed over.
    pub fn take(&mut self) -> Option<Event> {
        loop {
            let item = self.0.next()?;
            if item.len() >= size_of::<Event>() {
                // SAFETY: there are enough bytes, and any bytes are an event.
                return Some(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
            }
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
