//! Which backend takes a connection.

use skep_abi::{BackendV4, Be16, Ip4, SCOPE_EXTERNAL, SvcKeyV4, SvcV4};

/// How often a choice starts again after it has raced with a reuse of the row.
const ATTEMPTS: u32 = 4;

/// How many rows of a new list are searched for the backend of a flow that began with an older one.
const STICKY_ROWS_MAX: u32 = 32;

/// The tables that a choice reads.
pub trait Tables {
    /// The head of a service.
    fn service(&self, key: &SvcKeyV4) -> Option<SvcV4>;
    /// A row of the backend table.
    fn backend(&self, row: u32) -> Option<BackendV4>;
    /// Whether an address is the node's own, so that node ports answer there.
    fn is_node_address(&self, addr: Ip4) -> bool;
    /// First and last node port.
    fn node_ports(&self) -> (u16, u16);
    /// A random number.
    fn random(&self) -> u32;
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
pub fn choose<T: Tables>(tables: &T, addr: Ip4, port: Be16, proto: u8) -> Choice {
    let Some((key, head)) = lookup(tables, addr, port, proto) else {
        return Choice::NotService;
    };
    choose_from(tables, &key, head)
}

/// Like [`choose`], but stays with `backend`, last seen in `row`, while the service lists it: the choice for a datagram on a
/// socket, or a packet of a flow, that has had one before.
#[inline(always)]
pub fn choose_sticky<T: Tables>(tables: &T, key: &SvcKeyV4, head: SvcV4, backend: (Ip4, Be16), row: u32) -> Choice {
    let count = usable(&head);
    if row.wrapping_sub(head.base) < count
        && let Some(picked) = picked_if(tables, &head, row, backend)
    {
        return Choice::Backend(picked);
    }
    for offset in 0..STICKY_ROWS_MAX {
        if offset >= count {
            break;
        }
        if let Some(picked) = picked_if(tables, &head, head.base.wrapping_add(offset), backend) {
            return Choice::Backend(picked);
        }
    }
    choose_from(tables, key, head)
}

#[inline(always)]
fn picked_if<T: Tables>(tables: &T, head: &SvcV4, row: u32, wanted: (Ip4, Be16)) -> Option<Picked> {
    let backend = tables.backend(row)?;
    let same = backend.service == head.service && (backend.addr, backend.port) == wanted;
    same.then_some(Picked { head: *head, row, backend })
}

#[inline(always)]
fn choose_from<T: Tables>(tables: &T, key: &SvcKeyV4, mut head: SvcV4) -> Choice {
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

#[inline(always)]
fn usable(head: &SvcV4) -> u32 {
    if head.active > 0 { head.active } else { head.terminating }
}

#[cfg(test)]
#[path = "backend/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
