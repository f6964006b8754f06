//! Changes under traffic.

use skep_netns::{Churn, World};

/// Services and slices that change at random, a daemon that dies and comes back in between: no connection and no datagram fails that has a
/// live backend, and in the end the kernel holds what it should.
#[test]
fn churn_fails_nothing_that_has_a_live_backend() {
    let mut world = World::new(4);
    let churn = Churn { changes: 2_000, rate: 400, calls: 500, long_lived: 60, restarts: 2, seed: 0x5ee9 };
    let churned = churn.run(&mut world).unwrap();
    assert_eq!(churned.failures, [""; 0]);
    assert_eq!(churned.differences, [""; 0]);
    assert!(churned.changes.len() >= 2_000 && churned.calls >= 500 && churned.pings >= 60, "{churned:?}");
}
