//! Tables as they are found in the kernel.

use std::collections::{BTreeMap, BTreeSet};

use skep_abi::{Backend, MaglevRow, SVC_ADDRESS, SourcePrefix, Svc, SvcKey};

use crate::tables::{Held, Ids, table_of};
use crate::{Limits, Range, Tables};

/// The kernel's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// `SVC`.
    pub heads: Vec<(SvcKey, Svc)>,
    /// `BACKENDS`, from row 0 on, at least as far as the heads' lists reach.
    pub rows: Vec<Backend>,
    /// `MAGLEV`, from row 0 on, at least as far as the heads' tables reach.
    pub tables: Vec<MaglevRow>,
    /// Names of service ids.
    pub names: Vec<(u32, String)>,
    /// `SOURCES`.
    pub sources: Vec<SourcePrefix>,
}

impl Dump {
    /// The rows of a head's list; empty where the table ends before.
    pub fn list(&self, head: &Svc) -> &[Backend] {
        let range = range_of(head);
        let end = range.base as usize + range.len as usize;
        self.rows.get(range.base as usize..end).unwrap_or_default()
    }

    /// The rows of a head's Maglev table; empty where it has none, or the map ends before.
    pub fn table(&self, head: &Svc) -> &[MaglevRow] {
        let range = table_range(head);
        let end = range.base as usize + range.len as usize;
        self.tables.get(range.base as usize..end).unwrap_or_default()
    }

    /// Whether a head's Maglev table is that of its list.
    pub fn is_table_right(&self, head: &Svc) -> bool {
        head.slots == 0 || self.table(head) == table_of(self.list(head))
    }
}

impl Tables {
    /// Takes over what the kernel holds. Services whose name is lost are kept under a name that no Service can have, so that the full
    /// view removes them; rows that do not belong to their head's service are written again by the next plan.
    pub fn restore(limits: Limits, dump: &Dump) -> Self {
        let mut tables = Self::new(limits);
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (id, name) in &dump.names {
            let name = if seen.insert(name) { name.clone() } else { lost(*id) };
            names.insert(*id, name);
        }
        let mut by_id: BTreeMap<u32, BTreeMap<SvcKey, Svc>> = names.keys().map(|&id| (id, BTreeMap::new())).collect();
        for (key, head) in &dump.heads {
            if head.flags & SVC_ADDRESS != 0 {
                tables.addresses.adopt(key.addr);
                continue;
            }
            tables.own(*key, head.service, head.flags);
            by_id.entry(head.service).or_default().insert(*key, *head);
        }
        let mut reserved: BTreeSet<Range> = BTreeSet::new();
        for (&id, heads) in &by_id {
            let mut held = tables.adopt(id, heads, dump, &mut reserved);
            held.sources = dump.sources.iter().filter(|source| source.key.service == id).copied().collect();
            let name = names.remove(&id).unwrap_or_else(|| lost(id));
            tables.services.insert(name, held);
        }
        let last = by_id.last_key_value().map_or(0, |(&id, _)| id);
        let free = (1..=last).filter(|id| !by_id.contains_key(id)).collect();
        tables.ids = Ids { free, next: last };
        tables.sources = dump.sources.len();
        tables.lost_sources =
            dump.sources.iter().filter(|source| !by_id.contains_key(&source.key.service)).copied().collect();
        tables
    }

    fn adopt(&mut self, id: u32, heads: &BTreeMap<SvcKey, Svc>, dump: &Dump, reserved: &mut BTreeSet<Range>) -> Held {
        let mut ranges: Vec<(Range, Range)> = Vec::new();
        let mut last = None;
        // Heads of one list differ in whether they go by its table: those that do come first.
        let (by_table, plain): (Vec<&Svc>, Vec<&Svc>) = heads.values().partition(|head| head.slots > 0);
        for head in by_table.into_iter().chain(plain) {
            let range = range_of(head);
            if range.len > 0 && reserved.insert(range) && self.ranges.reserve(range) {
                let table = table_range(head);
                let table = if self.maglevs.reserve(table) { table } else { Range::default() };
                ranges.push((range, table));
                last = Some(head);
            }
        }
        let (Some((range, maglev)), Some(head)) = (ranges.pop(), last) else {
            return Held { id, heads: heads.clone(), ..Held::default() };
        };
        let list = dump.list(head);
        let whole = list.iter().all(|row| row.service == id) && dump.is_table_right(head);
        let rows = if whole { list.iter().map(|row| Backend { service: 0, ..*row }).collect() } else { Vec::new() };
        Held { id, range, maglev, slots: head.slots, older: ranges, rows, heads: heads.clone(), ..Held::default() }
    }
}

fn table_range(head: &Svc) -> Range {
    Range { base: head.maglev, len: head.slots.div_ceil(MaglevRow::SLOTS as u32) }
}

fn range_of(head: &Svc) -> Range {
    Range { base: head.base, len: head.active.saturating_add(head.terminating) }
}

fn lost(id: u32) -> String {
    format!("?{id}")
}
