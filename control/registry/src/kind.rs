//! What a kind implements.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::schemars::JsonSchema;
use k8s_openapi::{ClusterResourceScope, Metadata as _, NamespaceResourceScope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decode::decode;
use crate::names;
use crate::strategy::{
    Allocated, Cell, Claim, Column, DecodeError, FieldError, Object, Pools, Requester, Scale, Scope, Subresource,
};
use crate::table;

/// A scope, as a value.
pub trait HasScope {
    /// The value.
    const SCOPE: Scope;
}

impl HasScope for ClusterResourceScope {
    const SCOPE: Scope = Scope::Cluster;
}

impl HasScope for NamespaceResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}

/// An API type that can be stored: what every resource type of `k8s-openapi` is.
pub trait ApiObject:
    k8s_openapi::Resource<Scope: HasScope>
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + JsonSchema
    + Serialize
    + DeserializeOwned
    + Clone
    + PartialEq
    + Send
    + Sync
    + 'static
{
}

impl<T> ApiObject for T where
    T: k8s_openapi::Resource<Scope: HasScope>
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + JsonSchema
        + Serialize
        + DeserializeOwned
        + Clone
        + PartialEq
        + Send
        + Sync
        + 'static
{
}

/// One kind of object. [`Typed`](crate::Typed) makes a [`Strategy`](crate::Strategy) of it, whose documentation says
/// what each function is for; group, version, kind, plural and scope come from the object's type.
pub trait Kind: Send + Sync + 'static {
    /// The type of its objects.
    type Object: ApiObject;

    /// Lower-case singular.
    const SINGULAR: &'static str;
    /// Short names for `kubectl`.
    const SHORT_NAMES: &'static [&'static str] = &[];
    /// Categories, e.g. `all`.
    const CATEGORIES: &'static [&'static str] = &[];
    /// What is served below an object.
    const SUBRESOURCES: &'static [Subresource] = &[];
    /// Columns of the table that `kubectl get` prints.
    const COLUMNS: &'static [Column] = table::NAME_AND_AGE;
    /// Known field selectors. Those of the metadata are answered by the adaptor, others by [`Kind::fields`].
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.namespace"];

    /// `apiVersion` of the form in which the objects are stored, where it is another one; see [`View`].
    const STORED_API_VERSION: Option<&'static str> = None;
    /// Whether objects have generations: the first is 1, and [`Kind::spec_changed`] says when it rises.
    const GENERATIONS: bool = false;
    /// Whether an update of an object that is not there creates it.
    const CREATES_ON_UPDATE: bool = false;
    /// Whether its objects are kept. Others are created, answered and forgotten.
    const STORED: bool = true;
    /// How long after its last write an object goes by itself. Never, for most.
    const TIME_TO_LIVE: Option<Duration> = None;

    /// Fills in upstream's defaults.
    fn default(_object: &mut Self::Object) {}

    /// Replaces the status with that of `from`, or removes it: the one thing that the preparation of all kinds with a
    /// status comes down to.
    fn set_status(_object: &mut Self::Object, _from: Option<&Self::Object>) {}

    /// Clears what a client may not set on creation, sets initial values.
    fn prepare_for_create(object: &mut Self::Object) {
        Self::set_status(object, None);
    }

    /// Writes down who creates the object.
    fn set_requester(_object: &mut Self::Object, _requester: &Requester<'_>) {}

    /// Keeps from `old` what an update of the main resource may not change.
    fn prepare_for_update(new: &mut Self::Object, old: &Self::Object) {
        Self::set_status(new, Some(old));
    }

    /// Keeps from `old` all but status and managed fields.
    fn prepare_for_status_update(new: &mut Self::Object, old: &Self::Object) {
        let mut kept = old.clone();
        Self::set_status(&mut kept, Some(new));
        let meta = new.metadata_mut();
        kept.metadata_mut().resource_version = meta.resource_version.take();
        kept.metadata_mut().managed_fields = meta.managed_fields.take();
        *new = kept;
    }

    /// Keeps from `old` all but what a subresource other than `status` may change.
    fn prepare_for_part_update(_part: Subresource, new: &mut Self::Object, old: &Self::Object) {
        new.clone_from(old);
    }

    /// Fills in values that the server hands out.
    ///
    /// # Errors
    /// A value asked for that is taken or out of range; an exhausted pool.
    fn allocate(_new: &mut Self::Object, _old: Option<&Self::Object>, _pools: &dyn Pools) -> Allocated {
        Ok(())
    }

    /// The claims that an object holds.
    fn claims(_object: &Self::Object) -> Vec<Claim> {
        Vec::new()
    }

    /// Validation on creation, beyond metadata.
    fn validate(_object: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// Validation on update, beyond metadata.
    fn validate_update(new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Self::validate(new)
    }

    /// Validation of an update of the status.
    fn validate_status_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// Validation of an update of a subresource other than `status`.
    fn validate_part_update(_part: Subresource, _new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// What whoever creates or changes an object is told besides the answer.
    fn warnings(_new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// The rule for `metadata.name`; `prefix` is set for `generateName`.
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_subdomain(names::without_suffix_dash(name, prefix))
    }

    /// Whether `metadata.generation` must rise, for kinds that have generations.
    fn spec_changed(_new: &Self::Object, _old: &Self::Object) -> bool {
        false
    }

    /// Seconds of grace for a deletion.
    fn grace_period_seconds(_object: &Self::Object, _requested: Option<i64>) -> i64 {
        0
    }

    /// Finalizers in the spec (namespaces).
    fn spec_finalizers(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// Called once when a deletion begins and the object stays.
    fn begin_deletion(_object: &mut Self::Object) {}

    /// Copies the finalizers in the spec.
    fn set_spec_finalizers(_object: &mut Self::Object, _from: &Self::Object) {}

    /// Binds to a node (pods).
    ///
    /// # Errors
    /// Why it cannot be bound.
    fn bind(_object: &mut Self::Object, _node: &str, _now: Timestamp) -> Result<(), String> {
        Err(format!("{} cannot be bound to a node", <Self::Object as k8s_openapi::Resource>::URL_PATH_SEGMENT))
    }

    /// The scale view, for kinds that have one.
    fn scale(_object: &Self::Object) -> Option<Scale> {
        None
    }

    /// Sets the wanted number of replicas.
    fn set_replicas(_object: &mut Self::Object, _replicas: i32) {}

    /// Cells for [`Kind::COLUMNS`].
    fn row(object: &Self::Object, now: Timestamp) -> Vec<Cell> {
        vec![table::name(object.metadata()), table::age(object.metadata(), now)]
    }

    /// The object as another kind stores it; `None` where it is stored as it is.
    fn encode_stored(_object: &Self::Object) -> Option<Box<dyn Object>> {
        None
    }

    /// The object that is stored.
    ///
    /// # Errors
    /// What is stored is no such object.
    fn decode_stored(stored: Value) -> Result<Self::Object, DecodeError> {
        Ok(decode(stored)?.0)
    }

    /// Values of [`Kind::FIELDS`], without those of the metadata.
    fn fields(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A version of a kind whose objects are stored as another version has them. Both versions show the same objects, at the
/// same revisions. [`Viewed`](crate::view::Viewed) makes a whole [`Kind`] of it: what is not a matter of form is the stored
/// kind's.
pub(crate) trait View: Kind {
    /// The kind whose objects are stored.
    type Stored: Kind;

    /// The object in the stored form.
    fn to_stored(view: Self::Object) -> <Self::Stored as Kind>::Object;

    /// The object in this form. It must hold all that the stored one holds, since it may be written back.
    fn from_stored(stored: <Self::Stored as Kind>::Object) -> Self::Object;
}

/// In the implementation of [`Kind`] for a type with a `status`: [`Kind::set_status`].
macro_rules! with_status {
    ($object:ty) => {
        fn set_status(object: &mut $object, from: Option<&$object>) {
            object.status = Some(from.and_then(|from| from.status.clone()).unwrap_or_default());
        }
    };
}

/// In the implementation of [`Kind`] for a type whose `spec` has generations: [`Kind::GENERATIONS`] and
/// [`Kind::spec_changed`].
macro_rules! with_generations {
    ($object:ty) => {
        const GENERATIONS: bool = true;

        fn spec_changed(new: &$object, old: &$object) -> bool {
            new.spec != old.spec
        }
    };
}

pub(crate) use {with_generations, with_status};
