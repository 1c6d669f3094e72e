use std::time::{Duration, Instant};

use super::{Core, REFUSALS_LAST};
use crate::peer::Output;
use crate::wheel::TICK;

/// Handshakes begun when many peers are waiting for one: so many every so often, 3,000 a second, so that 10,000 peers
/// are back within five seconds of a restart. With the answers one takes 0.3 ms (m): most of a core while it lasts,
/// but packets are held up by some milliseconds only.
const INITIATIONS: usize = 30;
const INITIATIONS_EVERY: Duration = Duration::from_millis(10);

impl Core {
    /// When [`Core::run_timers`] is to be called next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let initiations = (!self.to_initiate.is_empty()).then_some(self.initiates_at);
        self.wheel.next().into_iter().chain(initiations).min()
    }

    /// Does what has become due. Called on every turn of the loop; nearly always there is nothing.
    pub(crate) fn run_timers(&mut self) {
        if self.limiter_resets_at <= self.now {
            self.limiter.reset_count();
            self.handshakes = 0;
            self.sources.forget(self.now);
            self.tun.follow_mtu();
            self.limiter_resets_at = self.now + Duration::from_secs(1);
        }
        if self.batch_forgets_at <= self.now {
            self.batch.forget_refusals();
            self.batch_forgets_at = self.now + REFUSALS_LAST;
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now, &mut due);
        for (slot, tick) in due.drain(..) {
            if self.peers.get_mut(slot).is_some_and(|peer| peer.wakes_at == tick) {
                self.run_peer_timers(slot);
                self.schedule(slot);
            }
        }
        self.due = due;
        if self.initiates_at <= self.now && !self.to_initiate.is_empty() {
            self.initiates_at = self.now + INITIATIONS_EVERY;
            self.initiate_some();
        }
    }

    /// Makes the peer's clock right before something happens to it, and its timers run from now on.
    pub(super) fn wake(&mut self, slot: usize) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.timers_are_stale(now) {
            self.run_peer_timers(slot);
        }
        let soon = self.wheel.tick_of(now + TICK);
        if let Some(peer) = self.peers.get_mut(slot)
            && (peer.wakes_at == 0 || peer.wakes_at > soon)
        {
            peer.wakes_at = soon;
            self.wheel.insert(slot, soon);
        }
    }

    fn run_peer_timers(&mut self, slot: usize) {
        let now = self.now;
        let space = self.batch.space(&self.socket);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let output = peer.run_timers(now, space);
        self.send(slot, &output, None);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.keepalive_due(now) {
            self.keep_alive(slot);
        }
    }

    /// Sends an empty message, or begins a handshake when there is no session to send it with.
    pub(super) fn keep_alive(&mut self, slot: usize) {
        let now = self.now;
        let space = self.batch.space(&self.socket);
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let output = if peer.has_session() {
            Output::from(peer.tunn.encapsulate(&[], space))
        } else {
            Output::from(peer.tunn.format_handshake_initiation(space, false))
        };
        // Also when a handshake is under way already: the next one is due an interval later.
        peer.active(now);
        self.send(slot, &output, None);
    }

    pub(super) fn schedule(&mut self, slot: usize) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.wakes_at = 0;
        if let Some(at) = peer.wake_at(now) {
            peer.wakes_at = self.wheel.tick_of(at);
            self.wheel.insert(slot, peer.wakes_at);
        }
    }

    fn initiate_some(&mut self) {
        for _ in 0..INITIATIONS {
            let Some(slot) = self.to_initiate.pop_front() else { return };
            if self.peers.get_mut(slot).is_some_and(|peer| peer.endpoint.is_some() && !peer.has_session()) {
                self.wake(slot);
                self.keep_alive(slot);
            }
        }
    }
}
