//! A controller such as others write with `kube`: a definition of its own, finalizers, owned objects, and two replicas of which
//! the one that holds a Lease works.

use std::borrow::Cow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{NamespaceResourceScope, TypeMeta};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use skep_e2e::WITHIN;
use tokio::task::JoinHandle;

const FINALIZER: &str = "garden.example.com/record";
const LEASE: &str = "gardener";
const LEASE_SECONDS: i32 = 3;
const RENEW: Duration = Duration::from_millis(500);

const DEFINITION: &str = "gardens.garden.example.com";

/// What the controller makes config maps of.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Garden {
    #[serde(flatten)]
    types: TypeMeta,
    metadata: ObjectMeta,
    spec: GardenSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<GardenStatus>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct GardenSpec {
    colour: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct GardenStatus {
    observed_generation: i64,
    gardener: String,
}

impl Resource for Garden {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Garden".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "garden.example.com".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "gardens".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Garden {
    fn new(name: &str, colour: &str) -> Self {
        Self {
            types: TypeMeta { api_version: "garden.example.com/v1".to_owned(), kind: "Garden".to_owned() },
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: GardenSpec { colour: colour.to_owned() },
            status: None,
        }
    }
}

fn definition() -> serde_json::Result<CustomResourceDefinition> {
    let text = |required: &[&str]| {
        json!({"type": "object", "required": required, "properties": {
        "colour": {"type": "string"}, "gardener": {"type": "string"}, "observedGeneration": {"type": "integer"}}})
    };
    let properties = json!({"spec": text(&["colour"]), "status": text(&["observedGeneration", "gardener"])});
    serde_json::from_value(json!({
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "garden.example.com",
            "names": {"plural": "gardens", "kind": "Garden"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
            }],
        },
    }))
}

struct Replica {
    client: Client,
    name: &'static str,
}

fn config_map(name: &str, data: &serde_json::Value) -> Patch<serde_json::Value> {
    Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

async fn reconcile(garden: Arc<Garden>, replica: Arc<Replica>) -> Result<Action, finalizer::Error<kube::Error>> {
    let gardens = Api::<Garden>::default_namespaced(replica.client.clone());
    finalizer(&gardens, FINALIZER, garden, |event| async {
        match event {
            Event::Apply(garden) => plant(&garden, &replica, &gardens).await,
            Event::Cleanup(garden) => forget(&garden, &replica).await,
        }
    })
    .await
}

/// A config map that the garden owns, and one that nobody but its finalizer removes.
async fn plant(garden: &Garden, replica: &Replica, gardens: &Api<Garden>) -> kube::Result<Action> {
    let maps = Api::<ConfigMap>::default_namespaced(replica.client.clone());
    let manager = PatchParams::apply("gardener").force();
    let name = garden.name_any();
    let owner = garden.controller_owner_ref(&()).into_iter().collect::<Vec<_>>();
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owner},
        "data": {"colour": garden.spec.colour, "by": replica.name},
    });
    maps.patch(&name, &manager, &Patch::Apply(owned)).await?;
    maps.patch(&record(&name), &manager, &config_map(&record(&name), &json!({}))).await?;
    let status = GardenStatus {
        observed_generation: garden.metadata.generation.unwrap_or_default(),
        gardener: replica.name.to_owned(),
    };
    gardens.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    Ok(Action::await_change())
}

async fn forget(garden: &Garden, replica: &Replica) -> kube::Result<Action> {
    let maps = Api::<ConfigMap>::default_namespaced(replica.client.clone());
    match maps.delete(&record(&garden.name_any()), &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Action::await_change()),
        deleted => deleted.map(|_| Action::await_change()),
    }
}

fn record(garden: &str) -> String {
    format!("{garden}-record")
}

/// Waits for the Lease, then works for as long as it can be renewed.
async fn lead(replica: Arc<Replica>) -> kube::Result<()> {
    let mut tick = tokio::time::interval(RENEW);
    while !hold(&replica).await? {
        tick.tick().await;
    }
    let controller =
        Controller::new(Api::<Garden>::default_namespaced(replica.client.clone()), watcher::Config::default())
            .owns(Api::<ConfigMap>::default_namespaced(replica.client.clone()), watcher::Config::default())
            .run(reconcile, |_, _, _| Action::requeue(RENEW), Arc::clone(&replica))
            .for_each(|_| std::future::ready(()));
    let renewed = async {
        while hold(&replica).await? {
            tick.tick().await;
        }
        Ok(())
    };
    tokio::select! {
        () = controller => Ok(()),
        ended = renewed => ended,
    }
}

/// Takes the Lease if it is free or its own, and says whether it has it; of two that try at once, one conflicts.
async fn hold(replica: &Replica) -> kube::Result<bool> {
    let leases = Api::<Lease>::default_namespaced(replica.client.clone());
    let now = Timestamp::now();
    let held = leases.get_opt(LEASE).await?;
    if let Some(spec) = held.as_ref().and_then(|lease| lease.spec.as_ref())
        && spec.holder_identity.as_deref() != Some(replica.name)
        && let Some(MicroTime(renewed)) = spec.renew_time
        && now.duration_since(renewed).as_secs() < i64::from(spec.lease_duration_seconds.unwrap_or_default())
    {
        return Ok(false);
    }
    let mine = Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            resource_version: held.as_ref().and_then(Lease::resource_version),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(replica.name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    };
    let params = PostParams::default();
    let taken = match held {
        Some(_) => leases.replace(LEASE, &params, &mine).await,
        None => leases.create(&params, &mine).await,
    };
    match taken {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        taken => taken.map(|_| true),
    }
}

/// Waits until an object, or its absence, is as wanted.
async fn seen<K>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(Option<&K>) -> bool) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Resource + Send + 'static,
{
    let awaited = await_condition(api.clone(), name, |object: Option<&K>| holds(object));
    tokio::time::timeout(WITHIN, pin!(awaited)).await.with_context(|| format!("{name}: {what}"))??;
    Ok(())
}

fn says(map: Option<&ConfigMap>, colour: &str, by: &str) -> bool {
    let data = map.and_then(|map| map.data.as_ref());
    data.is_some_and(|data| {
        data.get("colour").is_some_and(|value| value == colour) && data.get("by").is_some_and(|value| value == by)
    })
}

async fn tour(kubeconfig: &Path) -> Result<()> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    definitions.create(&PostParams::default(), &definition()?).await?;
    seen(&definitions, DEFINITION, "established", |definition| {
        kube::runtime::wait::Condition::matches_object(&conditions::is_crd_established(), definition)
    })
    .await?;

    let start = |name| -> JoinHandle<kube::Result<()>> {
        tokio::spawn(lead(Arc::new(Replica { client: client.clone(), name })))
    };
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let gardens = Api::<Garden>::default_namespaced(client.clone());
    let leases = Api::<Lease>::default_namespaced(client.clone());
    let first = start("first");
    seen(&leases, LEASE, "held", |lease| lease.is_some()).await?;
    let second = start("second");

    let created = gardens.create(&PostParams::default(), &Garden::new("rose", "red")).await?;
    seen(&maps, "rose", "made", |map| says(map, "red", "first")).await?;
    seen(&gardens, "rose", "status", |garden| {
        garden.and_then(|garden| garden.status.as_ref()).is_some_and(|status| status.observed_generation == 1)
    })
    .await?;
    let before = maps.get("rose").await?.uid();
    maps.delete("rose", &DeleteParams::default()).await?;
    seen(&maps, "rose", "made again", |map| map.is_some_and(|map| map.uid() != before)).await?;

    // The other takes over when its Lease is no longer renewed.
    first.abort();
    let colour = Patch::Merge(json!({"spec": {"colour": "white"}}));
    gardens.patch("rose", &PatchParams::default(), &colour).await?;
    seen(&maps, "rose", "follows", |map| says(map, "white", "second")).await?;

    gardens.delete("rose", &DeleteParams::default()).await?;
    let uid = created.uid().context("no uid")?;
    seen(&gardens, "rose", "gone", |garden| garden.is_none_or(|garden| garden.uid().as_ref() != Some(&uid))).await?;
    ensure!(maps.get_opt("rose-record").await?.is_none(), "the finalizer had its turn before the garden went");
    seen(&maps, "rose", "collected", |map| map.is_none()).await?;
    second.abort();
    definitions.delete(DEFINITION, &DeleteParams::default()).await?;
    Ok(())
}

pub(super) fn run(kubeconfig: &Path) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(tour(kubeconfig))
}
