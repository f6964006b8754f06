//! Session affinity: a client stays with its backend for a time, while that is listed.

use skep_abi::{Affinity, AffinityKey, Ip, Svc, SvcKey};

use crate::backend::{Choice, Last, Tables, choose_near};

const NS_PER_S: u64 = 1_000_000_000;

/// Like [`crate::choose`], but a client that had a backend of this service within the affinity's time-out has it again.
#[inline(always)]
pub fn choose_affine<T: Tables>(tables: &T, key: &SvcKey, head: Svc, client: Ip) -> Choice {
    choose_for(tables, key, head, client, Last::default())
}

/// The choice for a flow that has had a backend, and else for its client.
#[inline(always)]
pub fn choose_for<T: Tables>(tables: &T, key: &SvcKey, head: Svc, client: Ip, mut last: Last) -> Choice {
    let held = AffinityKey { client, service: head.service };
    let now_ns = tables.now_ns();
    if head.affinity_timeout_s != 0
        && !last.known
        && let Some(had) = tables.affinity(&held)
    {
        let known = now_ns.saturating_sub(had.used_ns) <= u64::from(head.affinity_timeout_s) * NS_PER_S;
        last = Last { known, addr: had.addr, port: had.port, row: had.row };
    }
    let choice = choose_near(tables, key, head, &last);
    if head.affinity_timeout_s != 0
        && let Choice::Backend(picked) = &choice
    {
        let backend = &picked.backend;
        let last = Affinity { used_ns: now_ns, addr: backend.addr, port: backend.port, pad: [0; 2], row: picked.row };
        tables.keep_affinity(&held, &last);
    }
    choice
}
