//! The loop over quotas.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use skep_admission::Amounts;
use skep_admission::quota::Counted;
use skep_reconcile::{Queue, Reconciler};
use skep_registry::{ApiObject, TypedObject};

use super::counts::Counts;
use super::plan;
use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, Written, namespace};

const PODS: Counted<'_> = Counted { group: "", plural: "pods" };
const SERVICES: Counted<'_> = Counted { group: "", plural: "services" };
const CLAIMS: Counted<'_> = Counted { group: "", plural: "persistentvolumeclaims" };

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let queue = context.queue::<Controller>();
    let quotas: Objects<ResourceQuota> = Objects::namespaced(&context.informers);
    let counts = Counts::new(context.client.clone(), quotas.clone(), queue.clone());
    let wake = queue.clone();
    quotas.informer().on_change(move |change| {
        let hard = |quota: &ResourceQuota| (plan::hard(quota), quota.status.as_ref().and_then(|s| s.hard.clone()));
        // What is used changes with each charge.
        if let Some(new) = &change.new
            && change.old.as_ref().is_none_or(|old| hard(old) != hard(new))
        {
            wake.add(ObjectKey::of(new.as_ref()), "ResourceQuota");
        }
    });
    wake_when_less(&Objects::<Pod>::namespaced(&context.informers), PODS, &quotas, &queue);
    wake_when_less(&Objects::<Service>::namespaced(&context.informers), SERVICES, &quotas, &queue);
    let controller = Controller { client: context.client.clone(), quotas, counts: counts.clone() };
    tokio::join!(counts.keep(context.stop.clone()), context.run(controller, queue));
}

/// Wakes a namespace's quotas when an object of it goes, or uses less.
fn wake_when_less<K: Written + ApiObject>(
    objects: &Objects<K>,
    resource: Counted<'static>,
    quotas: &Objects<ResourceQuota>,
    queue: &Queue<ObjectKey>,
) {
    let (quotas, queue) = (quotas.clone(), queue.clone());
    objects.informer().on_change(move |change| {
        let Some(old) = &change.old else { return };
        let quotas = quotas.list(namespace(old.as_ref()));
        if quotas.is_empty() {
            return;
        }
        let usage = |object: &K| resource.usage(&TypedObject(object.clone()), Timestamp::UNIX_EPOCH);
        if change.new.as_ref().is_some_and(|new| usage(new) == usage(old)) {
            return;
        }
        for quota in quotas.iter().filter(|quota| !resource.names(&plan::hard(quota)).is_empty()) {
            queue.add(ObjectKey::of(quota.as_ref()), resource.plural);
        }
    });
}

struct Controller {
    client: Client,
    quotas: Objects<ResourceQuota>,
    counts: Counts,
}

struct Observed {
    quota: ResourceQuota,
    measured: Amounts,
}

impl Controller {
    async fn measure<K>(&self, quota: &ResourceQuota, resource: Counted<'_>) -> Result<Amounts, Error>
    where
        K: ApiObject + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Debug,
    {
        if resource.names(&plan::hard(quota)).is_empty() {
            return Ok(Amounts::default());
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace(quota));
        let objects = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            // It is not served.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(source) => return Err(failed("list", quota, source)),
        };
        Ok(plan::measure(quota, resource, objects, Timestamp::now()))
    }
}

fn failed(verb: &'static str, quota: &ResourceQuota, source: kube::Error) -> Error {
    Error::Api { verb, object: format!("what ResourceQuota {} counts", ObjectKey::of(quota)), source: Box::new(source) }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Option<Box<ResourceQuota>>;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "resourcequota"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.quotas.keys()
    }

    // The quota first: whatever is charged after that makes the write of its status fail.
    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = api.get_opt(&key.name).await.map_err(|source| Error::Api {
            verb: "get",
            object: format!("ResourceQuota {key}"),
            source: Box::new(source),
        })?;
        let Some(quota) = found.filter(|quota| quota.metadata.deletion_timestamp.is_none()) else { return Ok(None) };
        let mut measured = self.measure::<Pod>(&quota, PODS).await?;
        measured.add(&self.measure::<Service>(&quota, SERVICES).await?);
        measured.add(&self.measure::<PersistentVolumeClaim>(&quota, CLAIMS).await?);
        for name in plan::counted_names(&quota) {
            let number = self.counts.number(&key.namespace, &name).await;
            if let Some((resource, number)) = number.map_err(|source| failed("count", &quota, source))? {
                let resource = Counted { group: &resource.group, plural: &resource.plural };
                measured.add(&plan::count(&quota, resource, number));
            }
        }
        Ok(Some(Observed { quota, measured }))
    }

    fn plan(observed: &Observed) -> Option<Box<ResourceQuota>> {
        plan::plan(&observed.quota, &observed.measured).map(Box::new)
    }

    async fn apply(&self, _: &ObjectKey, _: &Observed, plan: &Option<Box<ResourceQuota>>) -> Result<(), Error> {
        let Some(quota) = plan else { return Ok(()) };
        match self.quotas.replace_status(quota).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
