use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use skep_cri::{Cgroups, v1};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::HostDns;
use crate::context::{Context, Shared};
use crate::env::{self, Services};
use crate::event::Recorder;
use crate::node::{self, Facts, RangeTaken, Reporter, allocatable, keep_lease, watch_presence};
use crate::options::Options;
use crate::pod::{Backoffs, PodSet};
use crate::{log, server};

/// Runs the agent until `stop`. Containers keep running when it ends, and the next agent takes them over.
///
/// # Errors
/// The options cannot be used: a directory that cannot be made, a port that is taken, no cgroup2. What fails later is
/// retried, and told in the node's and pods' status.
pub async fn run(options: Options, client: kube::Client, stop: CancellationToken) -> anyhow::Result<()> {
    ensure!(options.root_dir.is_absolute(), "root_dir {} is not absolute", options.root_dir.display());
    for dir in ["pods", "logs/pods"] {
        let dir = options.root_dir.join(dir);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let listener = match &options.tls {
        None => None,
        Some(_) => {
            let address = (options.node_ip, options.kubelet_port);
            Some(TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address:?}"))?)
        }
    };
    let port = match &listener {
        None => 0,
        Some(listener) => i32::from(listener.local_addr().context("listening socket")?.port()),
    };
    let facts = Facts::read(&options.root_dir);
    let mut tasks = JoinSet::new();
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let (recorder, events) = Recorder::new(client.clone(), options.node_name.clone(), stop.clone());
    tasks.spawn(events);
    let (services, writer) = reflector::store::<Service>();
    tasks.spawn(follow_services(client.clone(), writer, stop.clone()));
    let context = context(options, client, recorder, services, &facts)?;
    configure_runtime(&context).await;

    let node = tokio::select! {
        node = node::register(&context.client, &context.options, &facts) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    let uid = watch::Sender::new(node.metadata.uid.clone().unwrap_or_default());
    let gone = Arc::new(Notify::new());
    tracing::info!(node = context.options.node_name, port, "node registered");
    tasks.spawn(keep_lease(context.clone(), uid.subscribe(), stop.clone()));
    tasks.spawn(watch_presence(context.clone(), Arc::clone(&gone), stop.clone()));
    let reporter = Reporter { context: context.clone(), facts, node, port, gone, uid };
    let (reports, ends) = (stop.clone(), stop.clone());
    let mut reporter = tokio::spawn(async move {
        let outcome = reporter.run(reports).await;
        ends.cancel();
        outcome
    });
    tasks.spawn(log::rotate(context.clone(), stop.clone()));
    let pods = PodSet::new(context.clone());
    if let (Some(listener), Some(tls)) = (listener, context.options.tls.clone()) {
        tasks.spawn(server::run(listener, tls, context.clone(), pods.clone(), stop.clone()));
    }
    // Containers are told of Services: without a first list of them, their environment would be wrong.
    tokio::select! {
        ready = context.services.wait_until_ready() => ready.context("the watch of Services ended")?,
        () = stop.cancelled() => return Ok(()),
    }
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", context.options.node_name));
    let events = watcher(Api::<Pod>::all(context.client.clone()), mine).default_backoff();
    pods.run(events, stop.clone()).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    let reported = (&mut reporter).await.context("the status reporter panicked")?;
    reported.map_err(anyhow::Error::from)
}

/// Registers the Node, or takes over an older one, and returns it. For what must be known before the runtime starts; [`run`]
/// does it again.
///
/// # Errors
/// The range that the options name is another node's.
pub async fn register(options: &Options, client: &kube::Client) -> Result<Node, RangeTaken> {
    node::register(client, options, &Facts::read(&options.root_dir)).await
}

fn context(
    options: Options,
    client: kube::Client,
    recorder: Recorder,
    services: Services,
    facts: &Facts,
) -> anyhow::Result<Shared> {
    let cri = skep_cri::Client::connect(&options.cri_socket)?;
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Ok(Arc::new(Context {
        cri,
        client,
        recorder,
        services,
        cgroups: Cgroups::detect()?,
        host: facts.host(),
        host_dns: HostDns::parse(&resolv),
        node: env::Node { ip: options.node_ip, allocatable: allocatable(&options, facts) },
        image_backoffs: Mutex::new(Backoffs::default()),
        options,
    }))
}

/// Tells the runtime the pods' addresses, for network plugins that it configures itself.
async fn configure_runtime(context: &Context) {
    if context.options.pod_cidrs.is_empty() {
        return;
    }
    let network_config = Some(v1::NetworkConfig { pod_cidr: context.options.pod_cidrs.join(",") });
    let request = v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
    if let Err(error) = context.cri.update_runtime_config(request).await {
        tracing::warn!(%error, "runtime does not take the pod CIDR");
    }
}

/// Keeps the Services as far as environments need them.
async fn follow_services(client: kube::Client, writer: reflector::store::Writer<Service>, stop: CancellationToken) {
    let slim = |service: &mut Service| {
        service.metadata.managed_fields = None;
        service.metadata.annotations = None;
        service.metadata.labels = None;
        service.status = None;
    };
    let events = watcher(Api::<Service>::all(client), watcher::Config::default()).default_backoff().modify(slim);
    let mut events = std::pin::pin!(reflector(writer, events));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                None => return,
                Some(Err(error)) => tracing::warn!(%error, "watch of Services"),
                Some(Ok(_)) => {}
            }
        }
    }
}
