//! The ConfigMap `kube-root-ca.crt` in each namespace: by what pods trust the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_reconcile::Reconciler;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects};
use crate::serviceaccount::is_active;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context, ca_pem: String) {
    let controller = Controller {
        namespaces: Objects::cluster(&context.informers),
        config_maps: Objects::namespaced(&context.informers),
        ca_pem: Arc::from(ca_pem),
    };
    let queue = context.queue::<Controller>();
    controller.namespaces.wake(&queue, "Namespace");
    let wake = queue.clone();
    controller.config_maps.informer().on_change(move |change| {
        if let Some(config_map) = change.latest().filter(|object| object.metadata.name.as_deref() == Some(NAME)) {
            wake.add(ObjectKey::new("", config_map.metadata.namespace.as_deref().unwrap_or_default()), "ConfigMap");
        }
    });
    context.run(controller, queue).await;
}

struct Controller {
    namespaces: Objects<Namespace>,
    config_maps: Objects<ConfigMap>,
    ca_pem: Arc<str>,
}

struct Observed {
    namespace: Arc<Namespace>,
    config_map: Option<Arc<ConfigMap>>,
    ca_pem: Arc<str>,
}

enum Plan {
    Nothing,
    Create(Box<ConfigMap>),
    Update(Box<ConfigMap>),
}

fn plan(observed: &Observed) -> Plan {
    if !is_active(&observed.namespace) {
        return Plan::Nothing;
    }
    let data = Some(BTreeMap::from([(KEY.to_owned(), observed.ca_pem.to_string())]));
    let description = BTreeMap::from([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())]);
    match &observed.config_map {
        Some(known) if known.data == data => Plan::Nothing,
        Some(known) => {
            let mut updated = ConfigMap::clone(known);
            updated.data = data;
            updated.metadata.annotations.get_or_insert_default().extend(description);
            Plan::Update(Box::new(updated))
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: observed.namespace.metadata.name.clone(),
                annotations: Some(description),
                ..ObjectMeta::default()
            };
            Plan::Create(Box::new(ConfigMap { metadata, data, ..ConfigMap::default() }))
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "rootca"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.namespaces.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        let config_map = self.config_maps.get(&ObjectKey::new(&key.name, NAME));
        Ok(Some(Observed { namespace, config_map, ca_pem: Arc::clone(&self.ca_pem) }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, _: &Observed, plan: &Plan) -> Result<(), Error> {
        match plan {
            Plan::Nothing => Ok(()),
            Plan::Create(config_map) => match self.config_maps.create(config_map).await {
                Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(()),
                result => result.map(|_| ()),
            },
            Plan::Update(config_map) => self.config_maps.replace(config_map).await.map(|_| ()),
        }
    }
}
