//! Policies and packets, played to somebody who answers and judged by the specification.

use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use nexa_abi::layout::Direction;
use nexa_gateway_core::{lower, model};
use nexa_policy::Model;
use nexa_wire::snapshot::Snapshot;

use crate::oracle::{Expected, Oracle};
use crate::packets::{Packet, Talk};
use crate::{policy, shrink, words};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A policy comes in force.
    Policy(Arc<Snapshot>),
    /// A packet arrives.
    Packet(Direction, Arc<Packet>),
}

/// Who is asked.
pub trait Answers {
    /// Forgets policies and flows: a new case begins.
    fn reset(&mut self);

    /// Puts a policy in force.
    fn apply(&mut self, snapshot: &Snapshot);

    /// Lets a packet be decided.
    ///
    /// # Errors
    /// What was answered, where that is not as expected.
    fn check(&mut self, direction: Direction, packet: &Packet, expected: Expected) -> Result<(), String>;

    /// Looks at what has to add up over packets.
    ///
    /// # Errors
    /// What does not.
    fn check_sums(&mut self) -> Result<(), String>;
}

/// How long a random case is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Policies that follow each other on the same maps, so that flows of one meet the next.
    pub generations: usize,
    /// Packets under each of them.
    pub packets: usize,
}

/// What a case went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets decided.
    pub packets: u64,
    /// Packets that went on, in and out.
    pub passed: [u64; 2],
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        for (sum, passed) in self.passed.iter_mut().zip(other.passed) {
            *sum += passed;
        }
    }
}

/// An answer that is not the specification's, with the fewest steps found that lead there.
pub struct Disagreement {
    /// What happened.
    pub steps: Vec<Step>,
    /// What was expected and what was answered.
    pub complaint: String,
}

/// A random case, up to its first wrong answer. `in_time` is asked before each policy whether the case may go on.
///
/// # Errors
/// The disagreement, made as short as could be.
pub fn random<A: Answers>(
    rng: &mut Rng,
    length: Length,
    answers: &mut A,
    in_time: impl Fn() -> bool,
) -> Result<Count, Disagreement> {
    let mut steps = Vec::new();
    play(rng, length, Trial::new(answers), in_time, &mut steps).map_err(|complaint| {
        if replay(&steps, answers).is_none() {
            let complaint =
                format!("{complaint}\nIt does not repeat: something before this case matters, or time");
            let last_policy = steps.iter().rposition(|step| matches!(step, Step::Policy(_)));
            let told = [last_policy, steps.len().checked_sub(1)];
            let steps = told.into_iter().flatten().map(|at| steps[at].clone()).collect();
            return Disagreement { steps, complaint };
        }
        let (steps, complaint) = shrink::shrink(steps, complaint, |steps| replay(steps, answers));
        Disagreement { steps, complaint }
    })
}

fn play<A: Answers>(
    rng: &mut Rng,
    length: Length,
    mut trial: Trial<'_, A>,
    in_time: impl Fn() -> bool,
    steps: &mut Vec<Step>,
) -> Result<Count, String> {
    let mut talk = Talk::default();
    let mut count = Count::default();
    let mut snapshot = policy::snapshot(rng);
    for _ in 0..length.generations {
        if !in_time() {
            break;
        }
        // As often by a few changes, of which most of the policy is not touched, as by one of one device, or by quite
        // another.
        match rng.u8(0..3) {
            0 => policy::change(rng, &mut snapshot),
            1 => snapshot = policy::with_one_device_changed(rng, &snapshot),
            _ => snapshot = policy::snapshot(rng),
        }
        steps.push(Step::Policy(snapshot.clone().into()));
        trial.play(&steps[steps.len() - 1])?;
        for _ in 0..length.packets {
            let (direction, packet) = talk.next(rng);
            let packet = Arc::new(packet);
            steps.push(Step::Packet(direction, Arc::clone(&packet)));
            let passed = trial.play(&steps[steps.len() - 1])?;
            talk.remember(&packet, passed);
            count.packets += 1;
            count.passed[direction as usize] += u64::from(passed);
        }
        trial.answers.check_sums()?;
    }
    Ok(count)
}

/// What is wrong with the answers to these steps, if anything is. Policies that cannot be are no case at all.
fn replay<A: Answers>(steps: &[Step], answers: &mut A) -> Option<String> {
    let can_be = |step: &Step| match step {
        Step::Policy(snapshot) => lower(snapshot, &[], policy::at()).is_ok(),
        Step::Packet(..) => true,
    };
    if !steps.iter().all(can_be) {
        return None;
    }
    let mut trial = Trial::new(answers);
    let wrong = steps.iter().find_map(|step| trial.play(step).err());
    wrong.or_else(|| trial.answers.check_sums().err())
}

/// A case under way.
struct Trial<'a, A> {
    answers: &'a mut A,
    oracle: Oracle,
    policy: Option<(Arc<Snapshot>, Model)>,
}

impl<'a, A: Answers> Trial<'a, A> {
    fn new(answers: &'a mut A) -> Self {
        answers.reset();
        Self { answers, oracle: Oracle::default(), policy: None }
    }

    /// Says whether a packet passed.
    fn play(&mut self, step: &Step) -> Result<bool, String> {
        match step {
            Step::Policy(snapshot) => {
                self.answers.apply(snapshot);
                self.oracle.change(snapshot);
                let model = model::from_snapshot(snapshot, &[]).expect("it was lowered");
                self.policy = Some((Arc::clone(snapshot), model));
                Ok(false)
            }
            Step::Packet(direction, packet) => {
                // Before the first policy nobody knows anybody, which the oracle need not be asked.
                let Some((snapshot, model)) = &self.policy else { return Ok(false) };
                let expected = self.oracle.ask(snapshot, model, *direction, packet);
                match self.answers.check(*direction, packet, expected) {
                    Ok(()) => Ok(expected.passes()),
                    Err(answer) => Err(format!("expected {expected:?}, but {answer}")),
                }
            }
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words::of(&self.steps))?;
        f.write_str(&self.complaint)
    }
}

impl fmt::Debug for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}
