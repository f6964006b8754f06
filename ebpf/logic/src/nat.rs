//! Flows of pods that leave the cluster: which port of the node stands for them, and whose a packet is that comes back.

use skep_abi::{Be16, Ip, NAT_EGRESS, NAT_INGRESS, NatFlow, NatKey};

/// How many ports are tried for a new flow. With nine of ten ports towards one destination in use, one flow in thirty finds none.
const TRIES: u32 = 32;
/// How old the knowledge may be that a flow's other element is there. An LRU table may evict either one alone.
const CHECK_AFTER_NS: u64 = 2_000_000_000;

/// The table of translations.
pub trait NatTable {
    /// An element.
    fn get(&self, key: &NatKey) -> Option<NatFlow>;
    /// Adds an element where there is none.
    fn add(&self, key: &NatKey, flow: &NatFlow) -> Added;
    /// Notes that the other element was there now.
    fn confirm(&self, key: &NatKey, now_ns: u64);
    /// Removes an element.
    fn remove(&self, key: &NatKey);
    /// Nanoseconds since boot.
    fn now_ns(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there now.
    Yes,
    /// Another one has the key.
    Taken,
    /// The table takes no more.
    Full,
}

/// The node's end of flows that leave the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The node's address.
    pub addr: Ip,
    /// First port.
    pub port_min: u16,
    /// Last port.
    pub port_max: u16,
}

/// What is to be done with a packet that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// It goes under this address and port.
    As(Ip, Be16),
    /// It is part of no flow that is known, and begins none: a reply to whoever reached the pod by its own address.
    Unknown,
    /// No port was free.
    NoPort,
    /// The table took no entry.
    Full,
}

/// The key of what answers to a packet that has `key`.
#[inline(always)]
fn answer(key: &NatKey, addr: Ip, port: Be16) -> NatKey {
    let dir = if key.dir == NAT_EGRESS { NAT_INGRESS } else { NAT_EGRESS };
    if key.dir == NAT_EGRESS {
        NatKey { src: key.dst, dst: addr, src_port: key.dst_port, dst_port: port, dir, ..*key }
    } else {
        NatKey { src: addr, dst: key.src, src_port: port, dst_port: key.src_port, dir, ..*key }
    }
}

/// Translates a packet that leaves; `key` is its tuple with [`NAT_EGRESS`]. Where it is part of no flow and `opens` one, a port is
/// taken: the pod's own if that is in the range, else any. The element of the way back is what holds the port.
#[inline(always)]
pub fn outbound<T: NatTable>(table: &T, key: &NatKey, opens: bool, outside: &Outside) -> Outbound {
    let now = table.now_ns();
    if let Some(flow) = table.get(key) {
        if flow.addr == outside.addr && (is_fresh(&flow, now) || reclaim(table, key, &flow, now)) {
            return Outbound::As(flow.addr, flow.port);
        }
        table.remove(key);
    }
    if !opens {
        return Outbound::Unknown;
    }
    let inside = NatFlow { checked_ns: now, addr: key.src, port: key.src_port, pad: [0; 6] };
    for attempt in 0..TRIES {
        let port = candidate(table, key, attempt, outside);
        let back = answer(key, outside.addr, port);
        match table.add(&back, &inside) {
            Added::Taken => {}
            Added::Full => return Outbound::Full,
            Added::Yes => return enter(table, key, &back, now),
        }
    }
    Outbound::NoPort
}

#[inline(always)]
fn candidate<T: NatTable>(table: &T, key: &NatKey, attempt: u32, outside: &Outside) -> Be16 {
    let own = key.src_port.get();
    if attempt == 0 && own >= outside.port_min && own <= outside.port_max {
        return key.src_port;
    }
    let span = u64::from(outside.port_max.saturating_sub(outside.port_min)) + 1;
    let offset = (u64::from(table.random()) * span) >> 32;
    Be16::new(outside.port_min.wrapping_add(offset as u16))
}

/// Adds the way out of a flow that has its way back. Two packets of one flow may come here at once: the later one gives way.
#[inline(always)]
fn enter<T: NatTable>(table: &T, key: &NatKey, back: &NatKey, now: u64) -> Outbound {
    let flow = NatFlow { checked_ns: now, addr: back.dst, port: back.dst_port, pad: [0; 6] };
    match table.add(key, &flow) {
        Added::Yes => return Outbound::As(flow.addr, flow.port),
        Added::Taken => table.remove(back),
        Added::Full => {
            table.remove(back);
            return Outbound::Full;
        }
    }
    table.get(key).map_or(Outbound::Full, |flow| Outbound::As(flow.addr, flow.port))
}

/// Whose a packet is that came to the node; `key` is its tuple with [`NAT_INGRESS`].
#[inline(always)]
pub fn inbound<T: NatTable>(table: &T, key: &NatKey) -> Option<(Ip, Be16)> {
    let flow = table.get(key)?;
    let now = table.now_ns();
    if !is_fresh(&flow, now) && !reclaim(table, key, &flow, now) {
        table.remove(key);
        return None;
    }
    Some((flow.addr, flow.port))
}

#[inline(always)]
fn is_fresh(flow: &NatFlow, now: u64) -> bool {
    now.wrapping_sub(flow.checked_ns) < CHECK_AFTER_NS
}

/// Puts a flow's other element back if it was evicted; `false` where its place belongs to another flow by now. Rare, and so called rather than
/// inlined: its stack is free for others then.
#[inline(never)]
fn reclaim<T: NatTable>(table: &T, key: &NatKey, flow: &NatFlow, now: u64) -> bool {
    let other = answer(key, flow.addr, flow.port);
    let (addr, port) = if key.dir == NAT_EGRESS { (key.src, key.src_port) } else { (key.dst, key.dst_port) };
    let ours = match table.get(&other) {
        Some(held) => held.addr == addr && held.port == port,
        None => table.add(&other, &NatFlow { checked_ns: now, addr, port, pad: [0; 6] }) == Added::Yes,
    };
    if ours {
        table.confirm(key, now);
    }
    ours
}

#[cfg(test)]
#[path = "nat/tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
