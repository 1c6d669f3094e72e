//! What is in the maps over many policies.

use nexa_differential::{effort, policy, seed};
use nexa_gateway::dataplane::Dataplane;

use crate::{apply, open};

/// How the maps differ from what is meant to be in them once all that waits is deleted, as text; empty where they do not.
pub fn drift(dataplane: &mut Dataplane) -> String {
    while dataplane.has_retired() {
        dataplane.remove_retired().unwrap();
    }
    let (_, installer) = dataplane.intent().unwrap();
    let verified = installer.content().compare(&dataplane.reader().content().unwrap());
    verified.maps.iter().filter(|map| map.drift() > 0).map(|map| format!("{map}; ")).collect()
}

#[test]
fn what_policies_leave_behind_goes_in_slices_and_nothing_that_serves_goes_with_it() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut dataplane = open();
    let mut waited = 0;
    let mut snapshot = policy::snapshot(&mut rng);
    for generation in 0..500 * effort() {
        snapshot = if rng.bool() {
            policy::with_one_device_changed(&mut rng, &snapshot)
        } else {
            policy::snapshot(&mut rng)
        };
        apply(&mut dataplane, &snapshot);
        // Mostly the next policy arrives before all of the last one's is gone.
        waited += u32::from(dataplane.has_retired());
        for _ in 0..rng.u8(0..3) {
            dataplane.remove_retired().unwrap();
        }
        if generation % 50 == 0 {
            assert_eq!(drift(&mut dataplane), "", "seed {seed}, generation {generation}");
        }
    }
    assert!(waited > 100, "seed {seed}: {waited} policies left something behind");
}
