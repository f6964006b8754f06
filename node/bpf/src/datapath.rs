//! A node's datapath.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use skep_abi::{
    ABI_VERSION, BACKENDS, Backend, CONFIG_DEBUG, CONFIG_FOREIGN, Config, EP_EGRESS, EP_INGRESS, Ip, MAGLEV, MaglevRow,
    NAME_SERVICE, NODE_OWN, NODE_POD, Name, NameKey, OVERLAY_VNI,
};
use skep_datapath::{Full, Limits, Plan, Tables};
use skep_netmodel::{Change, RemoteSpec, ServiceSpec};

use crate::error::Context as _;
use crate::inspect::Inspector;
use crate::load::Programs;
use crate::mapped::MappedRows;
use crate::options::{Options, Sizes};
use crate::pin::Pins;
use crate::{DebugLines, EndpointSpec, Error, GoneBackend, attach, endpoint, grow, probe, remote, sys};

/// A node's datapath, attached and running. Dropping it leaves it running.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    sites: Sites,
    sizes: Sizes,
    /// Taken after `state`, where both are.
    inspector: RwLock<Arc<Inspector>>,
    state: Mutex<State>,
    following: Arc<AtomicBool>,
    _lock: Flock<File>,
}

/// What the programs are attached to, besides pods' veths.
#[derive(Debug)]
struct Sites {
    cgroup: PathBuf,
    link: Option<u32>,
    overlay: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct State {
    programs: Arc<Programs>,
    tables: Tables,
    rows: MappedRows<Backend>,
    maglev: MappedRows<MaglevRow>,
    config: Config,
    /// `EP_*` flags of endpoints, by address, whether they are there or not yet.
    pub(crate) policed: HashMap<IpAddr, u32>,
    /// Datagram backends that went since they were last asked for.
    gone: HashSet<GoneBackend>,
}

/// What a change of the service tables took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements written or deleted.
    pub ops: usize,
    /// Of these, rows of the backend table.
    pub rows: usize,
    /// Of these, service heads.
    pub heads: usize,
    /// From the plan's start until the last head was written.
    pub took: Duration,
}

impl Datapath {
    /// Brings the datapath up, or takes over the one that is running. Call it in the node's network namespace.
    ///
    /// # Errors
    /// The host lacks something, which the error names; another daemon serves the node; a pinned map has another layout.
    pub fn open(options: &Options) -> Result<Self, Error> {
        probe::probe_host(&options.cgroup)?;
        let pins = Pins::new(&options.pin_dir);
        let lock = pins.ensure()?;
        let programs = Programs::load(&pins, &options.sizes)?;
        let inspector = Inspector::open(&options.pin_dir)?;
        let sites = Sites {
            cgroup: options.cgroup.clone(),
            link: options.link.as_deref().map(attach::link_index).transpose()?,
            overlay: options.overlay.as_deref().map(attach::link_index).transpose()?,
        };
        let config = write_config(&inspector, options, &sites)?;
        let state = State::restore(&pins, &inspector, Arc::new(programs), config)?;
        sites.attach(&pins, &state.programs)?;
        Ok(Self {
            pins,
            sites,
            sizes: options.sizes,
            inspector: RwLock::new(Arc::new(inspector)),
            state: Mutex::new(state),
            following: Arc::default(),
            _lock: lock,
        })
    }

    /// Carries out changes of services.
    ///
    /// # Errors
    /// A map is too small and cannot grow (nothing is changed then), or a write fails; services may be in their old or new state then,
    /// and the same changes can be applied again.
    pub fn apply_services(&self, changes: &[Change]) -> Result<Applied, Error> {
        self.carry_out(|tables| tables.plan_changes(changes))
    }

    /// Makes the kernel hold these services and no other.
    ///
    /// # Errors
    /// As for [`Datapath::apply_services`].
    pub fn sync_services<'a>(&self, specs: impl IntoIterator<Item = &'a ServiceSpec>) -> Result<Applied, Error> {
        let specs: Vec<&ServiceSpec> = specs.into_iter().collect();
        self.carry_out(|tables| tables.plan_full(specs.iter().copied()))
    }

    /// Makes the kernel hold these prefixes of the cluster and no other. Returns how many elements were written or deleted.
    ///
    /// # Errors
    /// There are more than a map holds that cannot grow (nothing is changed then), or a write fails; the same can be asked for again.
    pub fn sync_remotes(&self, specs: &[RemoteSpec]) -> Result<usize, Error> {
        self.growing(|_, inspector| remote::sync(&inspector.maps, specs))
    }

    /// A pod of this node came up, or changed. Its id is returned; an address keeps it.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn upsert_endpoint(&self, spec: &EndpointSpec) -> Result<u32, Error> {
        let state = self.state();
        let policed = spec.addresses.iter().filter_map(|address| state.policed.get(address));
        let flags = policed.fold(0, |all, flags| all | flags);
        endpoint::upsert(&self.inspect().maps, spec, flags)
    }

    /// A pod of this node is gone, with all of its addresses; `false` where none of them was known.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn remove_endpoint(&self, addresses: &[IpAddr]) -> Result<bool, Error> {
        let _one_at_a_time = self.state();
        endpoint::remove(&self.inspect().maps, addresses)
    }

    /// Attaches the programs of a pod's veth to its host side; done already is no error.
    ///
    /// # Errors
    /// The link is gone, or the kernel refuses.
    pub fn attach_pod_link(&self, ifindex: u32) -> Result<(), Error> {
        attach::attach_pod(&self.pins, &self.state().programs, ifindex)
    }

    /// Forgets a pod's veth, which may be gone already.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn detach_pod_link(&self, ifindex: u32) -> Result<(), Error> {
        attach::detach_pod(&self.pins, ifindex)
    }

    /// The node's own addresses, at which node ports answer; those not listed no longer do.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn set_node_addresses(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let _one_at_a_time = self.state();
        let inspector = self.inspect();
        let table = &inspector.maps.node_addresses;
        for &address in addresses {
            table.put(&address.into(), &NODE_OWN)?;
        }
        for (held, kind) in table.dump()? {
            if kind == NODE_OWN && !addresses.contains(&held.into()) {
                table.delete(&held)?;
            }
        }
        Ok(())
    }

    /// Addresses of pods on this node whose network is somebody else's: these came (`true`) or went.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn change_foreign_pods(&self, changes: &[(IpAddr, bool)]) -> Result<(), Error> {
        let _one_at_a_time = self.state();
        let inspector = self.inspect();
        let table = &inspector.maps.node_addresses;
        for &(address, here) in changes {
            let key = address.into();
            // Pods on the node's own network have its address.
            match table.get(&key)? {
                Some(NODE_OWN) => {}
                _ if here => table.put(&key, &NODE_POD)?,
                Some(_) => drop(table.delete(&key)?),
                None => {}
            }
        }
        Ok(())
    }

    /// These are all of them.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn sync_foreign_pods(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let held = self.inspect().maps.node_addresses.dump()?.into_iter();
        let pods = held.filter(|(_, kind)| *kind != NODE_OWN).map(|(address, _)| IpAddr::from(address));
        let stale = pods.filter(|address| !addresses.contains(address)).map(|address| (address, false));
        let changes: Vec<(IpAddr, bool)> = addresses.iter().map(|&address| (address, true)).chain(stale).collect();
        self.change_foreign_pods(&changes)
    }

    /// Switches the programs' debug lines on or off.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn debug(&self, on: bool) -> Result<(), Error> {
        let mut state = self.state();
        let flags = if on { state.config.flags | CONFIG_DEBUG } else { state.config.flags & !CONFIG_DEBUG };
        state.config.flags = flags;
        self.inspect().maps.config.put(&0, &state.config)
    }

    /// The programs' debug lines from now on, for one reader at a time. Needs a Tokio runtime with I/O.
    ///
    /// # Errors
    /// Another reader follows them, or the log cannot be opened.
    pub fn debug_lines(&self) -> Result<DebugLines, Error> {
        let programs = Arc::clone(&self.state().programs);
        let info: sys::ProgInfo =
            sys::info(programs.get("connect4").as_fd()).context(|| "inspect program connect4".to_owned())?;
        DebugLines::follow(info.id, &self.following)
    }

    /// The datagram backends that services have lost since the last call, by changes that are in the kernel: what to give to
    /// [`Inspector::destroy_stale_sockets`].
    pub fn take_gone(&self) -> HashSet<GoneBackend> {
        std::mem::take(&mut self.state().gone)
    }

    /// The kernel's tables as they are now; one that grows is another from then on.
    pub fn inspect(&self) -> Arc<Inspector> {
        Arc::clone(&self.inspector.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left half done is read from the kernel again by the next write that fails.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, plan: impl Fn(&mut Tables) -> Result<Plan, Full>) -> Result<Applied, Error> {
        let start = Instant::now();
        let plan = self.growing(|state, inspector| {
            let plan = match plan(&mut state.tables) {
                Err(_) if state.tables.limbo_rows() > 0 => {
                    reclaim(&mut state.tables)?;
                    plan(&mut state.tables)?
                }
                planned => planned?,
            };
            if let Err(error) = write(state, inspector, &plan) {
                state.read_again(&self.pins, inspector)?;
                return Err(error);
            }
            let gone = |row: &Backend| GoneBackend { service: row.service, addr: row.addr, port: row.port };
            state.gone.extend(plan.gone.iter().map(gone));
            Ok(plan)
        })?;
        Ok(Applied {
            ops: plan.ops(),
            rows: plan.rows.iter().map(|(_, list)| list.len()).sum(),
            heads: plan.heads.len() + plan.removed_heads.len(),
            took: start.elapsed(),
        })
    }

    /// Tries until it fits: a table that turns out to be too small is made larger, if it may be.
    pub(crate) fn growing<T>(
        &self,
        mut attempt: impl FnMut(&mut State, &Inspector) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.state();
        loop {
            match attempt(&mut state, &self.inspect()) {
                Err(Error::Full(full)) => self.grow(&mut state, full)?,
                outcome => return outcome,
            }
        }
    }

    /// Puts a larger map in the place of one that is full, under traffic: packets see the old one, or the new one with all that the
    /// old one held. The programs are loaded once more for it, which takes as long as at the start.
    fn grow(&self, state: &mut State, full: Full) -> Result<(), Error> {
        let start = Instant::now();
        let entries = grow::replace(&self.pins, &self.inspect(), full.clone())?;
        let programs = Programs::load(&self.pins, &self.sizes)?;
        self.sites.attach(&self.pins, &programs)?;
        let inspector = Arc::new(Inspector::open(self.pins.dir())?);
        *self.inspector.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&inspector);
        state.programs = Arc::new(programs);
        state.read_again(&self.pins, &inspector)?;
        let took_ms = start.elapsed().as_millis();
        tracing::info!(map = full.map, from = full.capacity, to = entries, took_ms, "a table has grown");
        Ok(())
    }
}

impl Sites {
    /// Attaches all programs, or puts them in the place of those that are attached.
    fn attach(&self, pins: &Pins, programs: &Programs) -> Result<(), Error> {
        attach::attach_cgroup(pins, programs, &self.cgroup)?;
        attach::adopt_pods(pins, programs)?;
        attach::attach_overlay(pins, programs, self.overlay)?;
        self.link.map_or(Ok(()), |link| attach::attach_uplink(pins, programs, link))
    }
}

impl State {
    /// What the kernel holds.
    fn restore(pins: &Pins, inspector: &Inspector, programs: Arc<Programs>, config: Config) -> Result<Self, Error> {
        // A list that was given up just before is not in the dump, and a reader may still be at it.
        sys::grace_period().context(|| "wait for a grace period".to_owned())?;
        let (rows, maglev) = (MappedRows::open(pins, &BACKENDS, true)?, MappedRows::open(pins, &MAGLEV, true)?);
        let maps = &inspector.maps;
        let limits = Limits {
            heads: maps.services.info()?.max_entries,
            rows: rows.len(),
            maglev: maglev.len(),
            sources: maps.sources.info()?.max_entries,
        };
        let endpoints = maps.endpoints.dump()?.into_iter();
        let policed =
            endpoints.map(|(address, endpoint)| (address.into(), endpoint.flags & (EP_INGRESS | EP_EGRESS))).collect();
        let tables = Tables::restore(limits, &inspector.dump()?);
        Ok(Self { programs, tables, rows, maglev, config, policed, gone: HashSet::new() })
    }

    /// Forgets what was thought of the tables. What only user space knows stays.
    fn read_again(&mut self, pins: &Pins, inspector: &Inspector) -> Result<(), Error> {
        let fresh = Self::restore(pins, inspector, Arc::clone(&self.programs), self.config)?;
        (self.tables, self.rows, self.maglev) = (fresh.tables, fresh.rows, fresh.maglev);
        Ok(())
    }
}

/// Field by field, as a plan asks for.
fn write(state: &mut State, inspector: &Inspector, plan: &Plan) -> Result<(), Error> {
    let maps = &inspector.maps;
    let key = |id| NameKey { kind: NAME_SERVICE, id };
    // A set: the value says nothing.
    let sources: Vec<_> = plan.sources.iter().map(|&source| (source, 0)).collect();
    let names: Vec<_> = plan.names.iter().map(|(id, name)| (key(*id), Name::new(name))).collect();
    maps.names.put_all(&names)?;
    for (base, list) in &plan.rows {
        state.rows.store(*base, list);
    }
    for (base, table) in &plan.tables {
        state.maglev.store(*base, table);
    }
    maps.sources.put_all(&sources)?;
    maps.services.put_all(&plan.heads)?;
    maps.services.delete_all(&plan.removed_heads)?;
    for source in &plan.removed_sources {
        maps.sources.delete(source)?;
    }
    let unnamed: Vec<_> = plan.removed_names.iter().map(|&id| key(id)).collect();
    for key in unnamed {
        maps.names.delete(&key)?;
    }
    Ok(())
}

/// Waits until no program can see a retired range, and frees them.
fn reclaim(tables: &mut Tables) -> Result<(), Error> {
    sys::grace_period().context(|| "wait for a grace period".to_owned())?;
    tables.grace_passed();
    Ok(())
}

fn write_config(inspector: &Inspector, options: &Options, sites: &Sites) -> Result<Config, Error> {
    let (node_ports, masquerade) = (&options.node_ports, &options.masquerade);
    let first = |addresses: &[IpAddr], v4: bool| {
        addresses.iter().find(|one| one.is_ipv4() == v4).map_or(Ip::NONE, |&one| one.into())
    };
    let held = inspector.maps.config.get(&0)?.unwrap_or_default();
    if held.abi != 0 && held.abi != ABI_VERSION {
        return Err(Error::Incompatible {
            path: PathBuf::from("CONFIG"),
            what: "ABI version",
            found: held.abi,
            expected: ABI_VERSION,
        });
    }
    let config = Config {
        netns_cookie: netns_cookie()?,
        flags: held.flags & CONFIG_DEBUG | if options.foreign_pods { CONFIG_FOREIGN } else { 0 },
        abi: ABI_VERSION,
        node_port_min: *node_ports.start(),
        node_port_max: *node_ports.end(),
        nat_port_min: *masquerade.ports.start(),
        nat_port_max: *masquerade.ports.end(),
        link: sites.link.unwrap_or(0),
        overlay: sites.overlay.unwrap_or(0),
        vni: OVERLAY_VNI,
        pad: 0,
        masquerade_v4: first(&masquerade.addresses, true),
        masquerade_v6: first(&masquerade.addresses, false),
        node_v4: first(&options.addresses, true),
        node_v6: first(&options.addresses, false),
    };
    inspector.maps.config.put(&0, &config)?;
    Ok(config)
}

/// The kernel's name for the calling thread's network namespace.
fn netns_cookie() -> Result<u64, Error> {
    const SO_NETNS_COOKIE: i32 = 71;
    let what = || "read the network namespace's cookie".to_owned();
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context(what)?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the buffer is 8 bytes long, as said, and lives until the call returns.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if ret == 0 { Ok(cookie) } else { Err(std::io::Error::last_os_error()).context(what) }
}
