//! Which backend takes a connection.

use skep_abi::{
    Affinity, AffinityKey, Backend, Be16, Ip, MaglevRow, SCOPE_EXTERNAL, SCOPE_INTERNAL, SVC_TWO_SCOPES, Svc, SvcKey,
};

use crate::maglev::place;

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
    /// What the flow hashes to where each node is to choose alike; `None` where any backend does.
    fn flow_hash(&self) -> Option<u32>;
    /// A row of the Maglev tables.
    fn maglev(&self, row: u32) -> Option<MaglevRow>;
    /// Nanoseconds of the monotonic clock.
    fn now_ns(&self) -> u64;
    /// The backend that a client had last.
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    /// Keeps the backend that a client has now. A table without room forgets it, and the client is sent anywhere next time.
    fn keep_affinity(&self, key: &AffinityKey, last: &Affinity);
    /// [`stay`]; tables may bring it as a function that is checked by itself.
    #[inline(always)]
    fn stay(&self, head: &Svc, last: &Last) -> Option<u32>
    where
        Self: Sized,
    {
        stay(self, head, last)
    }
    /// [`draw`], likewise.
    #[inline(always)]
    fn draw(&self, key: &SvcKey, picked: &mut Picked) -> Drawn
    where
        Self: Sized,
    {
        draw(self, key, picked)
    }
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

/// What became of [`draw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// A backend is chosen.
    Backend,
    /// As [`Choice::NotService`].
    NotService,
    /// As [`Choice::NoBackend`].
    NoBackend,
    /// As [`Choice::Raced`].
    Raced,
}

impl Drawn {
    /// With the head and backend that it is about.
    #[inline(always)]
    pub(crate) const fn with(self, picked: Picked) -> Choice {
        match self {
            Self::Backend => Choice::Backend(picked),
            Self::NotService => Choice::NotService,
            Self::NoBackend => Choice::NoBackend(picked.head),
            Self::Raced => Choice::Raced(picked.head),
        }
    }
}

/// A backend that was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    let (mut key, mut head) = (SvcKey { addr, port, proto, scope: SCOPE_EXTERNAL }, Svc::default());
    find(tables, &mut key, &mut head).then_some((key, head))
}

/// As [`lookup`], in place: of a key that is made of what a packet or call says, and [`SCOPE_EXTERNAL`].
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &mut SvcKey, head: &mut Svc) -> bool {
    // Each network namespace has a loopback of its own, and only the node's is a frontend.
    if key.addr.is_loopback() && !tables.is_node_address(&key.addr) {
        return false;
    }
    if let Some(found) = tables.service(key) {
        *head = found;
    } else {
        let (min, max) = tables.node_ports();
        if key.port.get() < min || key.port.get() > max || !tables.is_node_address(&key.addr) {
            return false;
        }
        key.addr = key.addr.any();
        let Some(found) = tables.service(key) else { return false };
        *head = found;
    }
    if head.flags & SVC_TWO_SCOPES != 0 && tables.is_inside() {
        key.scope = SCOPE_INTERNAL;
        match tables.service(key) {
            Some(found) => *head = found,
            // While the two are being written, one of them may be there alone.
            None => key.scope = SCOPE_EXTERNAL,
        }
    }
    true
}

/// Whether an address is a service's own: what comes to a port that it does not have is refused.
#[inline(always)]
pub fn is_service_address<T: Tables>(tables: &T, addr: Ip) -> bool {
    tables.service(&SvcKey::address(addr)).is_some()
}

/// Chooses a backend among the active ones, by the service's Maglev table or at random, or among the terminating ones where none is active.
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

impl Last {
    #[inline(always)]
    fn of(&self, service: u32) -> Backend {
        Backend { addr: self.addr, port: self.port, service, ..Backend::default() }
    }
}

/// [`choose_sticky`] where there was one, and else [`choose`].
#[inline(always)]
fn choose_near<T: Tables>(tables: &T, key: &SvcKey, head: Svc, last: &Last) -> Choice {
    let mut picked = Picked { head, ..Picked::default() };
    pick_near(tables, key, &mut picked, last).with(picked)
}

/// As [`choose_near`], in place: the head stands in `picked`.
#[inline(always)]
pub(crate) fn pick_near<T: Tables>(tables: &T, key: &SvcKey, picked: &mut Picked, last: &Last) -> Drawn {
    if last.known
        && let Some(row) = tables.stay(&picked.head, last)
        && let Some(backend) = tables.backend(row)
        && is_same(&backend, &last.of(picked.head.service))
    {
        (picked.row, picked.backend) = (row, backend);
        return Drawn::Backend;
    }
    tables.draw(key, picked)
}

/// The row in which the service lists a backend that someone has had; `None` where it does not any more.
#[inline(always)]
pub fn stay<T: Tables>(tables: &T, head: &Svc, last: &Last) -> Option<u32> {
    let (count, wanted) = (usable(head), last.of(head.service));
    let here = last.row.wrapping_sub(head.base) < count
        && tables.backend(last.row).is_some_and(|backend| is_same(&backend, &wanted));
    // Or another list is the current one, in which the backend stands elsewhere if at all.
    if here { Some(last.row) } else { tables.find(head.base, count, &wanted) }
}

/// Chooses a backend of the service whose head stands in `picked`, by its Maglev table or at random. Another head may stand there then: the one
/// that lists the backend, or that has none.
#[inline(always)]
pub fn draw<T: Tables>(tables: &T, key: &SvcKey, picked: &mut Picked) -> Drawn {
    let mut head = picked.head;
    for _ in 0..ATTEMPTS {
        let count = usable(&head);
        if count == 0 {
            picked.head = head;
            return Drawn::NoBackend;
        }
        let offset = match place(tables, &head, count) {
            Some(place) => place,
            // The high half of the product is uniform over 0..count without a division.
            None => ((u64::from(tables.random()) * u64::from(count)) >> 32) as u32,
        };
        picked.row = head.base.wrapping_add(offset);
        if let Some(backend) = tables.backend(picked.row)
            && backend.service == head.service
        {
            (picked.head, picked.backend) = (head, backend);
            return Drawn::Backend;
        }
        match tables.service(key) {
            Some(next) => head = next,
            None => return Drawn::NotService,
        }
    }
    picked.head = head;
    Drawn::Raced
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
