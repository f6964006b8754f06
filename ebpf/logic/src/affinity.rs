//! Session affinity: a client stays with its backend for a time, while that is listed.

use skep_abi::{Affinity, AffinityKey, Ip, Svc, SvcKey};

use crate::backend::{Choice, Drawn, Last, Picked, Tables, pick_near};

const NS_PER_S: u64 = 1_000_000_000;

/// Like [`crate::choose`], but a client that had a backend of this service within the affinity's time-out has it again.
#[inline(always)]
pub fn choose_affine<T: Tables>(tables: &T, key: &SvcKey, head: Svc, client: Ip) -> Choice {
    choose_for(tables, key, head, client, Last::default())
}

/// The choice for a flow that has had a backend, and else for its client.
#[inline(always)]
pub fn choose_for<T: Tables>(tables: &T, key: &SvcKey, head: Svc, client: Ip, last: Last) -> Choice {
    let mut picked = Picked { head, ..Picked::default() };
    pick(tables, key, &mut picked, &client, last).with(picked)
}

/// As [`choose_for`], in place: the head stands in `picked`.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, key: &SvcKey, picked: &mut Picked, client: &Ip, mut last: Last) -> Drawn {
    let timeout_s = picked.head.affinity_timeout_s;
    if timeout_s == 0 {
        return pick_near(tables, key, picked, &last);
    }
    let held = AffinityKey { client: *client, service: picked.head.service };
    let now_ns = tables.now_ns();
    if !last.known
        && let Some(had) = tables.affinity(&held)
    {
        let known = now_ns.saturating_sub(had.used_ns) <= u64::from(timeout_s) * NS_PER_S;
        last = Last { known, addr: had.addr, port: had.port, row: had.row };
    }
    let drawn = pick_near(tables, key, picked, &last);
    if drawn == Drawn::Backend {
        let Picked { backend, row, .. } = picked;
        let last = Affinity { used_ns: now_ns, addr: backend.addr, port: backend.port, pad: [0; 2], row: *row };
        tables.keep_affinity(&held, &last);
    }
    drawn
}
