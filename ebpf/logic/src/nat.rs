//! Translated flows: which tuple a packet gets, and which port of the node stands for a flow that takes one.

use skep_abi::{Be16, Ip, NAT_FORWARD, NAT_REVERSE, NatFlow, NatKey};

/// How many ports are tried for a new flow. With nine of ten ports towards one destination in use, one flow in thirty finds none.
const TRIES: u32 = 32;
/// How old the knowledge may be that a flow's other element is there. An LRU table may evict either one alone.
const CHECK_AFTER_NS: u64 = 2_000_000_000;

/// The table of translations.
pub trait NatTable {
    /// Copies an element out; `false` where there is none.
    fn read(&self, key: &NatKey, into: &mut NatFlow) -> bool;
    /// Whether there is an element, and it translates as `flow` does.
    fn has(&self, key: &NatKey, flow: &NatFlow) -> Has;
    /// Adds an element where there is none.
    fn add(&self, key: &NatKey, flow: &NatFlow) -> Added;
    /// Notes that the other element was there now.
    fn confirm(&self, key: &NatKey, now_ns: u64);
    /// Removes an element.
    fn remove(&self, key: &NatKey);
    /// [`hold`]; a table may bring it as a function that is checked by itself.
    #[inline(always)]
    fn hold(&self, key: &NatKey, flow: &NatFlow) -> Added
    where
        Self: Sized,
    {
        hold(self, key, flow)
    }
    /// Nanoseconds since boot.
    fn now_ns(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
}

/// What is at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// Nothing.
    Nothing,
    /// The translation that was asked for.
    This,
    /// Another one.
    Other,
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

/// The node's end of flows that go on under its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The node's address; none where it has none.
    pub addr: Ip,
    /// First port.
    pub port_min: u16,
    /// Last port.
    pub port_max: u16,
}

/// What became of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is entered.
    Yes,
    /// No port was free.
    NoPort,
    /// The table took no entry.
    Full,
}

/// What is to be done with a packet that leaves the cluster.
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

/// The other element of a flow.
#[inline(always)]
fn mirror(key: &NatKey, flow: &NatFlow) -> (NatKey, NatFlow) {
    let dir = if key.dir == NAT_FORWARD { NAT_REVERSE } else { NAT_FORWARD };
    let other = NatKey {
        src: flow.dst,
        dst: flow.src,
        src_port: flow.dst_port,
        dst_port: flow.src_port,
        proto: key.proto,
        dir,
        pad: [0; 2],
    };
    let back = NatFlow { src: key.dst, dst: key.src, src_port: key.dst_port, dst_port: key.src_port, ..*flow };
    (other, back)
}

/// Whether two elements of one key translate alike.
#[inline(always)]
pub fn is_alike(a: &NatFlow, b: &NatFlow) -> bool {
    a.src == b.src && a.dst == b.dst && a.src_port == b.src_port && a.dst_port == b.dst_port
}

/// The flow of a packet; `false` where it is part of none.
#[inline(always)]
pub fn current<T: NatTable>(table: &T, key: &NatKey, flow: &mut NatFlow) -> bool {
    if !table.read(key, flow) {
        return false;
    }
    let now = table.now_ns();
    if now.wrapping_sub(flow.checked_ns) < CHECK_AFTER_NS || reclaim(table, key, flow, now) {
        return true;
    }
    table.remove(key);
    false
}

/// Removes both elements of a flow.
#[inline(never)]
pub fn forget<T: NatTable>(table: &T, key: &NatKey, flow: &NatFlow) {
    let (other, back) = mirror(key, flow);
    if table.has(&other, &back) == Has::This {
        table.remove(&other);
    }
    table.remove(key);
}

/// Enters a flow that is not there: `flow` holds what its packets are sent to, and gets what they are sent from. That is what it is now
/// if it is to be kept and no other flow has it towards this destination; else a port of the node is taken, its own if that is in the
/// range, or any. The element of the way back is what holds the port.
#[inline(always)]
pub fn open<T: NatTable>(table: &T, key: &NatKey, outside: &Outside, keep: bool, flow: &mut NatFlow) -> Opened {
    flow.checked_ns = table.now_ns();
    for attempt in 0..TRIES {
        if keep && attempt == 0 {
            (flow.src, flow.src_port) = (key.src, key.src_port);
        } else if outside.addr.is_none() || outside.port_min > outside.port_max {
            return Opened::NoPort;
        } else {
            (flow.src, flow.src_port) = (outside.addr, candidate(table, key, attempt, outside));
        }
        match table.hold(key, flow) {
            Added::Taken => {}
            Added::Full => return Opened::Full,
            Added::Yes => return enter(table, key, flow),
        }
    }
    Opened::NoPort
}

/// Adds the way back of a flow, which holds its port. One of this very flow may be there: of another CPU a moment ago, or left where the table evicted the other element.
#[inline(always)]
pub fn hold<T: NatTable>(table: &T, key: &NatKey, flow: &NatFlow) -> Added {
    let (other, back) = mirror(key, flow);
    match table.add(&other, &back) {
        Added::Taken if table.has(&other, &back) == Has::This => Added::Yes,
        added => added,
    }
}

/// Removes the way back again.
#[inline(never)]
fn release<T: NatTable>(table: &T, key: &NatKey, flow: &NatFlow) {
    table.remove(&mirror(key, flow).0);
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
fn enter<T: NatTable>(table: &T, key: &NatKey, flow: &mut NatFlow) -> Opened {
    match table.add(key, flow) {
        Added::Yes => return Opened::Yes,
        Added::Taken if table.has(key, flow) == Has::This => return Opened::Yes,
        Added::Taken | Added::Full => release(table, key, flow),
    }
    if table.read(key, flow) { Opened::Yes } else { Opened::Full }
}

/// Translates a pod's packet that leaves the cluster; `key` is its tuple with [`NAT_FORWARD`]. Where it is part of no flow and `opens`
/// one, a port is taken.
#[inline(always)]
pub fn outbound<T: NatTable>(table: &T, key: &NatKey, opens: bool, outside: &Outside, flow: &mut NatFlow) -> Outbound {
    if current(table, key, flow) {
        if flow.src == outside.addr {
            return Outbound::As(flow.src, flow.src_port);
        }
        forget(table, key, flow);
    }
    if !opens {
        return Outbound::Unknown;
    }
    (flow.dst, flow.dst_port) = (key.dst, key.dst_port);
    (flow.service, flow.row, flow.ifindex) = (0, 0, 0);
    match open(table, key, outside, false, flow) {
        Opened::Yes => Outbound::As(flow.src, flow.src_port),
        Opened::NoPort => Outbound::NoPort,
        Opened::Full => Outbound::Full,
    }
}

/// Puts a flow's other element back if it was evicted; `false` where its place belongs to another flow by now. Rare, and so called rather than
/// inlined: its stack is free for others then.
#[inline(never)]
fn reclaim<T: NatTable>(table: &T, key: &NatKey, flow: &NatFlow, now: u64) -> bool {
    let (other, mut back) = mirror(key, flow);
    back.checked_ns = now;
    let ours = match table.has(&other, &back) {
        Has::This => true,
        Has::Other => false,
        Has::Nothing => table.add(&other, &back) == Added::Yes,
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
