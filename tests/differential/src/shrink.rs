//! The fewest steps that still lead to a wrong answer: delta debugging (Zeller and Hildebrandt, "Simplifying and
//! Isolating Failure-Inducing Input", 2002), first over the steps, then over all lists of their policies.

use std::sync::Arc;

use nexa_wire::snapshot::Snapshot;

use crate::trial::Step;

/// How many attempts are made. In the kernel each waits for some policies to come in force.
const MAX_ATTEMPTS: u32 = 600;

/// Leaves out of `steps` what `complains` does not need to complain. Returns what is left, and its complaint.
pub fn shrink(
    steps: Vec<Step>,
    complaint: String,
    complains: impl FnMut(&[Step]) -> Option<String>,
) -> (Vec<Step>, String) {
    let mut search = Search { steps, complaint, complains, attempts: 0 };
    loop {
        let before = search.size();
        search.fewer_steps();
        for position in 0..search.steps.len() {
            search.simpler_policy(position);
        }
        if search.size() == before || search.attempts >= MAX_ATTEMPTS {
            return (search.steps, search.complaint);
        }
    }
}

struct Search<F> {
    steps: Vec<Step>,
    complaint: String,
    complains: F,
    attempts: u32,
}

impl<F: FnMut(&[Step]) -> Option<String>> Search<F> {
    /// Takes `steps` if they will do as well.
    fn attempt(&mut self, steps: Vec<Step>) -> bool {
        if self.attempts >= MAX_ATTEMPTS {
            return false;
        }
        self.attempts += 1;
        let Some(complaint) = (self.complains)(&steps) else { return false };
        self.steps = steps;
        self.complaint = complaint;
        true
    }

    fn fewer_steps(&mut self) {
        self.fewer(Search::length, |steps, gap| drop(steps.drain(gap)));
    }

    fn simpler_policy(&mut self, position: usize) {
        let Some((peers, rules, resources)) = self.policy(position).map(sizes) else { return };
        // From the last: whatever is left out, the positions before it stay.
        for at in (0..rules).rev() {
            self.fewer_in(position, |snapshot| &mut snapshot.rules[at].who);
            self.fewer_in(position, |snapshot| &mut snapshot.rules[at].what);
        }
        for at in (0..resources).rev() {
            self.fewer_in(position, |snapshot| &mut snapshot.resources[at].cidrs);
            self.fewer_in(position, |snapshot| &mut snapshot.resources[at].devices);
            self.fewer_in(position, |snapshot| &mut snapshot.resources[at].traffic);
        }
        for at in (0..peers).rev() {
            self.fewer_in(position, |snapshot| &mut snapshot.peers[at].groups);
        }
        self.fewer_in(position, |snapshot| &mut snapshot.rules);
        self.fewer_in(position, |snapshot| &mut snapshot.resources);
        self.fewer_in(position, |snapshot| &mut snapshot.peers);
    }

    /// Fewer elements in one list of the policy at `position`.
    fn fewer_in<T>(&mut self, position: usize, list: impl Fn(&mut Snapshot) -> &mut Vec<T>) {
        let length = |search: &Self| {
            let mut snapshot = search.policy(position).cloned().unwrap_or_else(|| unreachable!("a policy"));
            list(&mut snapshot).len()
        };
        self.fewer(length, |steps, gap| {
            let Step::Policy(snapshot) = &mut steps[position] else { unreachable!("a policy") };
            list(Arc::make_mut(snapshot)).drain(gap);
        });
    }

    /// Leaves out ever smaller parts of something that is `length` long.
    fn fewer(
        &mut self,
        length: impl Fn(&Self) -> usize,
        leave_out: impl Fn(&mut Vec<Step>, std::ops::Range<usize>),
    ) {
        let mut size = length(self);
        while size > 0 {
            let mut at = 0;
            while at < length(self) {
                let mut steps = self.steps.clone();
                leave_out(&mut steps, at..length(self).min(at + size));
                if !self.attempt(steps) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn length(&self) -> usize {
        self.steps.len()
    }

    fn policy(&self, position: usize) -> Option<&Snapshot> {
        match &self.steps[position] {
            Step::Policy(snapshot) => Some(snapshot),
            Step::Packet(..) => None,
        }
    }

    /// What gets less as the case gets shorter.
    fn size(&self) -> usize {
        let of = |step: &Step| match step {
            Step::Policy(snapshot) => {
                let in_rules = snapshot.rules.iter().map(|rule| 1 + rule.who.len() + rule.what.len());
                let in_resources = snapshot.resources.iter().map(|resource| {
                    1 + resource.cidrs.len() + resource.devices.len() + resource.traffic.len()
                });
                let in_peers = snapshot.peers.iter().map(|peer| 1 + peer.groups.len());
                1 + in_rules.chain(in_resources).chain(in_peers).sum::<usize>()
            }
            Step::Packet(..) => 1,
        };
        self.steps.iter().map(of).sum()
    }
}

const fn sizes(snapshot: &Snapshot) -> (usize, usize, usize) {
    (snapshot.peers.len(), snapshot.rules.len(), snapshot.resources.len())
}
