//! Session affinity: a client stays with its backend for a time, while that is listed.

use skep_abi::{Affinity, AffinityKey, SvcKeyV4, SvcV4};

use crate::backend::{Choice, Tables, choose, choose_sticky};

const NS_PER_S: u64 = 1_000_000_000;

/// Like [`choose`], but a client that had a backend of this service within the affinity's time-out has it again.
#[inline(always)]
pub fn choose_affine<T: Tables>(tables: &T, key: &SvcKeyV4, head: SvcV4, client: u64) -> Choice {
    if head.affinity_timeout_s == 0 {
        return choose(tables, key, head);
    }
    let held = AffinityKey { client, service: head.service, pad: 0 };
    let now_ns = tables.now_ns();
    let choice = match tables.affinity(&held) {
        Some(last) if now_ns.saturating_sub(last.used_ns) <= u64::from(head.affinity_timeout_s) * NS_PER_S => {
            choose_sticky(tables, key, head, (last.addr, last.port), last.row)
        }
        _ => choose(tables, key, head),
    };
    if let Choice::Backend(picked) = &choice {
        let backend = &picked.backend;
        let last = Affinity {
            used_ns: now_ns,
            addr: backend.addr,
            port: backend.port,
            row: picked.row,
            ..Affinity::default()
        };
        tables.keep_affinity(&held, &last);
    }
    choice
}
