//! DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize: what claims ask for when they are made, what
//! holds them and volumes while they are used, and how they grow.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use skep_registry::{Object, Quantity, typed_mut, typed_ref};

use super::{Operation, Request};
use crate::status::ApiError;

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The class that a claim names, the older annotation first; `None` where it leaves it open.
fn class_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotated = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS));
    annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.as_ref()).map(String::as_str)
}

/// The newest default class for claims that leave it open.
pub(super) fn fill_class(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "persistentvolumeclaims") {
        return Ok(());
    }
    let Some(claim) = typed_mut::<PersistentVolumeClaim>(object).filter(|claim| class_name(claim).is_none()) else {
        return Ok(());
    };
    let is_default = |class: &StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        IS_DEFAULT.iter().any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|value| value == "true"))
    };
    let writer = request.writer;
    let classes = writer.objects::<StorageClass>(writer.admission.storage_classes.as_ref(), "");
    let newest = classes.into_iter().filter(is_default).min_by_key(|class| {
        let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(created), class.metadata.name.clone())
    });
    if let Some(class) = newest {
        claim.spec.get_or_insert_default().storage_class_name = class.metadata.name;
    }
    Ok(())
}

/// The finalizers of what can be in use; controllers remove them.
pub(super) fn protect(request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
    if request.operation != Operation::Create {
        return Ok(());
    }
    for (plural, finalizer) in [
        ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        ("persistentvolumes", "kubernetes.io/pv-protection"),
    ] {
        if request.is_for("", plural) {
            let finalizers = object.meta_mut().finalizers.get_or_insert_default();
            if finalizers.iter().all(|held| held != finalizer) {
                finalizers.push(finalizer.to_owned());
            }
        }
    }
    Ok(())
}

/// A claim grows only where it has a volume whose class allows it.
pub(super) fn check_growth(request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
    if request.operation != Operation::Update || !request.is_for("", "persistentvolumeclaims") {
        return Ok(());
    }
    let (Some(new), Some(old)) = (
        object.and_then(|object| typed_ref::<PersistentVolumeClaim>(object)),
        request.old.and_then(|old| typed_ref::<PersistentVolumeClaim>(old)),
    ) else {
        return Ok(());
    };
    let size = |claim: &PersistentVolumeClaim| {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        Quantity::try_from(requests.get("storage")?).ok()
    };
    if size(new) <= size(old) {
        return Ok(());
    }
    if old.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let name = class_name(new).filter(|name| !name.is_empty() && class_name(old) == Some(name));
    let class = name.and_then(|name| {
        let served = request.writer.admission.storage_classes.as_ref()?;
        serde_json::from_slice::<StorageClass>(&request.writer.cache.get(served, name)?.bytes).ok()
    });
    if class.is_some_and(|class| class.allow_volume_expansion == Some(true)) {
        return Ok(());
    }
    Err(request.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}
