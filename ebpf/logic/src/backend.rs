//! Which backend takes a connection.

use skep_abi::{Affinity, AffinityKey, Backend, Be16, Ip, SCOPE_EXTERNAL, SCOPE_INTERNAL, SVC_TWO_SCOPES, Svc, SvcKey};

/// How often a choice starts again after it has raced with a reuse of the row.
const ATTEMPTS: u32 = 3;

/// The tables that a choice reads.
pub trait Tables {
    /// The head of a service.
    fn service(&self, key: &SvcKey) -> Option<Svc>;
    /// A row of the backend table.
    fn backend(&self, row: u32) -> Option<Backend>;
    /// The row of a backend of a service in rows `base .. base + count`.
    fn find(&self, base: u32, count: u32, wanted: &Backend) -> Option<u32>;
    /// Whether an address is the node's own, so that node ports answer there.
    fn is_node_address(&self, addr: &Ip) -> bool;
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
    NoBackend(Svc),
    /// Every attempt met a row of another service: refuse, the caller may try again.
    Raced(Svc),
    /// Send it there.
    Backend(Picked),
}

/// A backend that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The head that listed it.
    pub head: Svc,
    /// Its row.
    pub row: u32,
    /// The row's content.
    pub backend: Backend,
}

/// The key and head of the service at an address: the service's own addresses first, then node ports at the node's.
#[inline(always)]
pub fn lookup<T: Tables>(tables: &T, addr: Ip, port: Be16, proto: u8) -> Option<(SvcKey, Svc)> {
    let (key, head) = find(tables, addr, port, proto)?;
    if head.flags & SVC_TWO_SCOPES == 0 || !tables.is_inside() {
        return Some((key, head));
    }
    let inside = SvcKey { scope: SCOPE_INTERNAL, ..key };
    // While the two are being written, one of them may be there alone.
    Some(tables.service(&inside).map_or((key, head), |head| (inside, head)))
}

#[inline(always)]
fn find<T: Tables>(tables: &T, addr: Ip, port: Be16, proto: u8) -> Option<(SvcKey, Svc)> {
    let key = SvcKey { addr, port, proto, scope: SCOPE_EXTERNAL };
    if let Some(head) = tables.service(&key) {
        return Some((key, head));
    }
    let (min, max) = tables.node_ports();
    if port.get() < min || port.get() > max || !tables.is_node_address(&addr) {
        return None;
    }
    let key = SvcKey { addr: addr.any(), ..key };
    tables.service(&key).map(|head| (key, head))
}

/// Whether an address is a service's own: what comes to a port that it does not have is refused.
#[inline(always)]
pub fn is_service_address<T: Tables>(tables: &T, addr: Ip) -> bool {
    tables.service(&SvcKey::address(addr)).is_some()
}

/// Chooses a backend at random among the active ones, or among the terminating ones where none is active.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, key: &SvcKey, head: Svc) -> Choice {
    choose_near(tables, key, head, &Last::default())
}

/// Like [`choose`], but stays with the backend at `last`, which was seen in `row`, while the service lists it: the choice for a
/// datagram on a socket, or a packet of a flow, that has had one before.
#[inline(always)]
pub fn choose_sticky<T: Tables>(tables: &T, key: &SvcKey, head: Svc, last: (Ip, Be16), row: u32) -> Choice {
    choose_near(tables, key, head, &Last { known: true, addr: last.0, port: last.1, row })
}

/// The backend that someone had last, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Whether there was one.
    pub known: bool,
    /// Its address.
    pub addr: Ip,
    /// Its port.
    pub port: Be16,
    /// The row that it was seen in.
    pub row: u32,
}

/// [`choose_sticky`] where there was one, and else [`choose`].
#[inline(always)]
pub(crate) fn choose_near<T: Tables>(tables: &T, key: &SvcKey, mut head: Svc, last: &Last) -> Choice {
    if last.known {
        let count = usable(&head);
        let wanted = Backend { addr: last.addr, port: last.port, service: head.service, ..Backend::default() };
        let here = last.row.wrapping_sub(head.base) < count
            && tables.backend(last.row).is_some_and(|backend| is_same(&backend, &wanted));
        // Or another list is the current one, in which the backend stands elsewhere if at all.
        let row = if here { Some(last.row) } else { tables.find(head.base, count, &wanted) };
        if let Some(row) = row
            && let Some(backend) = tables.backend(row)
            && is_same(&backend, &wanted)
        {
            return Choice::Backend(Picked { head, row, backend });
        }
    }
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

/// Whether two rows stand for the same backend of the same service.
#[inline(always)]
pub fn is_same(a: &Backend, b: &Backend) -> bool {
    a.service == b.service && a.addr == b.addr && a.port == b.port
}

#[inline(always)]
fn usable(head: &Svc) -> u32 {
    if head.active > 0 { head.active } else { head.terminating }
}

#[cfg(test)]
#[path = "backend/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
