//! One folder per controller: a pure plan and the loop that applies it.
//!
//! [`run`] starts them all. Each implements [`skep_reconcile::Reconciler`] in its `run.rs`; `plan.rs` beside it decides.
//!
//! Invariants:
//! * all controllers of a process share one watch per resource;
//! * a decision rests on a cache that holds this process's own writes; there are no expectations to keep;
//! * every write to an existing object is guarded by its version or its UID.
//!
//! Tasks: one loop per controller with its reconciles, one per watched resource, one per event recorder.

mod clusterrole;
mod context;
mod csr;
mod deployment;
mod endpoints;
mod endpointslice;
mod error;
mod garbage;
mod legacytoken;
mod namespace;
mod nodehealth;
mod nodeipam;
mod objects;
mod options;
mod owned;
mod owner;
mod pod;
mod podgc;
mod protection;
mod replicaset;
mod resourcequota;
mod rootca;
mod selection;
mod selector;
mod service;
mod serviceaccount;

use anyhow::Context as _;
use kube::Client;
use skep_informer::Informers;
pub use skep_reconcile::CancellationToken;
use tokio::task::JoinSet;

use crate::context::Context;
pub use crate::options::{
    Controller, NodeHealth, Options, PodRange, PodRangeError, Sign, SignToken, Signer, TokenSigner, UnknownController,
};

/// Runs the controllers until `stop` is cancelled. Waits for an API that is not there yet.
///
/// # Errors
/// A controller ended by a panic.
pub async fn run(client: Client, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    // All stop when one fails.
    let stop = stop.child_token();
    let _stop_all = stop.clone().drop_guard();
    let context = Context {
        informers: Informers::new(client.clone(), stop.clone()),
        client,
        reconcile: skep_reconcile::Options { gate: options.gate.clone(), ..skep_reconcile::Options::default() },
        stop,
    };
    let mut running = JoinSet::new();
    for controller in Controller::ALL {
        if !options.disabled.contains(&controller) {
            spawn(&mut running, controller, context.clone(), &options);
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.context("a controller ended")?;
    }
    Ok(())
}

fn spawn(running: &mut JoinSet<()>, controller: Controller, context: Context, options: &Options) {
    match controller {
        Controller::Deployment => running.spawn(deployment::run(context)),
        Controller::ReplicaSet => running.spawn(replicaset::run(context)),
        Controller::EndpointSlice => running.spawn(endpointslice::run(context)),
        Controller::Endpoints => running.spawn(endpoints::run(context)),
        Controller::Namespace => running.spawn(namespace::run(context)),
        Controller::GarbageCollector => running.spawn(garbage::run(context)),
        Controller::NodeLifecycle => running.spawn(nodehealth::run(context, options.node_health)),
        Controller::PodGarbageCollector => running.spawn(podgc::run(context)),
        Controller::NodeIpam => running.spawn(nodeipam::run(context, options.pod_ranges.clone())),
        Controller::CsrApproving => running.spawn(csr::run(context, csr::Part::Approve)),
        Controller::CsrSigning => match &options.signer {
            Some(signer) => running.spawn(csr::run(context, csr::Part::Sign(signer.clone()))),
            None => return,
        },
        Controller::CsrCleaner => running.spawn(csr::run(context, csr::Part::Clean)),
        Controller::ClaimProtection => running.spawn(protection::run_claims(context)),
        Controller::VolumeProtection => running.spawn(protection::run_volumes(context)),
        Controller::ResourceQuota => running.spawn(resourcequota::run(context)),
        Controller::ClusterRoleAggregation => running.spawn(clusterrole::run(context)),
        Controller::ServiceAccount => running.spawn(serviceaccount::run(context)),
        Controller::LegacyToken => match &options.token_signer {
            Some(signer) => running.spawn(legacytoken::run(context, signer.clone(), options.ca_pem.clone())),
            None => return,
        },
        Controller::RootCaPublisher => match &options.ca_pem {
            Some(ca_pem) => running.spawn(rootca::run(context, ca_pem.clone())),
            None => return,
        },
    };
}
