//! Creation.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rand::RngExt;
use skep_registry::Object;

use super::{ALLOCATIONS_MAX, Asked, ClaimChange, Outcome, Target, Writer, exhausted, ownership, refuse, written};
use crate::admission::{Operation, Request};
use crate::object::{self, Cached};
use crate::served::Served;
use crate::status::ApiError;

/// How many names are tried for a `generateName`.
const NAMES_MAX: usize = 8;

/// Letters and digits that make no words.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;
const GENERATED_PREFIX_LEN_MAX: usize = 63 - SUFFIX_LEN;

/// Creates an object in a namespace (`None` for cluster-scoped ones).
pub(crate) async fn create(
    writer: &Writer,
    asked: &Asked,
    served: &Served,
    namespace: Option<&str>,
    mut object: Box<dyn Object>,
) -> Result<Arc<Cached>, ApiError> {
    own_namespace(&mut *object, namespace)?;
    if let Some(why) = served.strategy.refuses_creation() {
        return Err(ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", why));
    }
    if object.meta().resource_version.as_deref().is_some_and(|v| !v.is_empty() && v != "0") {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", message));
    }
    // Values that were given back and namespaces that were made a moment ago must be known.
    writer.catch_up().await?;
    let prefix = object.meta().generate_name.clone().filter(|p| !p.is_empty());
    let generated = object.meta().name.as_deref().unwrap_or_default().is_empty().then_some(prefix).flatten();
    for _ in 0..NAMES_MAX {
        let mut candidate = object.clone_object();
        if let Some(prefix) = &generated {
            candidate.meta_mut().name = Some(generate(prefix));
        }
        let name = candidate.meta().name.clone().unwrap_or_default();
        let target = Target { served: served.clone(), namespace: namespace.map(str::to_owned), name };
        match create_named(writer, asked, &target, candidate).await? {
            Some(created) => return Ok(created),
            None if generated.is_some() => {}
            None => return Err(ApiError::already_exists(served, &target.name)),
        }
    }
    Err(ApiError::already_exists(served, generated.as_deref().unwrap_or_default()))
}

/// `None` where the name is in use.
async fn create_named(
    writer: &Writer,
    asked: &Asked,
    target: &Target,
    mut object: Box<dyn Object>,
) -> Result<Option<Arc<Cached>>, ApiError> {
    let strategy = &target.served.strategy;
    let meta = object.meta_mut();
    meta.uid = Some(uuid::Uuid::new_v4().to_string());
    meta.creation_timestamp = Some(Time(Timestamp::now()));
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.resource_version = None;
    meta.self_link = None;
    let given = meta.managed_fields.take();
    meta.generation = None;
    strategy.default(&mut *object);
    let owners = ownership::of_new(asked, target, &*object, given);
    let request = Request { writer, asked, operation: Operation::Create, target, old: None };
    writer.admission.settle(&request, &*object).await;
    writer.admission.mutate(&request, &mut *object)?;
    strategy.prepare_for_create(&mut *object);
    object.meta_mut().managed_fields = owners;

    let key = target.store_key();
    let mut refused = Vec::new();
    let mut turn = writer.admission.turn(&request).await;
    for _ in 0..ALLOCATIONS_MAX {
        let mut candidate = object.clone_object();
        let mut errors =
            skep_registry::validate_metadata(candidate.meta(), target.served.scope, &*target.served.strategy);
        let allocated = strategy.allocate(&mut *candidate, None, &writer.pools(&key, &refused));
        errors.extend(strategy.validate(&*candidate));
        if let Err(more) = allocated {
            errors.extend(more.into_iter().filter(|e| !errors.contains(e)).collect::<Vec<_>>());
        }
        refuse(target, &target.name, &errors)?;
        asked.warnings.extend(strategy.warnings(&*candidate, None));
        writer.admission.validate(&request, Some(&*candidate))?;
        let charges = turn.charge(&request, &*candidate).await?;
        if asked.dry_run {
            return Ok(dry(writer, target, &*candidate));
        }
        let claims = ClaimChange::between(Vec::new(), strategy.claims(&*candidate));
        let stored = object::encode(&*candidate);
        match writer.commit(target, 0, Some((&*candidate, stored.clone())), &claims, charges).await? {
            Outcome::Done(revision) => return Ok(Some(written(target, &*candidate, &stored, revision))),
            Outcome::Lost => return Ok(None),
            Outcome::Taken(claims) => refused.extend(claims),
            Outcome::Overtaken => turn.alone(writer).await?,
        }
    }
    Err(exhausted(target))
}

/// What would have been created; it has no resource version.
fn dry(writer: &Writer, target: &Target, object: &dyn Object) -> Option<Arc<Cached>> {
    if writer.cache.get(&target.served, &target.key()).is_some() {
        return None;
    }
    let bytes = serde_json::to_vec(&object.to_value()).unwrap_or_default();
    Some(Arc::new(Cached::new(&target.served, target.key(), 0, bytes.into(), object)))
}

/// The namespace in the object, if any, must be that of the path.
pub(crate) fn own_namespace(object: &mut dyn Object, namespace: Option<&str>) -> Result<(), ApiError> {
    let meta = object.meta_mut();
    let given = meta.namespace.as_deref().unwrap_or_default();
    if !given.is_empty() && given != namespace.unwrap_or_default() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta.namespace = namespace.map(str::to_owned);
    Ok(())
}

/// A prefix and what makes it a name that nobody has.
pub(crate) fn generate(prefix: &str) -> String {
    let mut rng = rand::rng();
    let suffix = (0..SUFFIX_LEN).map(|_| char::from(SUFFIX_ALPHABET[rng.random_range(0..SUFFIX_ALPHABET.len())]));
    prefix.chars().take(GENERATED_PREFIX_LEN_MAX).chain(suffix).collect()
}
