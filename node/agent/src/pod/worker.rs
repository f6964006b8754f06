//! One pod's loop. Whatever wakes it, it observes, plans, applies, and reports; work that takes long runs beside it, one
//! piece per container, and wakes it when done.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::backoff::Backoffs;
use super::observe::Observer;
use super::plan::{self, Action, Input, SANDBOX, Why};
use super::runtime::Runtime;
use super::start::{self, Place};
use super::status::{self, Failure, View};
use super::stop::{self, Target};
use super::{PodKey, cleanup, container, grace_s, host_network, report, sandbox, target_of};
use crate::context::Shared;
use crate::probe::Probes;

/// The key under which the refresh of volumes is busy.
const VOLUMES: &str = "/volumes";
const RESYNC: Duration = Duration::from_secs(60);
/// How soon to look again while containers are expected to end by themselves.
const POLL: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(1);
/// Even a forced deletion leaves this much.
const GRACE_MIN_S: i64 = 1;

/// What the API wants of the pod.
#[derive(Debug, Clone)]
pub(crate) enum Desired {
    /// It exists, like this.
    Present(Arc<Pod>),
    /// It is gone from the API, and was last seen like this.
    Gone(Arc<Pod>),
}

impl Desired {
    pub(crate) fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Present(pod) | Self::Gone(pod) => pod,
        }
    }
}

/// The loop and what it holds. All of it but the pod can be lost: a new worker finds the rest in the runtime.
pub(crate) struct Worker {
    context: Shared,
    key: PodKey,
    pod: Pod,
    gone: bool,
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    observer: Observer,
    probes: Probes,
    work: JoinSet<Done>,
    busy: BTreeMap<String, AbortHandle>,
    stopping: BTreeSet<String>,
    failures: BTreeMap<String, Failure>,
    backoffs: Backoffs,
    /// Reason and message with which the agent has failed the pod.
    failed: Option<(String, String)>,
    /// Volumes and cgroup of the ended pod are gone.
    released: bool,
    volumes_at: Timestamp,
    /// Exits for which the back-off has been told.
    told: BTreeSet<String>,
}

/// A finished piece of work.
struct Done {
    key: String,
    failure: Option<Failure>,
}

/// Whether the loop goes on, and when at the latest.
enum Next {
    Wait(Duration),
    End,
}

impl Worker {
    pub(crate) fn new(context: Shared, desired: watch::Receiver<Desired>, wake: Arc<Notify>) -> Self {
        let pod = desired.borrow().pod().as_ref().clone();
        Self {
            key: PodKey::of(&pod),
            probes: Probes::new(context.clone(), wake.clone()),
            gone: false,
            observer: Observer::default(),
            work: JoinSet::new(),
            busy: BTreeMap::new(),
            stopping: BTreeSet::new(),
            failures: BTreeMap::new(),
            backoffs: Backoffs::default(),
            failed: None,
            released: false,
            volumes_at: Timestamp::UNIX_EPOCH,
            told: BTreeSet::new(),
            context,
            pod,
            desired,
            wake,
        }
    }

    /// Runs until the pod is gone from the API and from the node. Dropping the future leaves the containers as they are.
    pub(crate) async fn run(mut self) {
        loop {
            self.take_desired();
            let wait = match self.step().await {
                Next::End => return,
                Next::Wait(wait) => wait,
            };
            tokio::select! {
                _ = self.desired.changed() => {}
                () = self.wake.notified() => {}
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.finish(done.ok()),
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(done) = self.work.try_join_next() {
                self.finish(done.ok());
            }
        }
    }

    fn take_desired(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        let was_gone = std::mem::replace(&mut self.gone, matches!(desired, Desired::Gone(_)));
        let held_grace_s = grace_s(&self.pod);
        if newer(desired.pod(), &self.pod) {
            self.pod = desired.pod().as_ref().clone();
        }
        let forced = self.gone && !was_gone && self.pod.metadata.deletion_timestamp.is_none();
        // A shorter grace holds for what is being stopped already.
        if grace_s(&self.pod) < held_grace_s || forced {
            for key in std::mem::take(&mut self.stopping) {
                if let Some(handle) = self.busy.remove(&key) {
                    handle.abort();
                }
            }
        }
    }

    fn finish(&mut self, done: Option<Done>) {
        let Some(done) = done else {
            // Aborted work has left `busy` already; work that panicked has not.
            self.busy.retain(|_, handle| !handle.is_finished());
            return;
        };
        self.busy.remove(&done.key);
        self.stopping.remove(&done.key);
        match done.failure {
            Some(failure) => {
                tracing::info!(pod = %self.key, part = done.key, reason = failure.reason, message = failure.message, "failed");
                self.failures.insert(done.key, failure);
            }
            None => {
                self.failures.remove(&done.key);
            }
        }
    }

    async fn step(&mut self) -> Next {
        let runtime = match self.observer.observe(&self.context, &self.key).await {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(pod = %self.key, %error, "runtime not readable");
                return Next::Wait(RETRY);
            }
        };
        let now = Timestamp::now();
        let deadline = self.check_deadline(now);
        let deleting = self.gone || self.pod.metadata.deletion_timestamp.is_some();
        let finished = self.failed.is_some() || terminal(&self.pod) || plan::finished(&self.pod, &runtime);
        let stop = deleting || finished;
        let mut wait = self.age_failures(now).min(deadline);
        self.probes.sync(&self.pod, &runtime, stop);
        let (started, ready) = (self.probes.started(), self.probes.ready());
        let unhealthy = self.probes.unhealthy();
        let busy: BTreeSet<String> = self.busy.keys().cloned().collect();
        let retry_at = self.failures.iter().map(|(key, failure)| (key.clone(), failure.retry_at)).collect();
        let input = Input {
            pod: &self.pod,
            runtime: &runtime,
            backoffs: &self.backoffs,
            retry_at: &retry_at,
            busy: &busy,
            unhealthy: &unhealthy,
            started: &started,
            stop,
            now,
        };
        let plan = plan::plan(&input);
        if let Some(at) = plan.wake_at {
            wait = wait.min(until(at, now));
        }
        if !plan.actions.is_empty() {
            tracing::debug!(pod = %self.key, actions = ?plan.actions, "planned");
        }
        self.apply(plan.actions, &runtime, now);
        self.refresh_volumes(&runtime, stop, now);
        self.tell_backoffs(&runtime, stop, now);
        if let Err(retry) = self.report(&runtime, (&started, &ready), stop, now).await {
            return retry;
        }
        if stop && runtime.stopped() && self.busy.is_empty() {
            return self.end(&runtime, deleting).await;
        }
        if expects_end(&self.pod, &runtime, stop) {
            wait = wait.min(POLL);
        }
        Next::Wait(wait)
    }

    /// Writes the status. The error says when to try again.
    async fn report(
        &mut self,
        runtime: &Runtime,
        (started, ready): (&BTreeSet<String>, &BTreeSet<String>),
        stop: bool,
        now: Timestamp,
    ) -> Result<(), Next> {
        if self.gone {
            return Ok(());
        }
        let busy = self.busy.keys().cloned().collect();
        let view = View {
            pod: &self.pod,
            runtime,
            busy: &busy,
            backoffs: &self.backoffs,
            failures: &self.failures,
            started,
            ready,
            host_network: host_network(&self.pod),
            node_ips: &self.context.options.node_ips(),
            failed: self.failed.as_ref(),
            stop,
            now,
        };
        let status = status::build(&view);
        match report::report(&self.context.client, &self.pod, &status).await {
            Ok(Some(pod)) if newer(&pod, &self.pod) => self.pod = pod,
            Ok(_) => {}
            Err(error) if gone(&error) => tracing::debug!(pod = %self.key, "status of a pod that is gone"),
            Err(error) => {
                tracing::warn!(pod = %self.key, %error, "status not written");
                return Err(Next::Wait(RETRY));
            }
        }
        Ok(())
    }

    fn spawn(&mut self, key: &str, work: impl Future<Output = Option<Failure>> + Send + 'static) {
        let done = key.to_owned();
        let handle = self.work.spawn(async move { Done { key: done, failure: work.await } });
        self.busy.insert(key.to_owned(), handle);
    }

    fn apply(&mut self, actions: Vec<Action>, runtime: &Runtime, now: Timestamp) {
        for action in actions {
            let (context, pod, key) = (self.context.clone(), self.pod.clone(), self.key.clone());
            match action {
                Action::CreateSandbox { attempt } => self.spawn(SANDBOX, async move {
                    let made = sandbox::create(context, pod, key, attempt).await;
                    made.err().map(|message| failure("FailedCreatePodSandBox", message, sandbox::retry_at()))
                }),
                Action::StopSandbox { id } => {
                    self.spawn(SANDBOX, async move { settle(&key, cleanup::stop_sandbox(&context, &id).await).await });
                }
                Action::RemoveSandbox { id } => {
                    self.spawn(
                        SANDBOX,
                        async move { settle(&key, cleanup::remove_sandbox(&context, &id).await).await },
                    );
                }
                Action::Remove { id } => {
                    let name = runtime.containers.iter().find(|held| held.id == id).map(|held| held.name.clone());
                    let log = runtime.containers.iter().find(|held| held.id == id).map(|held| {
                        let dir = context.options.log_dir(&key.namespace, &key.name, &key.uid);
                        (dir.join(&held.name), held.attempt)
                    });
                    self.spawn(&format!("/remove/{id}"), async move {
                        let removed = cleanup::remove_container(&context, &id).await;
                        if let (Ok(()), Some((dir, attempt))) = (&removed, log) {
                            crate::log::remove(dir, attempt).await;
                        }
                        settle(&key, removed).await
                    });
                    tracing::debug!(container = name, "removed an old instance");
                }
                Action::Start { name, attempt } => self.start(&name, attempt, runtime, now),
                Action::Stop { id, name, why, grace_s } => self.stop(id, name, why, grace_s, runtime),
            }
        }
    }

    fn start(&mut self, name: &str, attempt: u32, runtime: &Runtime, now: Timestamp) {
        let Some(container) = container(&self.pod, name) else { return };
        let Some(sandbox) = runtime.ready_sandbox() else { return };
        if let Some(exit) = runtime.latest_in(&sandbox.id, name).and_then(|held| held.exit()) {
            self.backoffs.step(&plan::backoff_key(&container), exit.finished, now);
        }
        let target = target_of(&self.pod, name).and_then(|target| runtime.latest_in(&sandbox.id, target));
        let place = Place {
            sandbox: sandbox.id.clone(),
            sandbox_attempt: sandbox.attempt,
            ips: sandbox.ips.clone(),
            attempt,
            target: target.map(|held| held.id.clone()),
        };
        let work = start::start(self.context.clone(), self.pod.clone(), self.key.clone(), container, place);
        self.spawn(name, async move { work.await.err() });
    }

    fn stop(&mut self, id: String, name: String, why: Why, grace: Option<i64>, runtime: &Runtime) {
        let container = container(&self.pod, &name);
        let grace_s = grace.unwrap_or_else(|| grace_s(&self.pod)).max(GRACE_MIN_S);
        let ip = runtime.sandboxes.first().and_then(|sandbox| sandbox.ips.first().copied());
        let target = Target { id, name: name.clone(), why, grace_s, ip };
        let work = stop::stop(self.context.clone(), self.pod.clone(), container, target);
        let key = self.key.clone();
        self.spawn(&name, async move { settle(&key, work.await).await });
        self.stopping.insert(name);
    }

    /// The pod has ended on the node. Frees what it held; removes it from the node and the API if it is to go.
    async fn end(&mut self, runtime: &Runtime, deleting: bool) -> Next {
        let done = if deleting {
            cleanup::remove_all(&self.context, &self.key, runtime).await
        } else if !self.released {
            cleanup::release(&self.context, &self.key).await
        } else {
            Ok(())
        };
        if let Err(error) = done {
            tracing::warn!(pod = %self.key, error, "not cleaned up");
            return Next::Wait(RETRY);
        }
        self.released = true;
        if self.gone {
            return Next::End;
        }
        if !deleting {
            return Next::Wait(RESYNC);
        }
        let api = Api::<Pod>::namespaced(self.context.client.clone(), &self.key.namespace);
        let uid = Preconditions { uid: Some(self.key.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::default().grace_period(0) };
        match api.delete(&self.key.name, &params).await {
            Ok(_) => Next::Wait(RESYNC),
            Err(error) if gone(&error) => Next::Wait(RESYNC),
            Err(error) => {
                tracing::warn!(pod = %self.key, %error, "pod not deleted");
                Next::Wait(RETRY)
            }
        }
    }
}

fn failure(reason: &str, message: String, retry_at: Timestamp) -> Failure {
    Failure { reason: reason.to_owned(), message, since: Timestamp::now(), retry_at }
}

/// For work that is planned again by itself as long as it is needed.
async fn settle(key: &PodKey, done: Result<(), String>) -> Option<Failure> {
    if let Err(error) = done {
        tracing::warn!(pod = %key, error, "failed");
        tokio::time::sleep(RETRY).await;
    }
    None
}

fn terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether a container may end at any moment without having crashed.
fn expects_end(pod: &Pod, runtime: &Runtime, stop: bool) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let runs = |container: &k8s_openapi::api::core::v1::Container| {
        runtime.latest(&container.name).is_some_and(super::Container::running)
    };
    let init_runs = spec.init_containers.iter().flatten().any(|init| !plan::is_sidecar(init) && runs(init));
    let bounded = spec.restart_policy.as_deref().is_some_and(|policy| policy != "Always");
    init_runs || ((bounded || stop) && spec.containers.iter().any(runs))
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Whether `pod` is a later version than `held`, or equal.
fn newer(pod: &Pod, held: &Pod) -> bool {
    let version = |pod: &Pod| pod.metadata.resource_version.as_deref().and_then(|version| version.parse::<u64>().ok());
    match (version(pod), version(held)) {
        (Some(new), Some(old)) => new >= old,
        _ => true,
    }
}

/// Whether the API says that this very pod no longer exists.
fn gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
