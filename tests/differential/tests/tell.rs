//! Which drops and new flows are told of, and how many are said not to have been.

use nexa_abi::engine::{tell, untell};
use nexa_abi::layout::FLOW_BEGAN;
use nexa_abi::reason::Reason;
use nexa_differential::host::HostTables;

const DROP: u32 = Reason::NoRule as u32;
const START_NS: u64 = 1_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What is said of so many events of a peer at one moment.
fn told(tables: &HostTables, what: u32, events: usize, now_ns: u64) -> Vec<Option<u32>> {
    (0..events).map(|_| tell(tables, 7, what, now_ns)).collect()
}

#[test]
fn a_burst_is_told_then_a_rate_and_each_says_how_many_before_it_were_not() {
    for what in [DROP, FLOW_BEGAN] {
        let tables = HostTables::default();
        let mut expected = vec![Some(0); 20];
        expected.extend([None; 10]);
        assert_eq!(told(&tables, what, 30, START_NS), expected);
        // Ten a second.
        let expected = [Some(10), Some(0), Some(0), None];
        assert_eq!(told(&tables, what, 4, START_NS + SECOND_NS * 3 / 10), expected);
        assert_eq!(told(&tables, what, 1, START_NS + SECOND_NS * 4 / 10), [Some(1)]);
    }
}

#[test]
fn drops_and_flows_and_peers_are_counted_apart() {
    let tables = HostTables::default();
    assert_eq!(told(&tables, DROP, 25, START_NS).iter().flatten().count(), 20);
    assert_eq!(told(&tables, FLOW_BEGAN, 23, START_NS).iter().flatten().count(), 20);
    assert_eq!(tell(&tables, 8, DROP, START_NS), Some(0), "another peer");
    let later = START_NS + SECOND_NS;
    assert_eq!(tell(&tables, 7, FLOW_BEGAN, later), Some(3));
    assert_eq!(tell(&tables, 7, DROP, later), Some(5));
}

#[test]
fn what_found_no_room_is_said_with_the_next_that_is_told() {
    let tables = HostTables::default();
    for what in [DROP, FLOW_BEGAN] {
        told(&tables, what, 22, START_NS);
        let later = START_NS + SECOND_NS;
        assert_eq!(tell(&tables, 7, what, later), Some(2));
        untell(&tables, 7, what, 2);
        assert_eq!(tell(&tables, 7, what, later), Some(3), "the two and the one that said so");
        assert_eq!(tell(&tables, 7, what, later), Some(0));
        untell(&tables, 7, what, 0);
        assert_eq!(tell(&tables, 7, what, later), Some(1));
    }
}
