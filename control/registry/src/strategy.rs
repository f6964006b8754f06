//! The seam between the generic request path and the kinds.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use skep_schema::{Definitions, ObjectShape};

/// Whether objects of a resource live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/api/v1/namespaces/{namespace}/{plural}/{name}`.
    Namespaced,
    /// `/api/v1/{plural}/{name}`.
    Cluster,
}

/// What is served below an object's own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// Get, update and patch of `status` alone.
    Status,
    /// `autoscaling/v1` Scale.
    Scale,
    /// POST of a `v1` Binding (pods).
    Binding,
    /// The container's log, from the node (pods).
    Log,
    /// A command run in a container, by an upgraded connection to the node (pods).
    Exec,
    /// The streams of a running container (pods).
    Attach,
    /// Connections to a pod's ports (pods).
    PortForward,
    /// HTTP requests passed on to the object, with whatever path and method (pods, services, nodes).
    Proxy,
    /// PUT of a namespace's `spec.finalizers`.
    Finalize,
    /// POST of an `authentication.k8s.io/v1` TokenRequest (service accounts).
    Token,
    /// Get, update and patch of what was decided on a request (certificate signing requests).
    Approval,
    /// Get, update and patch of the containers that were added for debugging (pods).
    EphemeralContainers,
    /// Get, update and patch of what containers request and may use (pods).
    Resize,
    /// POST of a `policy/v1` Eviction (pods).
    Eviction,
}

/// One served resource: its names, and the strategy for what differs between kinds.
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// API version, e.g. `v1`.
    pub version: Cow<'static, str>,
    /// CamelCase kind.
    pub kind: Cow<'static, str>,
    /// The kind of lists of its objects.
    pub list_kind: Cow<'static, str>,
    /// Lower-case plural, as in paths.
    pub plural: Cow<'static, str>,
    /// Lower-case singular.
    pub singular: Cow<'static, str>,
    /// Short names for `kubectl`.
    pub short_names: Vec<Cow<'static, str>>,
    /// Categories, e.g. `all`.
    pub categories: Vec<Cow<'static, str>>,
    /// Namespaced or not.
    pub scope: Scope,
    /// What is served below an object.
    pub subresources: Cow<'static, [Subresource]>,
    /// The CustomResourceDefinition that it comes from; `None` for built-in ones.
    pub definition: Option<Arc<str>>,
    /// Its number, which no other resource of this process has had: the [`Registry`](crate::Registry) gives it.
    pub slot: usize,
    /// Whether its objects are kept. Others are created, answered and forgotten.
    pub stored: bool,
    /// What differs between kinds.
    pub strategy: Box<dyn Strategy>,
}

impl Resource {
    /// The group under which its objects are stored.
    #[must_use]
    pub fn stored_group(&self) -> &str {
        match self.strategy.stored_api_version() {
            Some(version) => version.split_once('/').map_or("", |(group, _)| group),
            None => &self.group,
        }
    }
}

/// A decoded API object of any kind.
pub trait Object: Any + Send + Sync {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// Its JSON, with `apiVersion`, `kind` and `metadata` first, in that order.
    fn to_value(&self) -> Value;
    /// A copy.
    fn clone_object(&self) -> Box<dyn Object>;
    /// For the strategy, which knows the type.
    fn as_any(&self) -> &dyn Any;
    /// For the strategy, which knows the type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A decoded object, and what of the input it left out.
pub struct Decoded {
    /// The object.
    pub object: Box<dyn Object>,
    /// Paths of fields that the type does not have, e.g. `spec.template.spec.containers[0].imagee`.
    pub unknown_fields: Vec<String>,
}

/// Input that is not of the registered type.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DecodeError {
    /// Path of the offending field; empty for the whole object.
    pub path: String,
    /// What is wrong, e.g. `invalid type: string "3", expected i32`.
    pub message: String,
}

/// Kubernetes' `field.ErrorType`; its `reason` string stands in `status.details.causes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `FieldValueRequired`
    Required,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `InternalError`
    Internal,
}

/// One reason why an object is refused; a 422's cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What sort of fault.
    pub kind: FieldErrorKind,
    /// Path of the field, e.g. `spec.ports[0].port`.
    pub field: String,
    /// Upstream's message body, e.g. `Invalid value: 70000: must be between 1 and 65535, inclusive`.
    pub message: String,
}

/// Who asks, for kinds that keep it.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The groups it is in.
    pub groups: &'a [String],
    /// Its UID; empty where there is none.
    pub uid: &'a str,
    /// What else is known of it.
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// A value that at most one object may hold, e.g. a cluster address. Claims are written and removed in the same
/// transaction as the object that holds them, so that two servers cannot hand out one value twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// `clusterips`, `nodeports`.
    pub pool: &'static str,
    /// The value as it appears in the object, e.g. `10.96.0.10`, `30080`.
    pub value: String,
}

/// What the server knows of values in use, and the settings from which new ones are taken.
pub trait Pools {
    /// Whether another object holds the claim.
    fn is_claimed(&self, claim: &Claim) -> bool;
    /// The cluster's Service CIDRs, one of each family at most, the default family's first, e.g. `10.96.0.0/16`.
    fn service_cidrs(&self) -> &[ipnet::IpNet];
    /// The range of node ports, inclusive.
    fn node_ports(&self) -> std::ops::RangeInclusive<u16>;
    /// A number that differs from call to call, to start searching at.
    fn seed(&self) -> u64;
}

/// The outcome of [`Strategy::allocate`].
pub type Allocated = Result<(), Vec<FieldError>>;

/// A printer column's type, as the OpenAPI formats name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `date`
    Date,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading, e.g. `Ready`.
    pub name: Cow<'static, str>,
    /// Type of its cells.
    pub kind: ColumnType,
    /// `name` for the name column, else empty.
    pub format: Cow<'static, str>,
    /// Shown to people who ask what it means.
    pub description: Cow<'static, str>,
    /// 0 is always shown; above that with `-o wide`.
    pub priority: i32,
}

/// A cell: a string or a number.
pub type Cell = Value;

/// The `autoscaling/v1` view of an object that can be scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`
    pub replicas: i32,
    /// `status.replicas`
    pub status_replicas: i32,
    /// `status.selector`, in the string form.
    pub selector: String,
}

/// What differs between kinds. Every method is total: given an object of another kind it does nothing.
///
/// Order on create: `decode`, `default`, `prepare_for_create`, `allocate`, `validate`. On update: `decode`, `default`,
/// `prepare_for_update` (or `prepare_for_status_update`), `allocate`, `validate_update` (which includes `validate`).
/// The generic path itself sets and guards what all objects share: name, namespace, uid, creation and deletion
/// timestamps, resource version, generation bumped where [`Strategy::spec_changed`], and validates `metadata`.
pub trait Strategy: Send + Sync {
    /// Decodes JSON into the registered type. Unknown fields are reported, not refused.
    ///
    /// # Errors
    /// A value of the wrong type, with its path.
    fn decode(&self, value: Value) -> Result<Decoded, DecodeError>;
    /// The object as another kind stores it; `None` where it is stored as it is, but for its `apiVersion`.
    fn encode_stored(&self, _object: &dyn Object) -> Option<Box<dyn Object>> {
        None
    }
    /// The object that is stored.
    ///
    /// # Errors
    /// What is stored is no object of this resource.
    fn decode_stored(&self, stored: Value) -> Result<Box<dyn Object>, DecodeError> {
        Ok(self.decode(stored)?.object)
    }
    /// Fills in upstream's defaults.
    fn default(&self, object: &mut dyn Object);
    /// Clears what a client may not set on creation (status), sets initial values.
    fn prepare_for_create(&self, object: &mut dyn Object);
    /// Writes down who creates the object (certificate signing requests), in place of what the client says.
    fn set_requester(&self, object: &mut dyn Object, requester: &Requester<'_>);
    /// Keeps from `old` what an update of the main resource may not change (status).
    fn prepare_for_update(&self, new: &mut dyn Object, old: &dyn Object);
    /// Keeps from `old` all but status (and, for upstream's kinds that allow it, some metadata).
    fn prepare_for_status_update(&self, new: &mut dyn Object, old: &dyn Object);
    /// Keeps from `old` all but what a subresource other than `status` may change.
    fn prepare_for_part_update(&self, part: Subresource, new: &mut dyn Object, old: &dyn Object);
    /// Fills in addresses and ports that the server hands out, or checks those asked for.
    ///
    /// # Errors
    /// A value asked for that is taken or out of range; an exhausted pool.
    fn allocate(&self, new: &mut dyn Object, old: Option<&dyn Object>, pools: &dyn Pools) -> Allocated;
    /// The claims that an object holds.
    fn claims(&self, object: &dyn Object) -> Vec<Claim>;
    /// Upstream's validation on creation, beyond metadata.
    fn validate(&self, object: &dyn Object) -> Vec<FieldError>;
    /// Upstream's validation on update, beyond metadata, immutable fields included.
    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError>;
    /// Upstream's validation of an update of the status subresource.
    fn validate_status_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError>;
    /// Upstream's validation of an update of a subresource other than `status`.
    fn validate_part_update(&self, part: Subresource, new: &dyn Object, old: &dyn Object) -> Vec<FieldError>;
    /// Upstream's validation of `metadata.name` beyond being a path segment, e.g. DNS-1123 subdomain, or DNS-1035 label
    /// for Services. `prefix` is set for `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;
    /// Whether `metadata.generation` must rise.
    fn spec_changed(&self, new: &dyn Object, old: &dyn Object) -> bool;
    /// Whether an update of an object that is not there creates it.
    fn creates_on_update(&self) -> bool;
    /// What whoever creates or changes an object is told besides the answer, for what is allowed and yet unwise.
    fn warnings(&self, _new: &dyn Object, _old: Option<&dyn Object>) -> Vec<String> {
        Vec::new()
    }
    /// What those are told who use this version of the resource, as a warning.
    fn deprecation(&self) -> Option<&str> {
        None
    }
    /// Whether finalizers need no domain.
    fn takes_any_finalizer(&self) -> bool {
        false
    }
    /// Why no object may be created (its definition is going); upstream's message.
    fn refuses_creation(&self) -> Option<&'static str> {
        None
    }
    /// `apiVersion` of the form in which objects are stored, where that may differ from what is served: then they are
    /// decoded and defaulted anew when they are read from the store.
    fn stored_api_version(&self) -> Option<&str> {
        None
    }
    /// How long after its last write an object goes by itself; `None` is never.
    fn time_to_live(&self) -> Option<Duration>;
    /// Seconds of grace for a deletion; 0 removes at once. Pods: the asked-for or the spec's, 0 where not bound to a node.
    /// Everything else: 0.
    fn grace_period_seconds(&self, object: &dyn Object, requested: Option<i64>) -> i64;
    /// Whether the object is held in place until `spec.finalizers` is empty (namespaces).
    fn spec_finalizers(&self, object: &dyn Object) -> Vec<String>;
    /// Called once when a deletion begins and the object stays (phase `Terminating` for namespaces).
    fn begin_deletion(&self, object: &mut dyn Object);
    /// Whether `spec.finalizers` only may differ (`finalize` subresource): copies them onto `object` from `from`.
    fn set_spec_finalizers(&self, object: &mut dyn Object, from: &dyn Object);
    /// Binds to a node (pods): sets `spec.nodeName` and the `PodScheduled` condition.
    ///
    /// # Errors
    /// Already bound to another node, or being deleted: upstream's message for the 409.
    fn bind(&self, object: &mut dyn Object, node: &str, now: Timestamp) -> Result<(), String>;
    /// The scale view, for kinds that have one.
    fn scale(&self, object: &dyn Object) -> Option<Scale>;
    /// Sets the wanted number of replicas.
    fn set_replicas(&self, object: &mut dyn Object, replicas: i32);
    /// Columns of the table, `Name` first and `Age` where upstream has it.
    fn columns(&self) -> &[Column];
    /// Cells for [`Strategy::columns`].
    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Cell>;
    /// Values for field selectors, `metadata.name` and `metadata.namespace` included.
    fn fields(&self, object: &dyn Object) -> Vec<(Cow<'static, str>, String)>;
    /// Which field selectors are known; others get a 400.
    fn field_names(&self) -> Vec<&str>;
    /// The shape of its objects: what patches and field ownership go by.
    fn shape(&self) -> ObjectShape;
    /// Adds the schema of its objects and of lists of them. Returns its name.
    fn define(&self, definitions: &mut Definitions) -> String;
}
