//! Which lists are keyed: the `patchStrategy` and `patchMergeKey` marks of the Kubernetes types.

/// How a patch treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// The patch's list replaces the object's.
    Atomic,
    /// Elements are objects, matched by a key.
    ByKey(&'static str),
    /// Elements are primitives; the patch's are added.
    Set,
}

/// A field whose value a patch merges in a way of its own.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// How its list is merged, where it is one.
    pub lists: Lists,
    /// The type of the object, or of the list's elements.
    pub ty: &'static Type,
}

/// The fields of an object type that are not plain. Fields that are not listed are merged where they are maps, and
/// replaced otherwise.
#[derive(Debug)]
pub struct Type(pub &'static [(&'static str, Field)]);

impl Type {
    /// How to treat a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Field {
        self.0.iter().find(|(field, _)| *field == name).map_or(object(&PLAIN), |(_, field)| *field)
    }
}

const fn object(ty: &'static Type) -> Field {
    Field { lists: Lists::Atomic, ty }
}

const fn keyed(key: &'static str, ty: &'static Type) -> Field {
    Field { lists: Lists::ByKey(key), ty }
}

const SET: Field = Field { lists: Lists::Set, ty: &PLAIN };
const META: (&str, Field) = ("metadata", object(&OBJECT_META));
const CONDITIONS: (&str, Field) = ("conditions", keyed("type", &PLAIN));

static PLAIN: Type = Type(&[]);
static OBJECT_META: Type = Type(&[("finalizers", SET), ("ownerReferences", keyed("uid", &PLAIN))]);
static WITH_CONDITIONS: Type = Type(&[CONDITIONS]);

/// An object with metadata and no keyed lists of its own.
pub(crate) static OBJECT: Type = Type(&[META]);

static CONTAINER: Type = Type(&[
    ("env", keyed("name", &PLAIN)),
    ("ports", keyed("containerPort", &PLAIN)),
    ("volumeDevices", keyed("devicePath", &PLAIN)),
    ("volumeMounts", keyed("mountPath", &PLAIN)),
]);
static POD_SPEC: Type = Type(&[
    ("containers", keyed("name", &CONTAINER)),
    ("ephemeralContainers", keyed("name", &CONTAINER)),
    ("hostAliases", keyed("ip", &PLAIN)),
    ("imagePullSecrets", keyed("name", &PLAIN)),
    ("initContainers", keyed("name", &CONTAINER)),
    ("resourceClaims", keyed("name", &PLAIN)),
    ("schedulingGates", keyed("name", &PLAIN)),
    ("topologySpreadConstraints", keyed("topologyKey", &PLAIN)),
    ("volumes", keyed("name", &PLAIN)),
]);
static POD_STATUS: Type = Type(&[
    CONDITIONS,
    ("hostIPs", keyed("ip", &PLAIN)),
    ("podIPs", keyed("ip", &PLAIN)),
    ("resourceClaimStatuses", keyed("name", &PLAIN)),
]);
static POD_TEMPLATE: Type = Type(&[META, ("spec", object(&POD_SPEC))]);
static WITH_TEMPLATE: Type = Type(&[("template", object(&POD_TEMPLATE))]);
static SERVICE_SPEC: Type = Type(&[("ports", keyed("port", &PLAIN))]);
static NODE_SPEC: Type = Type(&[("podCIDRs", SET)]);
static NODE_STATUS: Type = Type(&[("addresses", keyed("type", &PLAIN)), CONDITIONS]);

/// Pod.
pub(crate) static POD: Type = Type(&[META, ("spec", object(&POD_SPEC)), ("status", object(&POD_STATUS))]);
/// Service.
pub(crate) static SERVICE: Type = Type(&[META, ("spec", object(&SERVICE_SPEC)), ("status", object(&WITH_CONDITIONS))]);
/// Node.
pub(crate) static NODE: Type = Type(&[META, ("spec", object(&NODE_SPEC)), ("status", object(&NODE_STATUS))]);
/// Namespace.
pub(crate) static NAMESPACE: Type = Type(&[META, ("status", object(&WITH_CONDITIONS))]);
/// ServiceAccount.
pub(crate) static SERVICE_ACCOUNT: Type = Type(&[META, ("secrets", keyed("name", &PLAIN))]);
/// Deployment.
pub(crate) static DEPLOYMENT: Type =
    Type(&[META, ("spec", object(&WITH_TEMPLATE)), ("status", object(&WITH_CONDITIONS))]);
/// ReplicaSet.
pub(crate) static REPLICA_SET: Type =
    Type(&[META, ("spec", object(&WITH_TEMPLATE)), ("status", object(&WITH_CONDITIONS))]);
