//! What the kernel holds, for people and for comparison: read from the pins, never from a daemon's memory.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::Path;

use skep_abi::{
    BACKENDS, BLOCKS, BlockPrefix, CONFIG, CT, CT_BRIEF, CT_SHARE, Config, Counter, Ct, CtKey, ENDPOINTS, Endpoint,
    IDENTITIES, IPCACHE, Ip, MAGLEV, MAPS, METRICS, Mac, MaglevRow, MapKind, MapSpec, Metric, NAME_ENDPOINT,
    NAME_SERVICE, NAMES, NAT, NODE_ADDRS, Name, NameKey, NatFlow, NatKey, Origin, POLICY, POLICY_STATE, Peer,
    PolicyEpoch, PolicyPrefix, PolicyRow, PrefixKey, Remote, SOURCES, SVC, SourcePrefix, Svc, SvcKey, UDP_ORIGIN,
    UdpOriginKey,
};
use skep_datapath::{Dump, ServiceRow, decode_services};

use crate::attach::{LINK_CGROUP, LINK_TCX, TCX_EGRESS, TCX_INGRESS};
use crate::error::Context as _;
use crate::mapped::MappedRows;
use crate::pin::Pins;
use crate::table::Table;
use crate::{Error, sys};

/// The maps that user space reads and writes.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) services: Table<SvcKey, Svc>,
    pub(crate) sources: Table<SourcePrefix, u32>,
    pub(crate) endpoints: Table<Ip, Endpoint>,
    pub(crate) ipcache: Table<PrefixKey, Remote>,
    nat: Table<NatKey, NatFlow>,
    pub(crate) node_addresses: Table<Ip, u32>,
    pub(crate) config: Table<u32, Config>,
    pub(crate) names: Table<NameKey, Name>,
    pub(crate) identities: Table<Ip, Peer>,
    pub(crate) blocks: Table<BlockPrefix, u32>,
    pub(crate) policy: Table<PolicyPrefix, PolicyRow>,
    pub(crate) policy_state: Table<u32, PolicyEpoch>,
    pub(crate) ct: Table<CtKey, Ct>,
    pub(crate) ct_brief: Table<CtKey, Ct>,
    pub(crate) ct_share: Table<u32, u32>,
    metrics: Table<u32, Counter>,
    pub(crate) udp_origin: Table<UdpOriginKey, Origin>,
}

/// A node's datapath as it is in the kernel, with or without a daemon.
#[derive(Debug)]
pub struct Inspector {
    pins: Pins,
    pub(crate) maps: Maps,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// One of its addresses.
    pub address: IpAddr,
    /// `namespace/name` of its pod.
    pub pod: String,
    /// Endpoint id.
    pub id: u32,
    /// Interface index of the host side of its veth.
    pub ifindex: u32,
    /// Ethernet address of the host side.
    pub host_mac: Mac,
    /// Ethernet address of the pod's side.
    pub pod_mac: Mac,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRow {
    /// Its name.
    pub name: &'static str,
    /// The kernel's id of it.
    pub id: u32,
    /// Its type, as `bpftool` prints it.
    pub kind: &'static str,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries that it can hold; of a ring buffer, its bytes.
    pub max_entries: u32,
    /// Entries in use, where that can be counted.
    pub entries: Option<u32>,
    /// Bytes of memory that the kernel charges for it.
    pub memory_bytes: u64,
}

/// A program where it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRow {
    /// Its name.
    pub name: String,
    /// The kernel's id of it.
    pub id: u32,
    /// `cgroup connect4`, `tcx ingress` and the like.
    pub attach: String,
    /// Interface index, of a tcx program.
    pub ifindex: Option<u32>,
    /// Cgroup id, of a cgroup program.
    pub cgroup_id: Option<u64>,
    /// Instructions that the verifier walked.
    pub verified_insns: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Runs, where the kernel counts them (`kernel.bpf_stats_enabled`).
    pub run_count: u64,
    /// Time spent in them, in nanoseconds.
    pub run_time_ns: u64,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// What it counts.
    pub metric: Metric,
    /// Packets or calls, over all CPUs.
    pub packets: u64,
    /// Bytes, over all CPUs.
    pub bytes: u64,
}

impl Inspector {
    /// Opens a node's maps by their pins.
    ///
    /// # Errors
    /// A map is not pinned there, or has another layout than this version's.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let pins = Pins::new(pin_dir);
        let maps = Maps {
            services: Table::new(pins.require_map(&SVC)?, SVC),
            sources: Table::new(pins.require_map(&SOURCES)?, SOURCES),
            endpoints: Table::new(pins.require_map(&ENDPOINTS)?, ENDPOINTS),
            ipcache: Table::new(pins.require_map(&IPCACHE)?, IPCACHE),
            nat: Table::new(pins.require_map(&NAT)?, NAT),
            node_addresses: Table::new(pins.require_map(&NODE_ADDRS)?, NODE_ADDRS),
            config: Table::new(pins.require_map(&CONFIG)?, CONFIG),
            names: Table::new(pins.require_map(&NAMES)?, NAMES),
            identities: Table::new(pins.require_map(&IDENTITIES)?, IDENTITIES),
            blocks: Table::new(pins.require_map(&BLOCKS)?, BLOCKS),
            policy: Table::new(pins.require_map(&POLICY)?, POLICY),
            policy_state: Table::new(pins.require_map(&POLICY_STATE)?, POLICY_STATE),
            ct: Table::new(pins.require_map(&CT)?, CT),
            ct_brief: Table::new(pins.require_map(&CT_BRIEF)?, CT_BRIEF),
            ct_share: Table::new(pins.require_map(&CT_SHARE)?, CT_SHARE),
            metrics: Table::new(pins.require_map(&METRICS)?, METRICS),
            udp_origin: Table::new(pins.require_map(&UDP_ORIGIN)?, UDP_ORIGIN),
        };
        Ok(Self { pins, maps })
    }

    /// The service tables as they are, undecoded.
    pub(crate) fn dump(&self) -> Result<Dump, Error> {
        // Heads before rows: a list that a head names is complete when the head can be read.
        let heads = self.maps.services.dump()?;
        let end = heads.iter().map(|(_, head)| list_end(head)).max().unwrap_or(0);
        let rows = MappedRows::open(&self.pins, &BACKENDS, false)?.load(end);
        let end = heads.iter().map(|(_, head)| table_end(head)).max().unwrap_or(0);
        let tables = MappedRows::open(&self.pins, &MAGLEV, false)?.load(end);
        let names = self.names(NAME_SERVICE)?.into_iter().collect();
        let sources = self.maps.sources.dump()?.into_iter().map(|(source, _)| source).collect();
        Ok(Dump { heads, rows, tables, names, sources })
    }

    /// Service heads with their backends, sorted by name.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn services(&self) -> Result<Vec<ServiceRow>, Error> {
        let pods: HashMap<IpAddr, String> = self.endpoints()?.into_iter().map(|row| (row.address, row.pod)).collect();
        Ok(decode_services(&self.dump()?, |address| pods.get(&address).cloned()))
    }

    /// Endpoints of this node, a row for each of their addresses, sorted by them.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn endpoints(&self) -> Result<Vec<EndpointRow>, Error> {
        let names = self.names(NAME_ENDPOINT)?;
        let mut rows: Vec<EndpointRow> = self
            .maps
            .endpoints
            .dump()?
            .into_iter()
            .map(|(address, endpoint)| EndpointRow {
                address: address.into(),
                pod: names.get(&endpoint.id).cloned().unwrap_or_default(),
                id: endpoint.id,
                ifindex: endpoint.ifindex,
                host_mac: endpoint.host_mac,
                pod_mac: endpoint.pod_mac,
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.address);
        Ok(rows)
    }

    /// Addresses at which node ports answer, sorted.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn node_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let mut addresses: Vec<IpAddr> =
            self.maps.node_addresses.dump()?.into_iter().map(|(address, _)| address.into()).collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// The maps, by name.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn maps(&self) -> Result<Vec<MapRow>, Error> {
        let mut rows = MAPS.iter().map(|spec| self.map_row(spec)).collect::<Result<Vec<_>, _>>()?;
        rows.sort_unstable_by_key(|row| row.name);
        Ok(rows)
    }

    /// The programs, each where it is attached, by the name of its pin.
    ///
    /// # Errors
    /// A pin cannot be read.
    pub fn programs(&self) -> Result<Vec<ProgramRow>, Error> {
        let mut rows = Vec::new();
        for name in self.pins.links()? {
            let path = self.pins.link(&name);
            let what = || format!("inspect {}", path.display());
            let Some(link) = sys::open_pin(&path).context(what)? else { continue };
            let link: sys::LinkInfo = sys::info(link.as_fd()).context(what)?;
            let program = sys::program_by_id(link.prog_id).context(what)?;
            rows.push(program_row(&name, &link, &sys::info(program.as_fd()).context(what)?));
        }
        Ok(rows)
    }

    /// Runs the program of that pinned link, e.g. `pod_egress-7`, on a packet (an Ethernet frame), as if it came by the link with
    /// that index in the calling thread's network namespace. Tables and counters change as with any packet; nothing is sent.
    /// Returns the tcx verdict; `packet` is then what the program made of it.
    ///
    /// # Errors
    /// No such link, or a frame that is shorter than its header.
    pub fn test_run(&self, link: &str, packet: &mut Vec<u8>, ifindex: u32) -> Result<i32, Error> {
        let path = self.pins.link(link);
        let what = || format!("run {}", path.display());
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let opened = sys::open_pin(&path).and_then(|link| link.ok_or_else(missing)).context(what)?;
        let info: sys::LinkInfo = sys::info(opened.as_fd()).context(what)?;
        let program = sys::program_by_id(info.prog_id).context(what)?;
        sys::test_run(program.as_fd(), packet, ifindex).context(what)
    }

    /// The counters, by number.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<CounterRow>, Error> {
        let cpus =
            aya::util::nr_cpus().map_err(|(path, source)| Error::Sys { what: format!("read {path}"), source })?;
        let row = |&metric: &Metric| {
            let per_cpu = self.maps.metrics.per_cpu(metric as u32, cpus)?;
            let packets = per_cpu.iter().map(|counter| counter.packets).sum();
            let bytes = per_cpu.iter().map(|counter| counter.bytes).sum();
            Ok(CounterRow { metric, packets, bytes })
        };
        Metric::ALL.iter().map(row).collect()
    }

    pub(crate) fn names(&self, kind: u32) -> Result<HashMap<u32, String>, Error> {
        let names = self.maps.names.dump()?.into_iter().filter(|(key, _)| key.kind == kind);
        Ok(names.map(|(key, name)| (key.id, name.as_str().to_owned())).collect())
    }

    fn map_row(&self, spec: &MapSpec) -> Result<MapRow, Error> {
        let fd = self.pins.require_map(spec)?;
        let info: sys::MapInfo = sys::info(fd.as_fd()).context(|| format!("inspect map {}", spec.name))?;
        let maps = &self.maps;
        let entries = match spec.name {
            name if name == SVC.name => Some(maps.services.dump()?.len()),
            name if name == ENDPOINTS.name => Some(maps.endpoints.dump()?.len()),
            name if name == NODE_ADDRS.name => Some(maps.node_addresses.dump()?.len()),
            name if name == NAMES.name => Some(maps.names.dump()?.len()),
            name if name == SOURCES.name => Some(maps.sources.dump()?.len()),
            name if name == IDENTITIES.name => Some(maps.identities.dump()?.len()),
            name if name == BLOCKS.name => Some(maps.blocks.dump()?.len()),
            name if name == POLICY.name => Some(maps.policy.dump()?.len()),
            name if name == CT.name => Some(maps.ct.dump()?.len()),
            name if name == CT_BRIEF.name => Some(maps.ct_brief.dump()?.len()),
            name if name == NAT.name => Some(maps.nat.dump()?.len()),
            name if name == IPCACHE.name => Some(maps.ipcache.dump()?.len()),
            name if name == BACKENDS.name => Some(self.rows_in_use(|head| (head.base, list_end(head)))?),
            name if name == MAGLEV.name => Some(self.rows_in_use(|head| (head.maglev, table_end(head)))?),
            _ => None,
        };
        Ok(MapRow {
            name: spec.name,
            id: info.id,
            kind: spec.kind.name(),
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: if spec.kind == MapKind::SkStorage { 0 } else { info.max_entries },
            entries: entries.map(|count| count as u32),
            memory_bytes: memory_bytes(&fd),
        })
    }

    /// Rows of an array that heads point at, by the range that each has there.
    fn rows_in_use(&self, range: impl Fn(&Svc) -> (u32, u32)) -> Result<usize, Error> {
        let mut lists: Vec<(u32, u32)> = self.maps.services.dump()?.iter().map(|(_, head)| range(head)).collect();
        lists.sort_unstable();
        lists.dedup();
        Ok(lists.iter().map(|&(base, end)| (end - base) as usize).sum())
    }
}

/// The row after a head's list.
fn list_end(head: &Svc) -> u32 {
    head.base.saturating_add(head.active).saturating_add(head.terminating)
}

/// The row after its Maglev table.
fn table_end(head: &Svc) -> u32 {
    head.maglev.saturating_add(head.slots.div_ceil(MaglevRow::SLOTS as u32))
}

fn program_row(pin: &str, link: &sys::LinkInfo, info: &sys::ProgInfo) -> ProgramRow {
    let name = info.name.split(|&byte| byte == 0).next().unwrap_or_default();
    let (attach, ifindex, cgroup_id) = match link.kind {
        LINK_CGROUP => (format!("cgroup {}", pin.trim_start_matches("cgroup_")), None, Some(link.target)),
        LINK_TCX => {
            let direction = match (link.target >> 32) as u32 {
                TCX_INGRESS => "ingress",
                TCX_EGRESS => "egress",
                _ => "unknown",
            };
            (format!("tcx {direction}"), Some(link.target as u32), None)
        }
        kind => (format!("link type {kind}"), None, None),
    };
    ProgramRow {
        name: String::from_utf8_lossy(name).into_owned(),
        id: info.id,
        attach,
        ifindex,
        cgroup_id,
        verified_insns: info.verified_insns,
        jited_bytes: info.jited_len,
        run_count: info.run_count,
        run_time_ns: info.run_time_ns,
    }
}

/// The kernel tells this in the descriptor's information alone; 0 where it does not.
fn memory_bytes(fd: &std::os::fd::OwnedFd) -> u64 {
    use std::os::fd::AsRawFd as _;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
