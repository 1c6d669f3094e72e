//! Two ends whose handshakes are lost, late, doubled and crossed, by a clock set by hand: whatever happens, neither
//! direction stays deaf. Some tests say what boringtun alone would do; docs/adr/0014 has what follows from it.

mod end;

use std::time::Duration;

use end::{Alone, End, Guard, Memory, pair};

use crate::by_hand::advance;
use crate::packet::{Message, sender_index};

/// Hands all of `messages` to `end`; what it answers.
fn deliver(end: &mut End, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    messages.into_iter().flat_map(|message| end.receive(&message)).collect()
}

/// Lets time pass, and what the timers would send be lost.
fn pass(a: &mut End, b: &mut End, by: Duration) {
    advance(by);
    let _lost = (a.tick(), b.tick());
}

/// Hands messages to and fro until both are silent.
fn settle(a: &mut End, b: &mut End, from_a: Vec<Vec<u8>>, from_b: Vec<Vec<u8>>) {
    let (mut to_b, mut to_a) = (from_a, from_b);
    while !to_a.is_empty() || !to_b.is_empty() {
        let (answers_of_a, answers_of_b) = (deliver(a, to_a), deliver(b, to_b));
        (to_a, to_b) = (answers_of_b, answers_of_a);
    }
}

/// Whether what one end sends arrives at the other.
fn hears(from: &mut End, to: &mut End) -> bool {
    let before = to.heard;
    let sent = from.send();
    deliver(to, sent);
    to.heard > before
}

/// Both with a session that `a` has asked for.
fn connected(guard: Guard, memory: Memory) -> (End, End) {
    let (mut a, mut b) = pair(guard, memory);
    let asked = a.ask();
    settle(&mut a, &mut b, vec![asked], Vec::new());
    assert!(hears(&mut a, &mut b) && hears(&mut b, &mut a));
    (a, b)
}

/// The index that a data message goes to.
fn receiver(message: &[u8]) -> u32 {
    match Message::parse(message) {
        Some(Message::Data { receiver }) => receiver,
        other => panic!("no data: {other:?}"),
    }
}

/// What `a` sends with after the answers to two tries came in reverse order, and the index of the later answer.
fn after_late_answer(guard: Guard) -> (End, End, u32) {
    let (mut a, mut b) = pair(guard, Memory::OfKernel);
    let first = a.ask();
    let late = deliver(&mut b, [first]);
    advance(Duration::from_secs(6));
    b.tick();
    let second = a.tick();
    let answer = deliver(&mut b, second);
    let wanted = sender_index(&answer[0]).unwrap();
    let confirmed = deliver(&mut a, answer);
    deliver(&mut b, confirmed);
    let confused = deliver(&mut a, late);
    deliver(&mut b, confused);
    (a, b, wanted)
}

#[test]
fn an_answer_to_an_earlier_try_moves_nothing() {
    let (mut a, mut b, wanted) = after_late_answer(Guard::Ours);
    assert_eq!(receiver(&a.send()[0]), wanted);
    assert!(hears(&mut a, &mut b) && hears(&mut b, &mut a));
}

#[test]
fn boringtun_alone_sends_into_the_void_after_a_late_answer() {
    let (mut a, mut b, wanted) = after_late_answer(Guard::None(Alone));
    assert_ne!(receiver(&a.send()[0]), wanted);
    assert!(!hears(&mut a, &mut b), "deaf in this direction");
    assert!(hears(&mut b, &mut a), "and not in the other");
}

/// For how many tries of `b`, of which no answer arrives, both hear each other in the session they have.
fn tries_survived(guard: Guard) -> usize {
    let (mut a, mut b) = connected(guard, Memory::OfBoringtun);
    (0..18)
        .take_while(|_| {
            pass(&mut a, &mut b, Duration::from_secs(5));
            let asked = b.ask();
            deliver(&mut a, [asked]);
            hears(&mut a, &mut b) && hears(&mut b, &mut a)
        })
        .count()
}

#[test]
fn however_many_answers_are_lost_the_session_goes_on() {
    assert_eq!(tries_survived(Guard::Ours), 18, "as many as are made in 90 seconds");
}

#[test]
fn boringtun_alone_loses_its_session_with_the_eighth_lost_answer() {
    assert_eq!(tries_survived(Guard::None(Alone)), 7);
}

#[test]
fn both_ask_at_once_and_both_hear() {
    for memory in [Memory::OfBoringtun, Memory::OfKernel] {
        let (mut a, mut b) = pair(Guard::Ours, memory);
        let (from_a, from_b) = (a.ask(), b.ask());
        settle(&mut a, &mut b, vec![from_a], vec![from_b]);
        assert!(hears(&mut a, &mut b) && hears(&mut b, &mut a));
        // And again, with sessions there.
        pass(&mut a, &mut b, Duration::from_secs(121));
        let (from_a, from_b) = (a.ask(), b.ask());
        settle(&mut a, &mut b, vec![from_a], vec![from_b]);
        assert!(hears(&mut a, &mut b) && hears(&mut b, &mut a));
    }
}

#[test]
fn late_data_of_the_session_before_arrives_and_moves_nobody_back() {
    let (mut a, mut b) = connected(Guard::Ours, Memory::OfKernel);
    let late = b.send();
    pass(&mut a, &mut b, Duration::from_secs(121));
    let asked = a.ask();
    settle(&mut a, &mut b, vec![asked], Vec::new());
    let wanted = receiver(&a.send()[0]);
    let before = a.heard;
    deliver(&mut a, late);
    assert_eq!(a.heard, before + 1);
    assert_eq!(receiver(&a.send()[0]), wanted);
}

#[test]
fn a_lost_answer_is_asked_for_again_within_six_seconds() {
    let (mut a, mut b) = connected(Guard::Ours, Memory::OfKernel);
    pass(&mut a, &mut b, Duration::from_secs(121));
    let asked = a.ask();
    deliver(&mut b, [asked]);
    let mut again = Vec::new();
    for _ in 0..24 {
        advance(Duration::from_millis(250));
        again.extend(a.tick());
    }
    assert_eq!(again.len(), 1);
    settle(&mut a, &mut b, again, Vec::new());
    assert!(hears(&mut a, &mut b) && hears(&mut b, &mut a));
}

/// Who sends data during a life of random misfortunes.
#[derive(Clone, Copy, Debug)]
enum Talk {
    Both,
    OnlyA,
    OnlyB,
}

/// The longest silence that either listening end had to bear in two hours, in ticks of a quarter of a second. Of
/// `misfortune` handshake messages one is lost and one late.
fn longest_silence(guard: Guard, memory: Memory, talk: Talk, misfortune: u32, seed: u64) -> u32 {
    let (mut a, mut b) = connected(guard, memory);
    let mut chance = numbers(seed);
    // Handshake messages on their way: when they arrive, where, and what.
    let mut late: Vec<(u32, bool, Vec<u8>)> = Vec::new();
    let (mut silence, mut longest) = ([0_u32; 2], 0);
    for now in 0..2 * 3600 * 4 {
        advance(Duration::from_millis(250));
        let mut sent: Vec<(bool, Vec<u8>)> = Vec::new();
        sent.extend(a.tick().into_iter().map(|message| (true, message)));
        sent.extend(b.tick().into_iter().map(|message| (false, message)));
        if !matches!(talk, Talk::OnlyB) {
            sent.extend(a.send().into_iter().map(|message| (true, message)));
        }
        if !matches!(talk, Talk::OnlyA) {
            sent.extend(b.send().into_iter().map(|message| (false, message)));
        }
        let before = [a.heard, b.heard];
        loop {
            let due = late.iter().position(|(at, ..)| *at <= now).map(|at| late.swap_remove(at));
            let (to_b, message) = match due {
                Some((_, to_b, message)) => (to_b, message),
                None if sent.is_empty() => break,
                None => {
                    let (to_b, message) = sent.remove(0);
                    if message[0] != 4 {
                        // Late is up to eight seconds, and sometimes twice.
                        match chance(misfortune) {
                            0 => continue,
                            1 => {
                                late.push((now + 1 + chance(32), to_b, message.clone()));
                                if chance(2) == 0 {
                                    late.push((now + 1 + chance(32), to_b, message));
                                }
                                continue;
                            }
                            _ => {}
                        }
                    } else if chance(20) == 0 {
                        late.push((now + 1 + chance(8), to_b, message));
                        continue;
                    }
                    (to_b, message)
                }
            };
            let answers = if to_b { b.receive(&message) } else { a.receive(&message) };
            sent.extend(answers.into_iter().map(|answer| (!to_b, answer)));
        }
        let listens = [!matches!(talk, Talk::OnlyA), !matches!(talk, Talk::OnlyB)];
        for ((silence, heard), (before, listens)) in
            silence.iter_mut().zip([a.heard, b.heard]).zip(before.into_iter().zip(listens))
        {
            *silence = if heard > before || !listens { 0 } else { *silence + 1 };
            longest = longest.max(*silence);
        }
    }
    longest
}

/// Numbers below a bound, which a seed decides.
fn numbers(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % bound
    }
}

const TALKS: [Talk; 3] = [Talk::Both, Talk::OnlyA, Talk::OnlyB];

/// A third of all handshake messages lost and a third late is more than the minute between the first try and the
/// end of a session can make up for. What must not be is more silence because the other end forgets sessions.
#[test]
fn who_forgets_sessions_as_the_kernel_does_hears_as_much_as_who_does_not() {
    for talk in TALKS {
        for seed in 1..=4 {
            let silence = |memory| longest_silence(Guard::Ours, memory, talk, 3, seed);
            assert_eq!(silence(Memory::OfKernel), silence(Memory::OfBoringtun), "{talk:?} {seed}");
        }
    }
}

#[test]
fn boringtun_alone_is_not_heard_for_many_seconds_by_who_forgets_sessions() {
    let silence = |memory| longest_silence(Guard::None(Alone), memory, Talk::OnlyA, 3, 2);
    assert!(silence(Memory::OfKernel) > silence(Memory::OfBoringtun) + 4 * 15);
}

#[test]
fn hours_of_lost_late_and_doubled_handshakes_leave_nobody_deaf() {
    for talk in TALKS {
        for seed in 1..=4 {
            let silence = longest_silence(Guard::Ours, Memory::OfKernel, talk, 12, seed);
            assert!(silence <= 4 * 5, "{talk:?} {seed}: silent for {} s", silence / 4);
        }
    }
}
