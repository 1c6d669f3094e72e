//! Devices: their places, addresses and profiles.

use std::collections::{BTreeSet, HashSet};

use nexa_abi::layout::{MAX_PEERS, PeerKey, PeerValue, Profile, State};
use nexa_policy::compile::CompiledPeer;
use nexa_types::DeviceId;

use super::{Installed, Installer, Moment, Patch, Plan, Profiled, Scope};
use crate::lower::{Edition, Lowered, LoweredPeer};

impl Installer {
    /// Plans that `devices` are gone at once, whatever room there is: it takes none. Sets are left for the next plan.
    pub fn expel(&mut self, devices: &BTreeSet<DeviceId>) -> Plan {
        self.generation += 2;
        let mut plan =
            Plan { state: State::new(self.generation), excluded: self.excluded, ..Plan::default() };
        let bank = plan.state.bank();
        for device in devices {
            let Some(Installed { index, addresses, .. }) = self.peers.remove(device) else { continue };
            plan.patches.push((bank * MAX_PEERS + index, Patch::Gone));
            plan.delete_peers.extend(addresses);
            self.profiles[index as usize] = None;
            self.free.push_back(index);
        }
        let gone: HashSet<u32> = plan.patches.iter().map(|(position, _)| *position).collect();
        self.live.retain(|(position, _)| !gone.contains(position));
        // No policy is what is installed now.
        self.edition = Edition::default();
        plan
    }

    pub(super) fn plan_peers(&mut self, lowered: &Lowered, scope: &Scope, plan: &mut Plan) {
        let (mut devices, touched) = match scope {
            Scope::Touched(touched) => (touched.peers.clone(), touched),
            Scope::Everything(all) => (all.peers.clone(), all),
        };
        if matches!(scope, Scope::Everything(_)) {
            devices.extend(self.peers.keys());
        }
        let (there, gone): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|device| lowered.peer(*device).is_some());
        let mut freed: BTreeSet<PeerKey> = BTreeSet::new();
        for installed in gone.iter().filter_map(|device| self.peers.remove(device)) {
            freed.extend(installed.addresses);
            self.profiles[installed.index as usize] = None;
            self.free.push_back(installed.index);
        }
        for device in &there {
            let Some(peer) = lowered.peer(*device) else { continue };
            let LoweredPeer { addresses, sets, expires_at } = peer;
            if let Some(Installed { index, epoch, .. }) = self.place_of(*device, addresses, plan, &mut freed)
            {
                self.profiles[index as usize] = Some(Profiled { epoch, sets, expires_at });
            }
        }
        // An address that went from one to another.
        for address in
            touched.peers.iter().filter_map(|device| self.peers.get(device)).flat_map(|peer| peer.addresses)
        {
            freed.remove(&address);
        }
        plan.delete_peers.extend(freed);
    }

    pub(super) fn plan_profiles(&mut self, moment: Moment, plan: &mut Plan) {
        let bank = plan.state.bank();
        let first = bank * MAX_PEERS;
        // Of nearly all of them.
        let lease_until_ns = moment.boot_deadline_ns(None);
        let profiles = self.profiles.iter().zip(0..).filter_map(|(profiled, index)| {
            let Profiled { epoch, sets: CompiledPeer { shared, own }, expires_at } = (*profiled)?;
            let profile = Profile {
                peer: index,
                shared: self.sets.of(shared.0),
                own: self.sets.of(own.0),
                epoch,
                lease_until_ns: expires_at.map_or(lease_until_ns, |_| moment.boot_deadline_ns(expires_at)),
            };
            Some((first + index, profile))
        });
        self.live = profiles.collect();
        plan.profiles.clone_from(&self.live);
        let used = self.profiles.len() as u32;
        let dirty = std::mem::replace(&mut self.written[bank as usize], used);
        let is_free = |index: &u32| self.profiles.get(*index as usize).is_none_or(Option::is_none);
        let vacant = (0..used.max(dirty)).filter(is_free);
        plan.profiles.extend(vacant.map(|index| (first + index, Profile::default())));
    }

    /// The peer's place, a new one if it is new. None when all are taken, which lowering rules out.
    fn place_of(
        &mut self,
        device: DeviceId,
        addresses: [PeerKey; 2],
        plan: &mut Plan,
        freed: &mut BTreeSet<PeerKey>,
    ) -> Option<Installed> {
        // Of this generation, so that no flow of an earlier hold on these addresses or this index is one of this.
        let epoch = plan.state.generation() as u32;
        if let Some(installed) = self.peers.get_mut(&device) {
            if installed.addresses != addresses {
                freed.extend(installed.addresses);
                installed.addresses = addresses;
                installed.epoch = epoch;
                plan.insert_peers.extend(addresses.map(|key| (key, PeerValue { peer: installed.index })));
            }
            return Some(*installed);
        }
        let index = match u32::try_from(self.profiles.len()) {
            Ok(next) if next < MAX_PEERS => {
                self.profiles.push(None);
                next
            }
            _ => self.free.pop_front()?,
        };
        plan.reset_counters.push(index);
        plan.insert_peers.extend(addresses.map(|key| (key, PeerValue { peer: index })));
        let installed = Installed { index, addresses, epoch };
        self.peers.insert(device, installed);
        Some(installed)
    }
}
