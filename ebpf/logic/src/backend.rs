//! Which backend takes a connection.

use skep_abi::{
    Affinity, AffinityKey, BackendV4, Be16, Ip4, SCOPE_EXTERNAL, SCOPE_INTERNAL, SVC_TWO_SCOPES, SvcKeyV4, SvcV4,
};

/// How often a choice starts again after it has raced with a reuse of the row.
const ATTEMPTS: u32 = 3;

/// The tables that a choice reads.
pub trait Tables {
    /// The head of a service.
    fn service(&self, key: &SvcKeyV4) -> Option<SvcV4>;
    /// A row of the backend table.
    fn backend(&self, row: u32) -> Option<BackendV4>;
    /// The row of a backend of a service in rows `base .. base + count`.
    fn find(&self, base: u32, count: u32, wanted: &BackendV4) -> Option<u32>;
    /// Whether an address is the node's own, so that node ports answer there.
    fn is_node_address(&self, addr: Ip4) -> bool;
    /// First and last node port.
    fn node_ports(&self) -> (u16, u16);
    /// Whether the caller is inside the cluster.
    fn is_inside(&self) -> bool;
    /// A random number.
    fn random(&self) -> u32;
    /// Nanoseconds of the monotonic clock.
    fn now_ns(&self) -> u64;
    /// The backend that a client had last.
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    /// Keeps the backend that a client has now. A table without room forgets it, and the client is sent anywhere next time.
    fn keep_affinity(&self, key: &AffinityKey, last: &Affinity);
}

/// The outcome of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No service has this address and port: leave it alone.
    NotService,
    /// The service has no backend: refuse.
    NoBackend(SvcV4),
    /// Every attempt met a row of another service: refuse, the caller may try again.
    Raced(SvcV4),
    /// Send it there.
    Backend(Picked),
}

/// A backend that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The head that listed it.
    pub head: SvcV4,
    /// Its row.
    pub row: u32,
    /// The row's content.
    pub backend: BackendV4,
}

/// The key and head of the service at an address: the service's own addresses first, then node ports at the node's.
#[inline(always)]
pub fn lookup<T: Tables>(tables: &T, addr: Ip4, port: Be16, proto: u8) -> Option<(SvcKeyV4, SvcV4)> {
    let (key, head) = find(tables, addr, port, proto)?;
    if head.flags & SVC_TWO_SCOPES == 0 || !tables.is_inside() {
        return Some((key, head));
    }
    let inside = SvcKeyV4 { scope: SCOPE_INTERNAL, ..key };
    // While the two are being written, one of them may be there alone.
    Some(tables.service(&inside).map_or((key, head), |head| (inside, head)))
}

#[inline(always)]
fn find<T: Tables>(tables: &T, addr: Ip4, port: Be16, proto: u8) -> Option<(SvcKeyV4, SvcV4)> {
    let key = SvcKeyV4 { addr, port, proto, scope: SCOPE_EXTERNAL };
    if let Some(head) = tables.service(&key) {
        return Some((key, head));
    }
    let (min, max) = tables.node_ports();
    if port.get() < min || port.get() > max || !tables.is_node_address(addr) {
        return None;
    }
    let key = SvcKeyV4 { addr: Ip4::ANY, ..key };
    tables.service(&key).map(|head| (key, head))
}

/// Chooses a backend at random among the active ones, or among the terminating ones where none is active.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, key: &SvcKeyV4, mut head: SvcV4) -> Choice {
    for _ in 0..ATTEMPTS {
        let count = usable(&head);
        if count == 0 {
            return Choice::NoBackend(head);
        }
        // The high half of the product is uniform over 0..count without a division.
        let offset = ((u64::from(tables.random()) * u64::from(count)) >> 32) as u32;
        let row = head.base.wrapping_add(offset);
        if let Some(backend) = tables.backend(row)
            && backend.service == head.service
        {
            return Choice::Backend(Picked { head, row, backend });
        }
        match tables.service(key) {
            Some(next) => head = next,
            None => return Choice::NotService,
        }
    }
    Choice::Raced(head)
}

/// Like [`choose`], but stays with the backend at `last`, which was seen in `row`, while the service lists it: the choice for a
/// datagram on a socket, or a packet of a flow, that has had one before.
#[inline(always)]
pub fn choose_sticky<T: Tables>(tables: &T, key: &SvcKeyV4, head: SvcV4, last: (Ip4, Be16), row: u32) -> Choice {
    let count = usable(&head);
    let wanted = BackendV4 { addr: last.0, port: last.1, service: head.service, ..BackendV4::default() };
    if row.wrapping_sub(head.base) < count
        && let Some(backend) = tables.backend(row)
        && is_same(&backend, &wanted)
    {
        return Choice::Backend(Picked { head, row, backend });
    }
    // Another list is the current one, in which the backend stands elsewhere if at all.
    if let Some(row) = tables.find(head.base, count, &wanted)
        && let Some(backend) = tables.backend(row)
        && is_same(&backend, &wanted)
    {
        return Choice::Backend(Picked { head, row, backend });
    }
    choose(tables, key, head)
}

/// Whether two rows stand for the same backend of the same service.
#[inline(always)]
pub fn is_same(a: &BackendV4, b: &BackendV4) -> bool {
    a.service == b.service && a.addr == b.addr && a.port == b.port
}

#[inline(always)]
fn usable(head: &SvcV4) -> u32 {
    if head.active > 0 { head.active } else { head.terminating }
}

#[cfg(test)]
#[path = "backend/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
