//! Deletion: at once, after a grace period, or when the last finalizer is gone.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Preconditions, Time};
use skep_registry::Object;

use super::{ATTEMPTS_MAX, Asked, ClaimChange, Outcome, Target, Writer, written};
use crate::admission::{Charges, Operation, Request};
use crate::object::{self, Cached};
use crate::status::ApiError;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `meta/v1` DeleteOptions, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Preconditions,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation: Option<String>,
}

/// What became of the object.
pub(crate) enum Deletion {
    /// It is gone.
    Removed(Arc<Cached>),
    /// It goes later.
    Pending(Arc<Cached>),
}

/// What is to be done with an object that shall go.
enum Step {
    Remove,
    Keep,
    Nothing,
}

/// Deletes an object.
pub(crate) async fn delete(
    writer: &Writer,
    asked: &Asked,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deletion, ApiError> {
    for _ in 0..ATTEMPTS_MAX {
        let current = writer.current(target).await?;
        let old = writer.decoded(target, &current)?;
        check_preconditions(target, &current, &*old, options)?;
        let request = Request { writer, asked, operation: Operation::Delete, target, old: Some(&*old) };
        writer.admission.validate(&request, None)?;
        let mut new = old.clone_object();
        let step = begin(target, &mut *new, options, Timestamp::now());
        let stored = object::encode(&*new);
        let unchanged = stored == object::encode(&*old);
        let (outcome, removed) = match step {
            Step::Nothing => return Ok(Deletion::Pending(current)),
            Step::Keep if unchanged => return Ok(Deletion::Pending(current)),
            Step::Keep if asked.dry_run => {
                return Ok(Deletion::Pending(written(target, &*new, &stored, current.revision)));
            }
            Step::Remove if asked.dry_run => return Ok(Deletion::Removed(current)),
            Step::Keep => {
                let none = ClaimChange::default();
                (
                    writer
                        .commit(target, current.revision, Some((&*new, stored.clone())), &none, Charges::none())
                        .await?,
                    false,
                )
            }
            Step::Remove => {
                let claims = ClaimChange::between(target.served.strategy.claims(&*old), Vec::new());
                (writer.commit(target, current.revision, None, &claims, Charges::none()).await?, true)
            }
        };
        if let Outcome::Done(revision) = outcome {
            let object = written(target, &*new, &stored, revision);
            return Ok(if removed { Deletion::Removed(object) } else { Deletion::Pending(object) });
        }
    }
    Err(target.modified())
}

fn check_preconditions(
    target: &Target,
    current: &Cached,
    object: &dyn Object,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |why: String| Err(ApiError::conflict(&target.served, &target.name, &why));
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    if let Some(wanted) = options.preconditions.uid.as_deref().filter(|wanted| *wanted != uid) {
        return conflict(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have \
             been deleted and then recreated"
        ));
    }
    let version = current.revision.to_string();
    if let Some(wanted) = options.preconditions.resource_version.as_deref().filter(|wanted| *wanted != version) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

/// Marks the object as far as it must be, and says what to do with it.
fn begin(target: &Target, object: &mut dyn Object, options: &DeleteOptions, now: Timestamp) -> Step {
    let strategy = &target.served.strategy;
    let period = object.meta().deletion_grace_period_seconds.unwrap_or(0);
    if object.meta().deletion_timestamp.is_some() && period > 0 {
        return shorten(object.meta_mut(), options.grace_period_seconds, period);
    }
    set_finalizers(object.meta_mut(), options.propagation.as_deref());
    let held = object.meta().finalizers.as_ref().is_some_and(|f| !f.is_empty())
        || !strategy.spec_finalizers(object).is_empty();
    if object.meta().deletion_timestamp.is_some() {
        return if held { Step::Keep } else { Step::Remove };
    }
    let grace = strategy.grace_period_seconds(object, options.grace_period_seconds).max(0);
    if grace == 0 && !held {
        return Step::Remove;
    }
    let meta = object.meta_mut();
    let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    meta.deletion_timestamp = Some(Time(end));
    meta.deletion_grace_period_seconds = Some(grace);
    meta.generation = meta.generation.map(|g| g.saturating_add(1));
    strategy.begin_deletion(object);
    Step::Keep
}

/// A deletion that has begun may only be made quicker.
fn shorten(meta: &mut ObjectMeta, requested: Option<i64>, period: i64) -> Step {
    let Some(requested) = requested.filter(|r| *r < period) else { return Step::Nothing };
    let requested = requested.max(0);
    if let Some(Time(end)) = &mut meta.deletion_timestamp {
        *end = end.checked_sub(SignedDuration::from_secs(period - requested)).unwrap_or(*end);
    }
    meta.deletion_grace_period_seconds = Some(requested);
    let held = meta.finalizers.as_ref().is_some_and(|f| !f.is_empty());
    if requested == 0 && !held { Step::Remove } else { Step::Keep }
}

/// The propagation policy, where given, replaces the finalizers that stand for it.
fn set_finalizers(meta: &mut ObjectMeta, propagation: Option<&str>) {
    let Some(propagation) = propagation else { return };
    let finalizers = meta.finalizers.get_or_insert_default();
    let wanted = match propagation {
        "Orphan" => Some(ORPHAN),
        "Foreground" => Some(FOREGROUND),
        _ => None,
    };
    finalizers.retain(|f| (f != ORPHAN && f != FOREGROUND) || Some(f.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    if finalizers.is_empty() {
        meta.finalizers = None;
    }
}
