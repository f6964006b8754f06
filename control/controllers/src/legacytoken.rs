//! Secrets of the type `kubernetes.io/service-account-token`: each gets a token of the account that it names, and goes with it.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::DeleteParams;
use skep_reconcile::Reconciler;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, Objects, uid};
use crate::options::TokenSigner;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Runs the controller until it is stopped.
pub(crate) async fn run(context: Context, signer: TokenSigner, ca_pem: Option<String>) {
    let controller = Controller {
        secrets: Objects::namespaced(&context.informers),
        accounts: Objects::namespaced(&context.informers),
        signer,
        ca_pem: ca_pem.map(Arc::from),
    };
    let queue = context.queue::<Controller>();
    let wake = queue.clone();
    controller.secrets.informer().on_change(move |change| {
        if let Some(secret) = change.new.as_deref().filter(|secret| is_token(secret)) {
            wake.add(ObjectKey::of(secret), "Secret");
        }
    });
    let (wake, secrets) = (queue.clone(), controller.secrets.clone());
    controller.accounts.informer().on_change(move |change| {
        // A change of labels and the like concerns no token.
        if let (Some(_), Some(_)) = (&change.old, &change.new) {
            return;
        }
        let Some(account) = change.latest() else { return };
        let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
        for secret in secrets.list(namespace).iter().filter(|secret| is_token(secret)) {
            if annotation(secret, NAME) == account.metadata.name.as_deref().unwrap_or_default() {
                wake.add(ObjectKey::of(&**secret), "ServiceAccount");
            }
        }
    });
    context.run(controller, queue).await;
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|held| held.get(key)).map(String::as_str).unwrap_or_default()
}

struct Controller {
    secrets: Objects<Secret>,
    accounts: Objects<ServiceAccount>,
    signer: TokenSigner,
    ca_pem: Option<Arc<str>>,
}

struct Observed {
    secret: Arc<Secret>,
    account: Option<Arc<ServiceAccount>>,
    ca_pem: Option<Arc<str>>,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    /// The account is gone, or another one has its name.
    Delete,
    /// It lacks something; whether it lacks its token.
    Fill {
        token: bool,
    },
}

fn plan(observed: &Observed) -> Plan {
    let secret = &observed.secret;
    if secret.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let Some(account) = &observed.account else { return Plan::Delete };
    let bound = annotation(secret, UID);
    if !bound.is_empty() && bound != uid(&**account) {
        return Plan::Delete;
    }
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let token = data("token").is_none_or(<[u8]>::is_empty);
    let authority = observed.ca_pem.as_ref().is_some_and(|pem| data("ca.crt") != Some(pem.as_bytes()));
    let namespace = data("namespace").is_none_or(<[u8]>::is_empty);
    if token || authority || namespace || bound.is_empty() { Plan::Fill { token } } else { Plan::Nothing }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        "legacytoken"
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.secrets.all().iter().filter(|secret| is_token(secret)).map(|secret| ObjectKey::of(&**secret)).collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(secret) = self.secrets.get(key).filter(|secret| is_token(secret)) else { return Ok(None) };
        let account = self.accounts.get(&ObjectKey::new(&key.namespace, annotation(&secret, NAME)));
        Ok(Some(Observed { secret, account, ca_pem: self.ca_pem.clone() }))
    }

    fn plan(observed: &Observed) -> Plan {
        plan(observed)
    }

    async fn apply(&self, key: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let token = match plan {
            Plan::Nothing => return Ok(()),
            Plan::Delete => return self.secrets.delete(&observed.secret, DeleteParams::default()).await,
            Plan::Fill { token } => *token,
        };
        let Some(account) = &observed.account else { return Ok(()) };
        let mut secret = Secret::clone(&observed.secret);
        let data = secret.data.get_or_insert_default();
        let mut set = |name: &str, value: &str| data.insert(name.to_owned(), ByteString(value.as_bytes().to_vec()));
        if token {
            let name = annotation(&observed.secret, NAME);
            match self.signer.0.sign(&key.namespace, (name, uid(&**account)), &key.name) {
                Ok(token) => set("token", &token),
                Err(error) => {
                    tracing::warn!(secret = %key, error, "no token could be signed");
                    return Ok(());
                }
            };
        }
        if let Some(pem) = &self.ca_pem {
            set("ca.crt", pem);
        }
        set("namespace", &key.namespace);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(UID.to_owned(), uid(&**account).to_owned());
        self.secrets.replace(&secret).await.map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn observed(annotations: Value, data: Value, account: Option<&str>) -> Observed {
        let secret = json!({"metadata": {"name": "s", "namespace": "n", "annotations": annotations}, "type": TYPE, "data": data});
        let account =
            account.map(|uid| Arc::new(from_value(json!({"metadata": {"name": "bot", "uid": uid}})).unwrap()));
        Observed { secret: Arc::new(from_value(secret).unwrap()), account, ca_pem: Some(Arc::from("ca")) }
    }

    #[test]
    fn a_secret_is_filled_kept_and_goes_with_its_account() {
        let named = json!({NAME: "bot"});
        let bound = json!({NAME: "bot", UID: "1"});
        let full = json!({"token": "dA==", "ca.crt": "Y2E=", "namespace": "bg=="});
        assert_eq!(plan(&observed(named.clone(), json!({}), Some("1"))), Plan::Fill { token: true });
        assert_eq!(plan(&observed(named.clone(), full.clone(), Some("1"))), Plan::Fill { token: false });
        assert_eq!(plan(&observed(bound.clone(), full.clone(), Some("1"))), Plan::Nothing);
        assert_eq!(plan(&observed(bound, full, Some("2"))), Plan::Delete);
        assert_eq!(plan(&observed(named, json!({}), None)), Plan::Delete);
    }
}
