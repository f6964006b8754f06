//! The ServiceAccount `default` in each namespace.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_reconcile::Reconciler;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects};

const NAME: &str = "default";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        namespaces: Objects::cluster(&context.informers),
        accounts: Objects::namespaced(&context.informers),
    };
    let queue = context.queue::<Controller>();
    controller.namespaces.wake(&queue, "Namespace");
    let wake = queue.clone();
    controller.accounts.informer().on_change(move |change| {
        if let (Some(account), None) = (&change.old, &change.new)
            && account.metadata.name.as_deref() == Some(NAME)
        {
            wake.add(ObjectKey::new("", account.metadata.namespace.as_deref().unwrap_or_default()), "ServiceAccount");
        }
    });
    context.run(controller, queue).await;
}

struct Controller {
    namespaces: Objects<Namespace>,
    accounts: Objects<ServiceAccount>,
}

struct Observed {
    namespace: Arc<Namespace>,
    has_account: bool,
}

/// Whether a namespace stays.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Option<Box<ServiceAccount>>;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "serviceaccount"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.namespaces.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        let has_account = self.accounts.get(&ObjectKey::new(&key.name, NAME)).is_some();
        Ok(Some(Observed { namespace, has_account }))
    }

    fn plan(observed: &Observed) -> Option<Box<ServiceAccount>> {
        if observed.has_account || !is_active(&observed.namespace) {
            return None;
        }
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: observed.namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        };
        Some(Box::new(ServiceAccount { metadata, ..ServiceAccount::default() }))
    }

    async fn apply(&self, _: &ObjectKey, _: &Observed, plan: &Option<Box<ServiceAccount>>) -> Result<(), Error> {
        let Some(account) = plan else { return Ok(()) };
        match self.accounts.create(account).await {
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
