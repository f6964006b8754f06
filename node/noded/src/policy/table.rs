//! The model of policy and the kernel's tables, changed together.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use skep_bpf::Datapath;
use skep_netmodel::{PolicyDelta, PolicyModel};
use skep_observe::{Difference, Inspector, Verify};

use super::Input;
use crate::inputs::Listing;

/// Policy of this node's pods: fed by the watches and by the pods' network.
pub(crate) struct Policing {
    datapath: Arc<Datapath>,
    state: Mutex<State>,
}

struct State {
    model: PolicyModel,
    pods: Listing<Pod>,
    namespaces: Listing<Namespace>,
    policies: Listing<NetworkPolicy>,
    /// The kernel holds what the model says, but for what changed since the last write.
    trusted: bool,
}

impl Policing {
    /// Continues what the kernel's tables hold.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn open(datapath: Arc<Datapath>) -> Result<Self> {
        let former = datapath.inspect().policy_ids().context("read the ids of the policy tables")?;
        let state = State {
            model: PolicyModel::new(former),
            pods: Listing::new(),
            namespaces: Listing::new(),
            policies: Listing::new(),
            trusted: false,
        };
        Ok(Self { datapath, state: Mutex::new(state) })
    }

    pub(crate) fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// A pod is to run here. It is policed when this returns, if any policy selects it or may. One that an earlier daemon has `known`
    /// keeps what is in force for it until everything is known.
    ///
    /// # Errors
    /// The tables refuse.
    pub(crate) fn attach(&self, address: IpAddr, namespace: &str, name: &str, known: bool) -> Result<()> {
        let mut state = self.state();
        state.model.attach(address, namespace, name);
        if state.trusted {
            return state.write(&self.datapath).map(drop);
        }
        let delta = state.model.take_delta();
        if known {
            return Ok(());
        }
        let own = delta.endpoints.get(&address).map(|policed| (address, *policed));
        let delta = PolicyDelta { endpoints: own.into_iter().collect(), ..PolicyDelta::default() };
        self.datapath.apply_policy(&delta, state.model.state())?;
        Ok(())
    }

    /// A pod's address was given back.
    ///
    /// # Errors
    /// The tables refuse.
    pub(crate) fn detach(&self, address: IpAddr) -> Result<()> {
        let mut state = self.state();
        state.model.detach(address);
        if state.trusted { state.write(&self.datapath).map(drop) } else { Ok(()) }
    }

    pub(crate) fn take(&self, input: Input) {
        self.state().take(input);
    }

    /// Writes what is pending; nothing before everything is known. Returns the number of operations.
    ///
    /// # Errors
    /// The tables refuse; the next write is of the whole.
    pub(crate) fn write(&self) -> Result<usize> {
        self.state().write(&self.datapath)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The next full view mends what a panic left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, input: Input) {
        match input {
            Input::Pod(event) => {
                if let Some(all) =
                    take(&mut self.pods, event, &mut self.model, PolicyModel::upsert_pod, |model, pod| {
                        model.remove_pod(&pod.namespace().unwrap_or_default(), &pod.name_any());
                    })
                {
                    self.model.replace_pods(&all);
                }
            }
            Input::Namespace(event) => {
                if let Some(all) = take(
                    &mut self.namespaces,
                    event,
                    &mut self.model,
                    PolicyModel::upsert_namespace,
                    |model, namespace| {
                        model.remove_namespace(&namespace.name_any());
                    },
                ) {
                    self.model.replace_namespaces(&all);
                }
            }
            Input::Policy(event) => {
                if let Some(all) =
                    take(&mut self.policies, event, &mut self.model, PolicyModel::upsert_policy, |model, policy| {
                        model.remove_policy(&policy.namespace().unwrap_or_default(), &policy.name_any());
                    })
                {
                    self.model.replace_policies(&all);
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.pods.is_complete() && self.namespaces.is_complete() && self.policies.is_complete()
    }

    fn write(&mut self, datapath: &Datapath) -> Result<usize> {
        if !self.is_complete() {
            return Ok(0);
        }
        if !self.trusted {
            self.model.set_complete();
        }
        let delta = self.model.take_delta();
        for problem in &delta.problems {
            tracing::warn!(%problem, "left out");
        }
        if self.trusted && delta.is_empty() {
            return Ok(0);
        }
        let trusted = std::mem::replace(&mut self.trusted, false);
        let applied = if trusted {
            datapath.apply_policy(&delta, self.model.state())?
        } else {
            datapath.sync_policy(self.model.state())?
        };
        self.trusted = true;
        Ok(applied.ops)
    }
}

/// Single changes go to the model at once; a list is given back when it is complete.
fn take<T>(
    listing: &mut Listing<T>,
    event: Event<T>,
    model: &mut PolicyModel,
    upsert: impl Fn(&mut PolicyModel, &T),
    remove: impl Fn(&mut PolicyModel, &T),
) -> Option<Vec<T>> {
    match event {
        Event::Apply(object) => upsert(model, &object),
        Event::Delete(object) => remove(model, &object),
        Event::Init => listing.begin(),
        Event::InitApply(object) => listing.add(object),
        Event::InitDone => return Some(listing.end()),
    }
    None
}

impl Verify for Policing {
    fn verify(&self, kernel: &Inspector) -> Result<Vec<Difference>, skep_bpf::Error> {
        let state = self.state();
        if !state.trusted {
            return Ok(vec![Difference::unknown("POLICY")]);
        }
        kernel.verify_policy(state.model.state())
    }
}
