//! Changes of an object that is there.

use std::sync::Arc;

use skep_registry::{FieldError, FieldErrorKind, Object, Subresource};

use super::create::own_namespace;
use super::ownership::{self, Entries};
use super::{ALLOCATIONS_MAX, ATTEMPTS_MAX, Asked, ClaimChange, Outcome, Target, Writer, exhausted, refuse, written};
use crate::admission::{Charges, Operation, Request};
use crate::object::{self, Cached};
use crate::status::ApiError;

/// Which part of an object a client may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but status and what the server keeps itself.
    Main,
    /// Status alone.
    Status,
    /// What a subresource other than `status` is about.
    Other(Subresource),
    /// The change is made by the server on the client's behalf: binding, finalizers of a namespace.
    Server,
}

impl Part {
    /// By which subresource clients write it, if it is not the object itself.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main | Self::Server => "",
            Self::Status => "status",
            Self::Other(subresource) => crate::resource::subresource_name(subresource),
        }
    }
}

/// Makes the new object from the current one. It is called again when another write came first.
pub(crate) type Change<'a> = dyn FnMut(&Cached, &dyn Object) -> Result<Box<dyn Object>, ApiError> + Send + 'a;

/// Applies a change. If the new object has a resource version, it must be the current one; otherwise the change is
/// tried until it wins.
pub(crate) async fn update(
    writer: &Writer,
    asked: &Asked,
    target: &Target,
    part: Part,
    change: &mut Change<'_>,
) -> Result<Arc<Cached>, ApiError> {
    for _ in 0..ATTEMPTS_MAX {
        let current = writer.current(target).await?;
        let mut old = writer.decoded(target, &current)?;
        let mut new = change(&current, &*old)?;
        check_preconditions(target, &current, &*old, &*new)?;
        own_namespace(&mut *new, target.namespace.as_deref())?;
        let (held, given) = (old.meta_mut().managed_fields.take(), new.meta_mut().managed_fields.take());
        keep_identity(target, &mut *new, &*old);
        let track = |new: &dyn Object, given| {
            ownership::after_update(asked, target, part, ownership::Update { old: &*old, new, held: &held, given })
        };
        // Of the object itself its owner owns what the client sent, of its parts what the client may change.
        let (early, given) = if part == Part::Main { (Some(track(&*new, given)), None) } else { (None, given) };
        let request = Request { writer, asked, operation: Operation::Update, target, old: Some(&*old) };
        writer.admission.mutate(&request, &mut *new)?;
        prepare(target, part, &mut *new, &*old);
        let owners = early.unwrap_or_else(|| track(&*new, given));
        new.meta_mut().managed_fields = owners;
        if let Some(object) = store(&request, part, &current, (&*old, &held), new).await? {
            return Ok(object);
        }
    }
    Err(target.modified())
}

fn check_preconditions(target: &Target, current: &Cached, old: &dyn Object, new: &dyn Object) -> Result<(), ApiError> {
    let name = new.meta().name.as_deref().unwrap_or_default();
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let uid = new.meta().uid.as_deref().unwrap_or_default();
    let held = old.meta().uid.as_deref().unwrap_or_default();
    if !uid.is_empty() && uid != held {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {held}");
        return Err(ApiError::conflict(&target.served, &target.name, &why));
    }
    match new.meta().resource_version.as_deref() {
        None | Some("" | "0") => Ok(()),
        Some(version) => match version.parse::<u64>() {
            Ok(version) if version == current.revision => Ok(()),
            Ok(_) => Err(target.modified()),
            Err(_) => refuse(
                target,
                &target.name,
                &[FieldError {
                    kind: FieldErrorKind::Invalid,
                    field: "metadata.resourceVersion".to_owned(),
                    message: format!("Invalid value: \"{version}\": must be an unsigned integer"),
                }],
            ),
        },
    }
}

/// Keeps what no client may change, and defaults the rest.
fn keep_identity(target: &Target, new: &mut dyn Object, old: &dyn Object) {
    let (kept, meta) = (old.meta(), new.meta_mut());
    meta.name.clone_from(&kept.name);
    meta.generate_name = kept.generate_name.clone().or_else(|| meta.generate_name.take());
    meta.uid.clone_from(&kept.uid);
    meta.creation_timestamp.clone_from(&kept.creation_timestamp);
    meta.deletion_timestamp.clone_from(&kept.deletion_timestamp);
    meta.deletion_grace_period_seconds = kept.deletion_grace_period_seconds;
    meta.generation = kept.generation;
    meta.self_link = None;
    meta.resource_version = None;
    target.served.strategy.default(new);
}

/// Keeps what this part of the object leaves alone.
fn prepare(target: &Target, part: Part, new: &mut dyn Object, old: &dyn Object) {
    let strategy = &target.served.strategy;
    match part {
        Part::Main => strategy.prepare_for_update(new, old),
        Part::Status => strategy.prepare_for_status_update(new, old),
        Part::Other(part) => strategy.prepare_for_part_update(part, new, old),
        Part::Server => {}
    }
    if matches!(part, Part::Main | Part::Other(_)) && strategy.spec_changed(new, old) {
        new.meta_mut().generation = Some(old.meta().generation.unwrap_or(0).saturating_add(1));
    }
}

fn validate(target: &Target, part: Part, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
    let strategy = &target.served.strategy;
    let specific = match part {
        Part::Main => strategy.validate_update(new, old),
        Part::Status => strategy.validate_status_update(new, old),
        Part::Other(part) => strategy.validate_part_update(part, new, old),
        Part::Server => return Vec::new(),
    };
    let mut errors = skep_registry::validate_metadata(new.meta(), target.served.scope, &**strategy);
    errors.extend(skep_registry::validate_metadata_update(new.meta(), old.meta()));
    errors.extend(specific);
    errors
}

/// `None` where another write came first.
async fn store(
    request: &Request<'_>,
    part: Part,
    current: &Arc<Cached>,
    (old, owners): (&dyn Object, &Entries),
    mut new: Box<dyn Object>,
) -> Result<Option<Arc<Cached>>, ApiError> {
    let Request { writer, target, .. } = *request;
    keep_times(current, owners, &mut *new);
    let strategy = &target.served.strategy;
    let key = target.store_key();
    let held = strategy.claims(old);
    let mut refused = Vec::new();
    let mut turn = writer.admission.turn(request).await;
    for _ in 0..ALLOCATIONS_MAX {
        let mut candidate = new.clone_object();
        let mut errors = Vec::new();
        if part == Part::Main
            && let Err(taken) = strategy.allocate(&mut *candidate, Some(old), &writer.pools(&key, &refused))
        {
            errors.extend(taken);
        }
        errors.extend(validate(target, part, &*candidate, old));
        errors.dedup();
        refuse(target, &target.name, &errors)?;
        if part == Part::Main {
            request.asked.warnings.extend(strategy.warnings(&*candidate, Some(old)));
        }
        writer.admission.validate(request, Some(&*candidate))?;
        let charges = turn.charge(request, &*candidate).await?;
        let stored = object::encode(&*candidate);
        if current.is_same(&stored) && !current.stale && !is_finished(target, &*candidate) {
            return Ok(Some(Arc::clone(current)));
        }
        if request.asked.dry_run {
            return Ok(Some(written(target, &*candidate, &stored, current.revision)));
        }
        let outcome = if is_finished(target, &*candidate) {
            let claims = ClaimChange::between(held.clone(), Vec::new());
            writer.commit(target, current.revision, None, &claims, Charges::none()).await?
        } else {
            let claims = ClaimChange::between(held.clone(), strategy.claims(&*candidate));
            writer.commit(target, current.revision, Some((&*candidate, stored.clone())), &claims, charges).await?
        };
        match outcome {
            Outcome::Done(revision) => return Ok(Some(written(target, &*candidate, &stored, revision))),
            Outcome::Lost => return Ok(None),
            Outcome::Taken(claims) => refused.extend(claims),
            Outcome::Overtaken => turn.alone(writer).await?,
        }
    }
    Err(exhausted(target))
}

/// When fields were set changes only with something else.
fn keep_times(current: &Cached, owners: &Entries, new: &mut dyn Object) {
    let (Some(held), Some(entries)) = (owners, &new.meta().managed_fields) else { return };
    if held == entries || !skep_apply::same_but_for_times(held, entries) {
        return;
    }
    let entries = new.meta_mut().managed_fields.replace(held.clone());
    if !current.is_same(&object::encode(new)) {
        new.meta_mut().managed_fields = entries;
    }
}

/// Whether the object was only held by its finalizers, and now is no more.
fn is_finished(target: &Target, object: &dyn Object) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && meta.finalizers.as_deref().unwrap_or_default().is_empty()
        && target.served.strategy.spec_finalizers(object).is_empty()
}
