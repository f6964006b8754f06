//! What the kernel holds of services, and the plans that change it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use ipnet::IpNet;
use skep_abi::{
    BACKEND_TERMINATING, BACKENDS, Backend, Be16, Ip, MAGLEV, MaglevRow, PROTO_TCP, PROTO_UDP, SCOPE_EXTERNAL,
    SCOPE_INTERNAL, SOURCES, SVC, SVC_ELSEWHERE, SVC_EXTERNAL, SVC_NODE_PORT, SVC_SOURCES, SVC_TWO_SCOPES, Source,
    SourcePrefix, Svc, SvcKey,
};
use skep_netmodel::{BackendState, Change, Frontend, FrontendAddress, Protocol, Scope, ServiceSpec, maglev_table};

use crate::addresses::Addresses;
use crate::{Full, Plan, Range, Ranges};

/// Sizes of the maps, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of `SVC`.
    pub heads: u32,
    /// Of `BACKENDS`.
    pub rows: u32,
    /// Of `SOURCES`.
    pub sources: u32,
    /// Of `MAGLEV`.
    pub maglev: u32,
}

/// What the kernel holds of services.
#[derive(Debug)]
pub struct Tables {
    pub(crate) limits: Limits,
    pub(crate) services: BTreeMap<String, Held>,
    /// Which service each head belongs to, and its flags.
    pub(crate) heads: HashMap<SvcKey, (u32, u32)>,
    /// Addresses that refuse what their services do not have.
    pub(crate) addresses: Addresses,
    /// Prefixes of no service, as a plan that was cut short leaves them.
    pub(crate) lost_sources: Vec<SourcePrefix>,
    /// Prefixes held.
    pub(crate) sources: usize,
    pub(crate) ranges: Ranges,
    /// Of the Maglev tables.
    pub(crate) maglevs: Ranges,
    pub(crate) ids: Ids,
}

/// One service port in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: u32,
    pub(crate) range: Range,
    /// Its Maglev table: rows, and slots in them.
    pub(crate) maglev: Range,
    pub(crate) slots: u32,
    /// Ranges of heads that a plan cut short had left behind, and of their Maglev tables; found by a restore alone.
    pub(crate) older: Vec<(Range, Range)>,
    /// Without their service ids, which say nothing here.
    pub(crate) rows: Vec<Backend>,
    pub(crate) heads: BTreeMap<SvcKey, Svc>,
    pub(crate) sources: BTreeSet<SourcePrefix>,
}

/// Service ids: small numbers from 1 on, used again when free, since rows of an id are gone a grace period after its head.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) free: BTreeSet<u32>,
    pub(crate) next: u32,
}

/// What a change asks for, with its rows encoded.
struct Wanted<'a> {
    spec: &'a ServiceSpec,
    name: String,
    rows: Vec<Backend>,
    range: Range,
    maglev: Range,
    slots: u32,
    /// Whether the ranges are new ones.
    fresh: bool,
}

impl Tables {
    /// Empty tables.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            services: BTreeMap::new(),
            heads: HashMap::new(),
            addresses: Addresses::default(),
            lost_sources: Vec::new(),
            sources: 0,
            ranges: Ranges::new(limits.rows),
            maglevs: Ranges::new(limits.maglev),
            ids: Ids::default(),
        }
    }

    /// The service ports held, by name, with their ids.
    pub fn services(&self) -> impl Iterator<Item = (&str, u32)> {
        self.services.iter().map(|(name, held)| (name.as_str(), held.id))
    }

    /// Plans changes; the tables count as changed from here on.
    ///
    /// # Errors
    /// A map is too small. Nothing is changed then.
    pub fn plan_changes(&mut self, changes: &[Change]) -> Result<Plan, Full> {
        let mut last: BTreeMap<String, &Change> = BTreeMap::new();
        for change in changes {
            last.insert(change.name().to_string(), change);
        }
        let mut specs = Vec::new();
        let mut removed = Vec::new();
        for (name, change) in last {
            match change {
                Change::Set(spec) => specs.push((name, &**spec)),
                Change::Remove(_) => removed.push(name),
            }
        }
        self.plan(specs, removed)
    }

    /// Plans the full view: what is not in it goes.
    ///
    /// # Errors
    /// A map is too small. Nothing is changed then.
    pub fn plan_full<'a>(&mut self, specs: impl IntoIterator<Item = &'a ServiceSpec>) -> Result<Plan, Full> {
        let specs: BTreeMap<String, &ServiceSpec> =
            specs.into_iter().map(|spec| (spec.name.to_string(), spec)).collect();
        let removed = self.services.keys().filter(|name| !specs.contains_key(*name)).cloned().collect();
        self.addresses.touch_all();
        let mut plan = self.plan(specs, removed)?;
        plan.removed_sources.append(&mut self.lost_sources);
        Ok(plan)
    }

    /// Rows that wait for a grace period before they can be written again.
    pub fn limbo_rows(&self) -> u32 {
        self.ranges.limbo_rows() + self.maglevs.limbo_rows()
    }

    /// A grace period has passed since the last plan was carried out.
    pub fn grace_passed(&mut self) {
        self.ranges.grace_passed();
        self.maglevs.grace_passed();
    }

    fn plan<'a>(
        &mut self,
        specs: impl IntoIterator<Item = (String, &'a ServiceSpec)>,
        removed: Vec<String>,
    ) -> Result<Plan, Full> {
        let wanted = self.allocate(specs)?;
        let mut plan = Plan::default();
        let mut orphans = Vec::new();
        for name in removed {
            let Some(held) = self.services.remove(&name) else { continue };
            self.retire(&held, &mut plan);
            plan.gone.extend(gone(&held, &[]));
            plan.removed_sources.extend(held.sources);
            orphans.extend(held.heads.into_keys().map(|key| (key, held.id)));
            plan.removed_names.push(held.id);
        }
        for want in wanted {
            self.set(want, &mut plan, &mut orphans);
        }
        for (key, id) in orphans {
            // Another service may have taken the address over, in this plan or before.
            if self.heads.get(&key).is_some_and(|(owner, _)| *owner == id) {
                self.disown(&key);
                plan.removed_heads.push(key);
            }
        }
        self.addresses.settle(&mut plan);
        self.sources = self.sources + plan.sources.len() - plan.removed_sources.len().min(self.sources);
        // Not before the heads are sorted out: they are told apart by these ids.
        self.ids.free.extend(&plan.removed_names);
        Ok(plan)
    }

    /// Finds room for all that is asked for, or for nothing.
    fn allocate<'a>(
        &mut self,
        specs: impl IntoIterator<Item = (String, &'a ServiceSpec)>,
    ) -> Result<Vec<Wanted<'a>>, Full> {
        let mut wanted = Vec::new();
        let mut new_heads = HashSet::new();
        let mut new_sources = 0;
        let (mut short, mut short_maglev) = (0, 0);
        for (name, spec) in specs {
            new_heads.extend(keys(spec).map(|(key, _)| key).filter(|key| !self.heads.contains_key(key)));
            let whole = spec.frontends.iter().filter(|frontend| frontend.address.is_internal());
            let whole = whole.filter_map(|frontend| frontend.address.ip()).map(|ip| SvcKey::address(ip.into()));
            new_heads.extend(whole.filter(|key| !self.addresses.has(&key.addr)));
            new_sources += spec.sources.len();
            let rows = encode_rows(spec);
            let slots = spec.maglev_slots();
            let held = self.services.get(&name).filter(|held| held.rows == rows && held.slots == slots);
            if let Some(Held { range, maglev, .. }) = held {
                wanted.push(Wanted { spec, name, rows, range: *range, maglev: *maglev, slots, fresh: false });
                continue;
            }
            let table_rows = slots.div_ceil(MaglevRow::SLOTS as u32);
            let range = self.ranges.allocate(rows.len() as u32);
            let maglev = self.maglevs.allocate(table_rows);
            short += if range.is_none() { rows.len() as u32 } else { 0 };
            short_maglev += if maglev.is_none() { table_rows } else { 0 };
            let (range, maglev) = (range.unwrap_or_default(), maglev.unwrap_or_default());
            wanted.push(Wanted { spec, name, rows, range, maglev, slots, fresh: true });
        }
        let heads = (self.heads.len() + self.addresses.len() + new_heads.len()) as u32;
        let sources = (self.sources + new_sources) as u32;
        let full = if short > 0 {
            let used = self.limits.rows - self.ranges.free_rows();
            Some(Full { map: BACKENDS.name, capacity: self.limits.rows, needed: used.saturating_add(short) })
        } else if short_maglev > 0 {
            let used = self.limits.maglev - self.maglevs.free_rows();
            Some(Full { map: MAGLEV.name, capacity: self.limits.maglev, needed: used.saturating_add(short_maglev) })
        } else if heads > self.limits.heads {
            // New heads are written before old ones go, so that both need room.
            Some(Full { map: SVC.name, capacity: self.limits.heads, needed: heads })
        } else if new_sources > 0 && sources > self.limits.sources {
            Some(Full { map: SOURCES.name, capacity: self.limits.sources, needed: sources })
        } else {
            None
        };
        match full {
            None => Ok(wanted),
            Some(full) => {
                for want in wanted.into_iter().filter(|want| want.fresh) {
                    self.ranges.release(want.range);
                    self.maglevs.release(want.maglev);
                }
                Err(full)
            }
        }
    }

    fn set(&mut self, want: Wanted<'_>, plan: &mut Plan, orphans: &mut Vec<(SvcKey, u32)>) {
        let former = self.services.remove(&want.name);
        let id = match &former {
            Some(former) => former.id,
            None => {
                let id = self.ids.take();
                plan.names.push((id, want.name.clone()));
                id
            }
        };
        let by_table = want.spec.frontends.iter().map(Frontend::is_by_table);
        let terminating = want.rows.iter().filter(|row| row.flags & BACKEND_TERMINATING != 0).count() as u32;
        let heads: BTreeMap<SvcKey, Svc> = keys(want.spec)
            .zip(by_table)
            .map(|((key, flags), by_table)| {
                let head = Svc {
                    service: id,
                    flags,
                    base: want.range.base,
                    active: want.rows.len() as u32 - terminating,
                    terminating,
                    affinity_timeout_s: want.spec.affinity_timeout_s,
                    maglev: if by_table { want.maglev.base } else { 0 },
                    slots: if by_table { want.slots } else { 0 },
                };
                (key, head)
            })
            .collect();
        for (key, head) in &heads {
            let same = former.as_ref().is_some_and(|former| former.heads.get(key) == Some(head));
            if !same || self.heads.get(key).is_none_or(|(owner, _)| *owner != id) {
                self.own(*key, id, head.flags);
                plan.heads.push((*key, *head));
            }
        }
        if want.fresh && want.range.len > 0 {
            let rows = want.rows.iter().map(|row| Backend { service: id, ..*row }).collect();
            plan.rows.push((want.range.base, rows));
        }
        if want.fresh && want.slots > 0 {
            plan.tables.push((want.maglev.base, table_of(&want.rows)));
        }
        let sources: BTreeSet<SourcePrefix> = want.spec.sources.iter().map(|range| source(id, range)).collect();
        let former_sources = former.as_ref().map(|former| former.sources.clone()).unwrap_or_default();
        plan.sources.extend(sources.difference(&former_sources));
        plan.removed_sources.extend(former_sources.difference(&sources));
        let mut older = Vec::new();
        if let Some(mut former) = former {
            if !want.fresh {
                older = std::mem::take(&mut former.older);
            }
            if want.fresh {
                self.retire(&former, plan);
                plan.gone.extend(gone(&former, &want.rows));
            }
            orphans.extend(former.heads.into_keys().filter(|key| !heads.contains_key(key)).map(|key| (key, id)));
        }
        let Wanted { name, rows, range, maglev, slots, .. } = want;
        self.services.insert(name, Held { id, range, maglev, slots, older, rows, heads, sources });
    }

    /// A head belongs to a service from now on.
    pub(crate) fn own(&mut self, key: SvcKey, id: u32, flags: u32) {
        if let Some((_, former)) = self.heads.insert(key, (id, flags))
            && is_internal(former)
        {
            self.addresses.less(key.addr);
        }
        if is_internal(flags) {
            self.addresses.more(key.addr);
        }
    }

    fn disown(&mut self, key: &SvcKey) {
        if let Some((_, flags)) = self.heads.remove(key)
            && is_internal(flags)
        {
            self.addresses.less(key.addr);
        }
    }

    fn retire(&mut self, held: &Held, plan: &mut Plan) {
        for (range, maglev) in held.older.iter().copied().chain([(held.range, held.maglev)]) {
            self.maglevs.retire(maglev);
            self.ranges.retire(range);
            plan.retired.extend((range.len > 0).then_some(range));
        }
    }
}

impl Ids {
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next
        })
    }
}

/// The datagram backends of a list that the next one has not, in any state.
fn gone(former: &Held, next: &[Backend]) -> Vec<Backend> {
    let stays: HashSet<(Ip, Be16)> = next.iter().map(|row| (row.addr, row.port)).collect();
    let former_rows = former.rows.iter().filter(|row| row.proto == PROTO_UDP && !stays.contains(&(row.addr, row.port)));
    former_rows.map(|row| Backend { service: former.id, ..*row }).collect()
}

/// Whether a head is at a Service's own address, which nothing else can have.
const fn is_internal(flags: u32) -> bool {
    flags & (SVC_NODE_PORT | SVC_EXTERNAL) == 0
}

/// The keys of a service's frontends, with the flags of their heads.
fn keys(spec: &ServiceSpec) -> impl Iterator<Item = (SvcKey, u32)> + '_ {
    let proto = proto_of(spec.protocol);
    let all = if spec.name.external { SVC_TWO_SCOPES } else { 0 } | if spec.elsewhere { SVC_ELSEWHERE } else { 0 };
    let closed = if spec.sources.is_empty() { 0 } else { SVC_SOURCES };
    spec.frontends.iter().map(move |frontend| {
        let (addr, flags) = match frontend.address {
            FrontendAddress::Ip(ip) => (ip.into(), 0),
            FrontendAddress::External(ip) => (ip.into(), SVC_EXTERNAL),
            FrontendAddress::Balancer(ip) => (ip.into(), SVC_EXTERNAL | closed),
            FrontendAddress::Node => (if spec.name.v6 { Ip::NONE } else { Ip::ANY_V4 }, SVC_NODE_PORT),
        };
        let scope = match frontend.scope {
            Scope::External => SCOPE_EXTERNAL,
            Scope::Internal => SCOPE_INTERNAL,
        };
        (SvcKey { addr, port: Be16::new(frontend.port), proto, scope }, flags | all)
    })
}

fn source(service: u32, range: &IpNet) -> SourcePrefix {
    let mapped = if range.addr().is_ipv4() { Ip::MAPPED_BITS } else { 0 };
    let bits = Source::SERVICE_BITS + mapped + u32::from(range.prefix_len());
    SourcePrefix { bits, key: Source { service, addr: range.network().into() } }
}

fn encode_rows(spec: &ServiceSpec) -> Vec<Backend> {
    let proto = proto_of(spec.protocol);
    let rows = spec.backends.iter().map(|backend| {
        let flags = match backend.state {
            BackendState::Active => 0,
            BackendState::Terminating => BACKEND_TERMINATING,
        };
        Backend { addr: backend.address.into(), port: Be16::new(backend.port), proto, flags, service: 0 }
    });
    rows.collect()
}

/// The Maglev table of a list's active rows.
pub(crate) fn table_of(rows: &[Backend]) -> Vec<MaglevRow> {
    let active = rows.iter().filter(|row| row.flags & BACKEND_TERMINATING == 0);
    let backends: Vec<SocketAddr> = active.map(|row| SocketAddr::new(row.addr.into(), row.port.get())).collect();
    let table = maglev_table(&backends);
    let rows = table.chunks(MaglevRow::SLOTS).map(|slots| {
        let mut row = MaglevRow::default();
        row.0[..slots.len()].copy_from_slice(slots);
        row
    });
    rows.collect()
}

fn proto_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => PROTO_TCP,
        Protocol::Udp => PROTO_UDP,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "tables/tests.rs"]
mod tests;
