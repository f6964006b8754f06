//! Probes: one task per running container and kind, whose verdicts the pod's worker reads.

mod grpc;
mod http;
mod prober;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, Probe};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(crate) use http::HttpTarget;

use crate::context::Shared;
use crate::pod::{Container, Runtime, State, Unhealthy, container_id, containers, host_network};
use prober::Prober;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn probe(self, container: &k8s_openapi::api::core::v1::Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

const KINDS: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];

/// Verdicts by container id and kind: whether the probe has crossed its success or failure threshold.
pub(crate) type Verdicts = Arc<Mutex<BTreeMap<(String, Kind), bool>>>;

/// The probes of one pod.
pub(crate) struct Probes {
    context: Shared,
    wake: Arc<Notify>,
    verdicts: Verdicts,
    tasks: BTreeMap<(String, Kind), AbortHandle>,
    /// What each running container is probed for, and the grace that a kill by its probe has.
    running: BTreeMap<String, Vec<(Kind, Option<i64>)>>,
}

impl Probes {
    pub(crate) fn new(context: Shared, wake: Arc<Notify>) -> Self {
        Self { context, wake, verdicts: Verdicts::default(), tasks: BTreeMap::new(), running: BTreeMap::new() }
    }

    /// Starts probes of containers that now run and ends those of containers that do not. A pod that ends keeps only
    /// its readiness probes.
    pub(crate) fn sync(&mut self, pod: &Pod, runtime: &Runtime, stop: bool) {
        self.running.clear();
        for container in containers(pod) {
            let Some(held) = runtime.latest(&container.name).filter(|held| held.running()) else { continue };
            let kinds: Vec<_> = KINDS
                .into_iter()
                .filter_map(|kind| Some((kind, kind.probe(container)?.termination_grace_period_seconds)))
                .collect();
            self.adopt(pod, held, &kinds);
            self.running.insert(held.id.clone(), kinds.clone());
            let started = self.is_started(&held.id);
            for (kind, _) in kinds {
                let due = match kind {
                    Kind::Startup => !started && !stop,
                    Kind::Liveness => started && !stop,
                    Kind::Readiness => started,
                };
                let key = (held.id.clone(), kind);
                if due && !self.tasks.contains_key(&key) {
                    self.spawn(pod, container, held, runtime, kind);
                } else if !due && let Some(task) = self.tasks.remove(&key) {
                    task.abort();
                }
            }
        }
        let running = &self.running;
        self.tasks.retain(|(id, _), task| {
            let keep = running.contains_key(id);
            if !keep {
                task.abort();
            }
            keep
        });
        self.lock().retain(|(id, _), _| running.contains_key(id));
    }

    /// A container that ran before this agent keeps what the API says of it until its probes say otherwise.
    fn adopt(&self, pod: &Pod, held: &Container, kinds: &[(Kind, Option<i64>)]) {
        if kinds.iter().any(|(kind, _)| self.tasks.contains_key(&(held.id.clone(), *kind))) {
            return;
        }
        let status = pod.status.as_ref();
        let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
        let id = container_id(&held.id);
        let known = lists
            .into_iter()
            .flatten()
            .flat_map(|list| list.iter().flatten())
            .find(|status| status.container_id.as_deref() == Some(&id));
        let Some(known) = known else { return };
        let mut verdicts = self.lock();
        for (kind, _) in kinds {
            let held_before = match kind {
                Kind::Startup => known.started == Some(true),
                Kind::Readiness => known.ready,
                Kind::Liveness => false,
            };
            if held_before {
                verdicts.entry((held.id.clone(), *kind)).or_insert(true);
            }
        }
    }

    fn spawn(
        &mut self,
        pod: &Pod,
        container: &k8s_openapi::api::core::v1::Container,
        held: &Container,
        runtime: &Runtime,
        kind: Kind,
    ) {
        let Some(probe) = kind.probe(container).cloned() else { return };
        let State::Running { started } = held.state else { return };
        let sandbox_ip = runtime.ready_sandbox().and_then(|sandbox| sandbox.ips.first().copied());
        let ip = if host_network(pod) { Some(self.context.options.node_ip) } else { sandbox_ip };
        let prober = Prober {
            context: self.context.clone(),
            pod: pod.clone(),
            container: container.clone(),
            container_id: held.id.clone(),
            started,
            ip,
            kind,
            probe,
            verdicts: self.verdicts.clone(),
            wake: self.wake.clone(),
        };
        let task = tokio::spawn(prober.run());
        self.tasks.insert((held.id.clone(), kind), task.abort_handle());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, Kind), bool>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, id: &str, kind: Kind) -> Option<bool> {
        self.lock().get(&(id.to_owned(), kind)).copied()
    }

    fn probed(&self, id: &str, kind: Kind) -> bool {
        self.running.get(id).is_some_and(|kinds| kinds.iter().any(|(held, _)| *held == kind))
    }

    fn is_started(&self, id: &str) -> bool {
        !self.probed(id, Kind::Startup) || self.verdict(id, Kind::Startup) == Some(true)
    }

    /// Ids of running containers that have passed their startup probe, or have none.
    pub(crate) fn started(&self) -> BTreeSet<String> {
        self.running.keys().filter(|id| self.is_started(id)).cloned().collect()
    }

    /// Ids of running containers that pass their readiness probe, or have none.
    pub(crate) fn ready(&self) -> BTreeSet<String> {
        let passes = |id: &String| !self.probed(id, Kind::Readiness) || self.verdict(id, Kind::Readiness) == Some(true);
        self.running.keys().filter(|id| self.is_started(id) && passes(id)).cloned().collect()
    }

    /// Running containers that their startup or liveness probe has given up.
    pub(crate) fn unhealthy(&self) -> BTreeMap<String, Unhealthy> {
        let mut unhealthy = BTreeMap::new();
        for (id, kinds) in &self.running {
            for (kind, grace_s) in kinds {
                if *kind != Kind::Readiness && self.verdict(id, *kind) == Some(false) {
                    unhealthy.insert(id.clone(), Unhealthy { probe: kind.name(), grace_s: *grace_s });
                }
            }
        }
        unhealthy
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}
