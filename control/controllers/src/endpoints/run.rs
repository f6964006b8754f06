//! The loop over Services, for their Endpoints.

use k8s_openapi::api::core::v1::Endpoints;
use kube::api::DeleteParams;
use skep_reconcile::Reconciler;

use super::plan::{self, Observed, Plan, is_own};
use crate::context::{Context, now};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects};
use crate::selection::Selection;

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context) {
    let controller = Controller {
        selection: Selection::new(&context.informers),
        endpoints: Objects::namespaced(&context.informers),
    };
    let queue = context.queue::<Controller>();
    controller.selection.wake(&queue);
    controller.endpoints.wake(&queue, "Endpoints");
    context.run(controller, queue).await;
}

struct Controller {
    selection: Selection,
    endpoints: Objects<Endpoints>,
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "endpoints"
    }

    /// Services, and Endpoints that one which is gone left behind.
    fn keys(&self) -> Vec<ObjectKey> {
        let mut keys = self.selection.services.keys();
        let own = self.endpoints.all();
        keys.extend(
            own.iter().filter(|endpoints| is_own(endpoints)).map(|endpoints| ObjectKey::of(endpoints.as_ref())),
        );
        keys
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let service = self.selection.services.get(key);
        let pods = service.as_ref().map(|service| self.selection.pods_of(service)).unwrap_or_default();
        Ok(Some(Observed { service, pods, endpoints: self.endpoints.get(key), now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    async fn apply(&self, _: &ObjectKey, _: &Observed, plan: &Plan) -> Result<(), Error> {
        match plan {
            Plan::Nothing => Ok(()),
            Plan::Create(endpoints) => match self.endpoints.create(endpoints).await {
                Err(error) if error.is_namespace_terminating() => Ok(()),
                result => result.map(|_| ()),
            },
            Plan::Update(endpoints) => self.endpoints.replace(endpoints).await.map(|_| ()),
            Plan::Delete(endpoints) => self.endpoints.delete(endpoints, DeleteParams::default()).await,
        }
    }
}
