//! Eviction: a pod's deletion, if its disruption budget has room for it.

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Preconditions, Status, Time};
use skep_registry::{
    DisruptionRefusal, Object, covers_pod, is_free_to_go, is_guarded, take_disruption, typed_mut, typed_ref,
};

use super::delete;
use crate::call::Call;
use crate::input;
use crate::object::Cached;
use crate::query;
use crate::response::{self, Body};
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{self, Asked, DeleteOptions, Part, Target, Writer};

/// What a client waits whose pod's budget is not yet computed.
const RETRY_SECONDS: i32 = 10;

pub(super) async fn evict(writer: &Writer, target: &Target, mut call: Call) -> Result<Response<Body>, ApiError> {
    let body = std::mem::replace(&mut call.body, response::full(""));
    let parsed = input::parse(&call.headers, &input::read(body).await?)?;
    let eviction: Eviction = serde_json::from_value(parsed.value).map_err(|error| {
        ApiError::bad_request(format!("Eviction in version \"v1\" cannot be handled as a Eviction: {error}"))
    })?;
    let name = eviction.metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = eviction.delete_options.unwrap_or_default();
    let dry_run = query::dry_run(options.dry_run.as_deref().unwrap_or_default())? || call.query.dry_run()?;
    let asked = call.asks("eviction", dry_run);
    let mut options = delete::checked(options)?;
    let current = writer.current(target).await?;
    let decoded = current.decode(&target.served).ok_or_else(|| target.not_found())?;
    let pod = typed_ref::<Pod>(&*decoded).ok_or_else(ApiError::no_such_path)?;
    if is_guarded(pod) {
        match budget(writer, target, pod)? {
            // What made it free must still hold when it goes.
            Some((_, held)) if is_free_to_go(&held, pod) => pin(&mut options, &current),
            Some((budget, _)) => take(writer, &asked, &budget, &target.name).await?,
            None => {}
        }
    }
    if options.preconditions.resource_version.is_none() {
        mark(writer, &asked, target).await?;
    }
    write::delete(writer, &asked, target, &options).await?;
    let status = Status { status: Some("Success".to_owned()), code: Some(201), ..Status::default() };
    Ok(response::json(StatusCode::CREATED, &status))
}

fn pin(options: &mut DeleteOptions, current: &Cached) {
    let version = options.preconditions.resource_version.take().unwrap_or_else(|| current.revision.to_string());
    let uid = options.preconditions.uid.take();
    options.preconditions = Preconditions { resource_version: Some(version), uid };
}

/// The one budget that the pod falls under.
fn budget(writer: &Writer, target: &Target, pod: &Pod) -> Result<Option<(Target, PodDisruptionBudget)>, ApiError> {
    let Some(served) = Served::find(&writer.cache.registry(), "policy", "v1", "poddisruptionbudgets") else {
        return Ok(None);
    };
    let namespace = target.namespace.clone().unwrap_or_default();
    let all = writer.cache.list(&served, &format!("{namespace}/")).items;
    let decoded = all.iter().filter_map(|cached| cached.decode(&served));
    let mut covering =
        decoded.filter_map(|budget| typed_ref::<PodDisruptionBudget>(&*budget).cloned()).filter(|b| covers_pod(b, pod));
    let (first, second) = (covering.next(), covering.next());
    if second.is_some() {
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", message));
    }
    let place = |budget: PodDisruptionBudget| {
        let name = budget.metadata.name.clone().unwrap_or_default();
        (Target { served: served.clone(), namespace: target.namespace.clone(), name }, budget)
    };
    Ok(first.map(place))
}

/// Takes one disruption of the budget, for this pod.
async fn take(writer: &Writer, asked: &Asked, budget: &Target, pod: &str) -> Result<(), ApiError> {
    let mut change = |_: &Cached, old: &dyn Object| {
        let mut new = old.clone_object();
        let held = typed_mut::<PodDisruptionBudget>(&mut *new).ok_or_else(ApiError::no_such_path)?;
        take_disruption(held, pod, Timestamp::now()).map_err(|refusal| refused(&budget.name, refusal))?;
        Ok(new)
    };
    write::update(writer, asked, budget, Part::Server, &mut change).await.map(drop)
}

fn refused(budget: &str, refusal: DisruptionRefusal) -> ApiError {
    match refusal {
        DisruptionRefusal::Processing(why) => ApiError::disruption(why, Some(RETRY_SECONDS)),
        DisruptionRefusal::Exhausted(why) => ApiError::disruption(why, None),
        DisruptionRefusal::Broken(why) => ApiError::forbidden("poddisruptionbudget", "policy", budget, &why),
    }
}

/// Says in the pod's status why it goes.
async fn mark(writer: &Writer, asked: &Asked, target: &Target) -> Result<(), ApiError> {
    let mut change = |_: &Cached, old: &dyn Object| {
        let mut new = old.clone_object();
        let pod = typed_mut::<Pod>(&mut *new).ok_or_else(ApiError::no_such_path)?;
        let generation = pod.metadata.generation;
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("EvictionByEvictionAPI".to_owned()),
            message: Some("Eviction API: evicting".to_owned()),
            last_transition_time: Some(Time(Timestamp::now())),
            observed_generation: generation,
            ..PodCondition::default()
        });
        Ok(new)
    };
    write::update(writer, asked, target, Part::Server, &mut change).await.map(drop)
}
