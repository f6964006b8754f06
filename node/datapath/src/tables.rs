//! What the kernel holds of services, and the plans that change it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use skep_abi::{
    BACKEND_TERMINATING, BACKENDS_V4, BackendV4, Be16, Ip4, PROTO_TCP, PROTO_UDP, SCOPE_EXTERNAL, SCOPE_INTERNAL,
    SVC_EXTERNAL, SVC_NODE_PORT, SVC_TWO_SCOPES, SVC_V4, SvcKeyV4, SvcV4,
};
use skep_netmodel::{BackendState, Change, FrontendAddress, Protocol, Scope, ServiceSpec};

use crate::{Full, Plan, Range, Ranges};

/// Sizes of the maps, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of `SVC_V4`.
    pub heads: u32,
    /// Of `BACKENDS_V4`.
    pub rows: u32,
}

/// What the kernel holds of services.
#[derive(Debug)]
pub struct Tables {
    pub(crate) limits: Limits,
    pub(crate) services: BTreeMap<String, Held>,
    /// Which service each head belongs to.
    pub(crate) heads: HashMap<SvcKeyV4, u32>,
    pub(crate) ranges: Ranges,
    pub(crate) ids: Ids,
}

/// One service port in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: u32,
    pub(crate) range: Range,
    /// Ranges of heads that a plan cut short had left behind; found by a restore alone.
    pub(crate) older: Vec<Range>,
    /// Without their service ids, which say nothing here.
    pub(crate) rows: Vec<BackendV4>,
    pub(crate) heads: BTreeMap<SvcKeyV4, SvcV4>,
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
    rows: Vec<BackendV4>,
    range: Range,
    /// Whether `range` is a new one.
    fresh: bool,
}

impl Tables {
    /// Empty tables.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            services: BTreeMap::new(),
            heads: HashMap::new(),
            ranges: Ranges::new(limits.rows),
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
        self.plan(specs, removed)
    }

    /// Rows that wait for a grace period before they can be written again.
    pub fn limbo_rows(&self) -> u32 {
        self.ranges.limbo_rows()
    }

    /// A grace period has passed since the last plan was carried out.
    pub fn grace_passed(&mut self) {
        self.ranges.grace_passed();
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
            orphans.extend(held.heads.into_keys().map(|key| (key, held.id)));
            plan.removed_names.push(held.id);
        }
        for want in wanted {
            self.set(want, &mut plan, &mut orphans);
        }
        for (key, id) in orphans {
            // Another service may have taken the address over, in this plan or before.
            if self.heads.get(&key) == Some(&id) {
                self.heads.remove(&key);
                plan.removed_heads.push(key);
            }
        }
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
        let mut short = 0;
        for (name, spec) in specs {
            new_heads.extend(keys(spec).map(|(key, _)| key).filter(|key| !self.heads.contains_key(key)));
            let rows = encode_rows(spec);
            let held = self.services.get(&name).filter(|held| held.rows == rows);
            let (range, fresh) = match held {
                Some(held) => (held.range, false),
                None => match self.ranges.allocate(rows.len() as u32) {
                    Some(range) => (range, true),
                    None => {
                        short += rows.len() as u32;
                        continue;
                    }
                },
            };
            wanted.push(Wanted { spec, name, rows, range, fresh });
        }
        let heads = (self.heads.len() + new_heads.len()) as u32;
        let full = if short > 0 {
            let used = self.limits.rows - self.ranges.free_rows();
            Some(Full { map: BACKENDS_V4.name, capacity: self.limits.rows, needed: used.saturating_add(short) })
        } else if heads > self.limits.heads {
            // New heads are written before old ones go, so that both need room.
            Some(Full { map: SVC_V4.name, capacity: self.limits.heads, needed: heads })
        } else {
            None
        };
        match full {
            None => Ok(wanted),
            Some(full) => {
                for want in wanted.into_iter().filter(|want| want.fresh) {
                    self.ranges.release(want.range);
                }
                Err(full)
            }
        }
    }

    fn set(&mut self, want: Wanted<'_>, plan: &mut Plan, orphans: &mut Vec<(SvcKeyV4, u32)>) {
        let former = self.services.remove(&want.name);
        let id = match &former {
            Some(former) => former.id,
            None => {
                let id = self.ids.take();
                plan.names.push((id, want.name.clone()));
                id
            }
        };
        let terminating = want.rows.iter().filter(|row| row.flags & BACKEND_TERMINATING != 0).count() as u32;
        let heads: BTreeMap<SvcKeyV4, SvcV4> = keys(want.spec)
            .map(|(key, flags)| {
                let head = SvcV4 {
                    service: id,
                    flags,
                    base: want.range.base,
                    active: want.rows.len() as u32 - terminating,
                    terminating,
                    affinity_timeout_s: want.spec.affinity_timeout_s,
                };
                (key, head)
            })
            .collect();
        for (key, head) in &heads {
            let same = former.as_ref().is_some_and(|former| former.heads.get(key) == Some(head));
            if !same || self.heads.get(key) != Some(&id) {
                self.heads.insert(*key, id);
                plan.heads.push((*key, *head));
            }
        }
        if want.fresh && want.range.len > 0 {
            let rows = want.rows.iter().map(|row| BackendV4 { service: id, ..*row }).collect();
            plan.rows.push((want.range.base, rows));
        }
        let mut older = Vec::new();
        if let Some(mut former) = former {
            if !want.fresh {
                older = std::mem::take(&mut former.older);
            }
            if want.fresh {
                self.retire(&former, plan);
            }
            orphans.extend(former.heads.into_keys().filter(|key| !heads.contains_key(key)).map(|key| (key, id)));
        }
        self.services.insert(want.name, Held { id, range: want.range, older, rows: want.rows, heads });
    }

    fn retire(&mut self, held: &Held, plan: &mut Plan) {
        for range in held.older.iter().copied().chain([held.range]).filter(|range| range.len > 0) {
            self.ranges.retire(range);
            plan.retired.push(range);
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

/// The keys of a service's IPv4 frontends, with the flags of their heads.
fn keys(spec: &ServiceSpec) -> impl Iterator<Item = (SvcKeyV4, u32)> + '_ {
    let proto = proto_of(spec.protocol);
    spec.frontends.iter().filter_map(move |frontend| {
        let (addr, flags) = match frontend.address {
            FrontendAddress::Ip(IpAddr::V4(ip)) => (Ip4::from(ip), 0),
            FrontendAddress::External(IpAddr::V4(ip)) => (Ip4::from(ip), SVC_EXTERNAL),
            FrontendAddress::Ip(IpAddr::V6(_)) | FrontendAddress::External(IpAddr::V6(_)) => return None,
            FrontendAddress::Node => (Ip4::ANY, SVC_NODE_PORT),
        };
        let scope = match frontend.scope {
            Scope::External => SCOPE_EXTERNAL,
            Scope::Internal => SCOPE_INTERNAL,
        };
        let flags = if spec.name.external { flags | SVC_TWO_SCOPES } else { flags };
        Some((SvcKeyV4 { addr, port: Be16::new(frontend.port), proto, scope }, flags))
    })
}

fn encode_rows(spec: &ServiceSpec) -> Vec<BackendV4> {
    let proto = proto_of(spec.protocol);
    let rows = spec.backends.iter().filter_map(|backend| {
        let IpAddr::V4(ip) = backend.address else { return None };
        let flags = match backend.state {
            BackendState::Active => 0,
            BackendState::Terminating => BACKEND_TERMINATING,
        };
        Some(BackendV4 { addr: ip.into(), port: Be16::new(backend.port), proto, flags, ..BackendV4::default() })
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
