//! The loops over requests. They share their shape and each does one part, so that each can be left to someone else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use kube::{Api, Client};
use serde_json::json;
use skep_reconcile::{Next, Reconciler};

use super::approve::{self, Verdict};
use super::clean::time_left;
use super::sign::{self, Order};
use crate::context::{Context, now, wait};
use crate::error::Error;
use crate::objects::{ObjectKey, Objects};
use crate::options::Signer;

/// What a loop does.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Approves requests of nodes.
    Approve,
    /// Signs approved requests.
    Sign(Signer),
    /// Removes old requests.
    Clean,
}

/// Runs one of the controllers until it is stopped.
pub(crate) async fn run(context: Context, part: Part) {
    let controller = Controller {
        client: context.client.clone(),
        requests: Objects::cluster(&context.informers),
        nodes: Objects::cluster(&context.informers),
        part,
    };
    let queue = context.queue::<Controller>();
    controller.requests.wake(&queue, "CertificateSigningRequest");
    context.run(controller, queue).await;
}

struct Controller {
    client: Client,
    requests: Objects<CertificateSigningRequest>,
    nodes: Objects<Node>,
    part: Part,
}

struct Observed {
    request: Arc<CertificateSigningRequest>,
    node: Option<Arc<Node>>,
    part: Part,
    now: Timestamp,
}

enum Plan {
    Nothing,
    /// Look again when the world may have changed.
    Later,
    Approve(&'static str),
    Sign {
        lifetime: Option<Duration>,
    },
    Fail(&'static str),
    Delete,
    /// Look again when it is time to delete.
    After(Duration),
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Observed = Observed;
    type Plan = Plan;
    type Applied = ();
    type Error = Error;

    fn kind(&self) -> &'static str {
        match self.part {
            Part::Approve => "csrapproving",
            Part::Sign(_) => "csrsigning",
            Part::Clean => "csrcleaner",
        }
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.requests.keys()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, Error> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        let node = match self.part {
            Part::Approve => approve::node_name(&request).and_then(|name| self.nodes.get(&ObjectKey::new("", &name))),
            Part::Sign(_) | Part::Clean => None,
        };
        Ok(Some(Observed { request, node, part: self.part.clone(), now: now() }))
    }

    fn plan(observed: &Observed) -> Plan {
        match &observed.part {
            Part::Approve => match approve::judge(&observed.request, observed.node.as_deref()) {
                Verdict::Approve(why) => Plan::Approve(why),
                Verdict::Wait => Plan::Later,
                Verdict::Leave => Plan::Nothing,
            },
            Part::Sign(_) => match sign::order(&observed.request) {
                Order::Leave => Plan::Nothing,
                Order::Sign { lifetime } => Plan::Sign { lifetime },
                Order::Refuse(why) => Plan::Fail(why),
            },
            Part::Clean => match time_left(&observed.request, observed.now) {
                left if left.is_positive() => Plan::After(wait(left)),
                _ => Plan::Delete,
            },
        }
    }

    async fn apply(&self, key: &ObjectKey, observed: &Observed, plan: &Plan) -> Result<(), Error> {
        let request = &observed.request;
        match plan {
            Plan::Nothing | Plan::Later | Plan::After(_) => Ok(()),
            Plan::Approve(why) => self.approve(key, observed, why).await,
            Plan::Sign { lifetime } => match self.sign(request, *lifetime) {
                Ok(pem) => {
                    let mut signed = CertificateSigningRequest::clone(request);
                    signed.status.get_or_insert_default().certificate = Some(k8s_openapi::ByteString(pem.into_bytes()));
                    self.requests.replace_status(&signed).await?;
                    tracing::info!(request = key.name, user = request.spec.username, "certificate signed");
                    Ok(())
                }
                Err(why) => self.fail(observed, &why).await,
            },
            Plan::Fail(why) => self.fail(observed, why).await,
            Plan::Delete => self.requests.delete(request, DeleteParams::default()).await,
        }
    }

    async fn report(&self, _: &ObjectKey, _: &Observed, plan: &Plan, _: &Result<(), Error>) -> Result<Next, Error> {
        Ok(match plan {
            Plan::Later => Next::Retry("the Node does not have these addresses yet"),
            Plan::After(left) => Next::After(*left),
            _ => Next::Done,
        })
    }
}

impl Controller {
    fn sign(&self, request: &CertificateSigningRequest, lifetime: Option<Duration>) -> Result<String, String> {
        let Part::Sign(signer) = &self.part else { return Err("this loop does not sign".to_owned()) };
        let usages: Vec<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
        signer.0.sign(&request.spec.request.0, &usages, lifetime)
    }

    async fn approve(&self, key: &ObjectKey, observed: &Observed, why: &str) -> Result<(), Error> {
        let mut conditions = conditions(&observed.request);
        conditions.push(condition("Approved", "AutoApproved", why, observed.now));
        let meta = &observed.request.metadata;
        let patch = json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": conditions},
        });
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        let patch = kube::api::Patch::Merge(patch);
        let patched = api.patch_subresource("approval", &key.name, &kube::api::PatchParams::default(), &patch).await;
        let patched = patched.map_err(|source| Error::Api {
            verb: "approve",
            object: format!("CertificateSigningRequest {key}"),
            source: Box::new(source),
        })?;
        self.requests.informer().record(patched);
        tracing::info!(request = key.name, user = observed.request.spec.username, "request approved");
        Ok(())
    }

    async fn fail(&self, observed: &Observed, why: &str) -> Result<(), Error> {
        let mut failed = CertificateSigningRequest::clone(&observed.request);
        let mut conditions = conditions(&failed);
        conditions.push(condition("Failed", "SignerValidationFailure", why, observed.now));
        failed.status.get_or_insert_default().conditions = Some(conditions);
        self.requests.replace_status(&failed).await.map(|_| ())
    }
}

fn conditions(request: &CertificateSigningRequest) -> Vec<CertificateSigningRequestCondition> {
    request.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
}

fn condition(type_: &str, reason: &str, message: &str, now: Timestamp) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
