//! Services and slices that change at random beside traffic that must not notice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use skep_bpf::{Datapath, Options};
use skep_netmodel::{Model, NodeIdentity, Outcome};
use skep_testkit::Netns;

use crate::{NODE, POD_PORT, World, ask_udp, call_tcp, udp_socket};

/// Services that always have a live backend.
const STEADY: usize = 12;
/// Services that may have none for a while.
const FREE: usize = 6;
/// Services that come and go.
const PASSING: usize = 12;

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// How many changes there are at least.
    pub changes: usize,
    /// How many of them come in a second.
    pub rate: u32,
    /// How many short connections there are at least.
    pub calls: u64,
    /// Connections that stay open all the time.
    pub long_lived: usize,
    /// How often the daemon dies and is followed by another.
    pub restarts: usize,
    /// Where the random choices begin.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Churned {
    /// Changes made, and how long each took from the object to the kernel.
    pub changes: Vec<Duration>,
    /// Short connections and datagrams that were answered.
    pub calls: u64,
    /// Questions on long-lived connections that were answered.
    pub pings: u64,
    /// What failed although it had a live backend.
    pub failures: Vec<String>,
    /// Where the kernel differs from what it should hold, in the end.
    pub differences: Vec<String>,
}

/// Objects that change, and what follows from them.
struct Objects {
    random: u64,
    pods: Vec<Ipv4Addr>,
    services: Vec<Held>,
    model: Model,
}

#[derive(Clone, Debug, Default)]
struct Held {
    there: bool,
    affinity: bool,
    more_ports: bool,
    node_port: bool,
    /// Endpoints of its two slices: pod and state.
    slices: [Vec<(usize, State)>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Terminating,
    Gone,
}

struct Traffic<'a> {
    world: &'a World,
    done: AtomicBool,
    calls: AtomicU64,
    pings: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Churn {
    /// Lets it happen.
    ///
    /// # Errors
    /// The world cannot be set up, or a change cannot be written.
    pub fn run(&self, world: &mut World) -> Result<Churned> {
        raise_limit(self.long_lived)?;
        let mut daemon = Daemon { options: world.options(), datapath: world.datapath.take() };
        let mut objects = Objects::new(world, self.seed);
        daemon.show_all(&objects)?;
        let traffic = Traffic::new(world);
        let streams = traffic.open(self.long_lived)?;
        let mut churned = Churned::default();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| traffic.ping(streams));
            for caller in 0..world.pods.len() {
                let traffic = &traffic;
                scope.spawn(move || traffic.call(caller));
            }
            let outcome = self.change(&mut daemon, &mut objects, &traffic, &mut churned.changes);
            traffic.done.store(true, Ordering::Relaxed);
            outcome
        });
        outcome.with_context(|| format!("after {} changes from seed {}", churned.changes.len(), self.seed))?;
        let specs = objects.model.specs().map(AsRef::as_ref);
        let differences = daemon.datapath()?.inspect().verify_services(specs)?;
        churned.differences = differences.iter().map(|one| format!("{one:?}")).collect();
        churned.calls = traffic.calls.load(Ordering::Relaxed);
        churned.pings = traffic.pings.load(Ordering::Relaxed);
        churned.failures = traffic.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        world.datapath = daemon.datapath;
        Ok(churned)
    }

    fn change(
        &self,
        daemon: &mut Daemon,
        objects: &mut Objects,
        traffic: &Traffic<'_>,
        took: &mut Vec<Duration>,
    ) -> Result<()> {
        let began = Instant::now();
        let between_restarts = (self.changes / (self.restarts + 1)).max(1);
        let mut restarts = 0;
        while !traffic.has_failed() && (took.len() < self.changes || traffic.calls.load(Ordering::Relaxed) < self.calls)
        {
            let start = Instant::now();
            let outcome = objects.step();
            daemon.datapath()?.apply_services(&outcome.changes)?;
            took.push(start.elapsed());
            if restarts < self.restarts && took.len() == between_restarts * (restarts + 1) {
                restarts += 1;
                daemon.die();
                // One that nobody writes until the next daemon sees all.
                objects.step();
                daemon.start(&traffic.world.node)?;
                daemon.show_all(objects)?;
            }
            let due = Duration::from_secs(1) * took.len() as u32 / self.rate;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        Ok(())
    }
}

struct Daemon {
    options: Options,
    datapath: Option<Datapath>,
}

impl Daemon {
    fn datapath(&self) -> Result<&Datapath> {
        self.datapath.as_ref().context("the daemon is dead")
    }

    fn die(&mut self) {
        self.datapath = None;
    }

    /// Its programs take the place of the former one's under the traffic.
    fn start(&mut self, node: &Netns) -> Result<()> {
        let datapath = node.enter(|| Datapath::open(&self.options))??;
        datapath.set_node_addresses(&[NODE.into()])?;
        self.datapath = Some(datapath);
        Ok(())
    }

    fn show_all(&self, objects: &Objects) -> Result<()> {
        self.datapath()?.sync_services(objects.model.specs().map(AsRef::as_ref))?;
        Ok(())
    }
}

fn vip(service: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 1, service as u8 + 1)
}

impl Objects {
    fn new(world: &World, seed: u64) -> Self {
        let pods = world.pods.iter().map(|pod| pod.address).collect();
        let services = vec![Held::default(); STEADY + FREE + PASSING];
        let mut objects = Self { random: seed | 1, pods, services, model: Model::new(NodeIdentity::default()) };
        for service in 0..STEADY + FREE {
            objects.services[service].there = true;
            objects.services[service].slices[0] = vec![(service % objects.pods.len(), State::Ready)];
            objects.write_service(service);
            objects.write_slice(service, 0);
        }
        objects
    }

    /// A number below `bound` (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }

    /// One random change of one object.
    fn step(&mut self) -> Outcome {
        let service = self.below(self.services.len());
        if service >= STEADY + FREE && self.below(4) == 0 {
            self.services[service].there ^= true;
            return self.write_service(service);
        }
        match self.below(8) {
            0 => self.services[service].affinity ^= true,
            1 => self.services[service].more_ports ^= true,
            2 => self.services[service].node_port ^= true,
            _ => {
                let slice = self.below(2);
                let endpoints = self.endpoints();
                let held = &mut self.services[service].slices;
                held[slice] = endpoints;
                let lives = held.iter().flatten().any(|(_, state)| *state != State::Gone);
                if service < STEADY && !lives {
                    held[slice].push((service % self.pods.len(), State::Ready));
                }
                return self.write_slice(service, slice);
            }
        }
        self.write_service(service)
    }

    fn endpoints(&mut self) -> Vec<(usize, State)> {
        let mut endpoints = Vec::new();
        for pod in 0..self.pods.len() {
            match self.below(5) {
                0 | 1 => endpoints.push((pod, State::Ready)),
                2 => endpoints.push((pod, State::Terminating)),
                3 => endpoints.push((pod, State::Gone)),
                _ => {}
            }
        }
        endpoints
    }

    fn write_service(&mut self, service: usize) -> Outcome {
        let held = self.services[service].clone();
        let name = format!("s{service}");
        if !held.there {
            return self.model.remove_service("churn", &name);
        }
        let mut ports = vec![
            json!({"name": "web", "port": 80, "protocol": "TCP"}),
            json!({"name": "dns", "port": 53, "protocol": "UDP"}),
        ];
        if held.node_port {
            ports[0]["nodePort"] = json!(30_000 + service);
        }
        if held.more_ports {
            ports.push(json!({"name": "more", "port": 8_443, "protocol": "TCP"}));
        }
        let object = json!({
            "metadata": {"namespace": "churn", "name": name},
            "spec": {"type": "NodePort", "clusterIP": vip(service), "clusterIPs": [vip(service)], "ports": ports,
                "sessionAffinity": if held.affinity { "ClientIP" } else { "None" }},
        });
        let object: Service = serde_json::from_value(object).expect("it has a Service's shape");
        self.model.upsert_service(&object)
    }

    fn write_slice(&mut self, service: usize, slice: usize) -> Outcome {
        let name = format!("s{service}-{slice}");
        let held = &self.services[service].slices[slice];
        if held.is_empty() {
            return self.model.remove_slice("churn", &name);
        }
        let endpoints: Vec<_> = held
            .iter()
            .map(|&(pod, state)| {
                let (ready, going) = (state == State::Ready, state == State::Terminating);
                json!({"addresses": [self.pods[pod]],
                    "conditions": {"ready": ready, "serving": ready || going, "terminating": !ready}})
            })
            .collect();
        let object = json!({
            "metadata": {"namespace": "churn", "name": name,
                "labels": {"kubernetes.io/service-name": format!("s{service}")}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "web", "port": POD_PORT, "protocol": "TCP"},
                {"name": "dns", "port": POD_PORT, "protocol": "UDP"}],
        });
        let object: EndpointSlice = serde_json::from_value(object).expect("it has a slice's shape");
        self.model.upsert_slice(&object)
    }
}

impl<'a> Traffic<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            done: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }

    fn open(&self, count: usize) -> Result<Vec<TcpStream>> {
        let open = |number: usize| {
            let netns = &self.world.pods[number % self.world.pods.len()].netns;
            let (_, _, stream) = call_tcp(netns, SocketAddrV4::new(vip(number % STEADY), 80))?;
            Ok(stream)
        };
        (0..count).map(open).collect()
    }

    fn goes_on(&self) -> bool {
        !self.done.load(Ordering::Relaxed) && !self.has_failed()
    }

    fn has_failed(&self) -> bool {
        !self.failures().is_empty()
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, what: &str, error: &std::io::Error) {
        self.failures().push(format!("{what}: {error}"));
    }

    /// Asks on every long-lived connection in turn: whatever its Service has become, its pod lives.
    fn ping(&self, mut streams: Vec<TcpStream>) {
        while self.goes_on() {
            for (number, stream) in streams.iter_mut().enumerate() {
                let mut echo = [0; 4];
                match stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut echo)) {
                    Ok(()) => drop(self.pings.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => return self.fail(&format!("long-lived connection {number}"), &error),
                }
            }
            if streams.is_empty() {
                return;
            }
        }
    }

    /// Asks one Service after another, over TCP and UDP: those that always have a backend must answer, others may refuse.
    fn call(&self, caller: usize) {
        let netns = &self.world.pods[caller].netns;
        let mut service = caller;
        while self.goes_on() {
            service = (service + 1) % (STEADY + FREE);
            let may_refuse = |error: &std::io::Error| service >= STEADY && error.kind() == ErrorKind::ConnectionRefused;
            let (tcp, udp) = (SocketAddrV4::new(vip(service), 80), SocketAddrV4::new(vip(service), 53));
            let answers =
                [("TCP", call_tcp(netns, tcp).map(drop)), ("UDP", ask_udp(&udp_socket(netns), udp).map(drop))];
            for (protocol, answer) in answers {
                match answer {
                    Ok(()) => drop(self.calls.fetch_add(1, Ordering::Relaxed)),
                    Err(error) if may_refuse(&error) => {}
                    Err(error) => return self.fail(&format!("{protocol} to service {service}"), &error),
                }
            }
        }
    }
}

/// Both ends of every connection are this process'.
fn raise_limit(connections: usize) -> Result<()> {
    let wanted = connections as u64 * 2 + 1_024;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).context("raise the limit of open files")?;
    }
    Ok(())
}
