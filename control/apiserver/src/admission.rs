//! What a write passes besides validation: plugins after upstream's, by its names and in its order.
//!
//! Two phases: plugins first change an object (after its defaults, before it is prepared and validated), then others refuse it
//! (after validation). Each is a plain function over a [`Request`]; what it needs to know of other objects it reads from the watch
//! cache. Calls to webhooks follow the plugins of their phase; what a quota is charged follows all of them.

mod certificates;
mod grants;
mod lifecycle;
mod limits;
mod node;
mod node_restriction;
mod podsecurity;
mod priority;
mod quota;
mod runtime;
mod service_account;
mod storage;
mod tolerations;

use skep_registry::{Object, Registry};

pub(crate) use self::quota::Charges;

use crate::served::Served;
use crate::status::ApiError;
use crate::write::{Asked, Target, Writer};

/// What is about to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as plugins see it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub writer: &'a Writer,
    pub asked: &'a Asked,
    pub operation: Operation,
    pub target: &'a Target,
    /// As it is now, if it is there.
    pub old: Option<&'a dyn Object>,
}

impl Request<'_> {
    /// Whether it is about the objects of a resource themselves.
    pub(crate) fn is_for(&self, group: &str, plural: &str) -> bool {
        let served = &self.target.served;
        self.asked.subresource.is_empty() && served.group == group && served.plural == plural
    }

    /// The refusal that plugins give; `why` follows `… is forbidden: `.
    pub(crate) fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(&self.target.served.plural, &self.target.served.group, &self.target.name, why)
    }
}

/// Fills in what the client left open, or refuses.
type Mutate = fn(&Request<'_>, &mut dyn Object) -> Result<(), ApiError>;
/// Refuses. There is no object where one is deleted.
type Validate = fn(&Request<'_>, Option<&dyn Object>) -> Result<(), ApiError>;

/// Changing plugins, by upstream's names. They are not asked about deletions.
const MUTATING: &[(&str, Mutate)] = &[
    ("NamespaceLifecycle", lifecycle::admit),
    ("LimitRanger", limits::fill),
    ("ServiceAccount", service_account::admit),
    ("NodeRestriction", node_restriction::admit),
    ("TaintNodesByCondition", node::taint),
    ("Priority", priority::fill),
    ("DefaultTolerationSeconds", tolerations::fill),
    ("DefaultStorageClass", storage::fill_class),
    ("StorageObjectInUseProtection", storage::protect),
    ("RuntimeClass", runtime::fill),
];

/// Refusing plugins, by upstream's names.
const VALIDATING: &[(&str, Validate)] = &[
    ("NamespaceLifecycle", lifecycle::keep),
    ("LimitRanger", limits::check),
    ("NodeRestriction", node_restriction::keep),
    ("PodSecurity", podsecurity::check),
    ("Priority", priority::check),
    ("PersistentVolumeClaimResize", storage::check_growth),
    ("RuntimeClass", runtime::check),
    ("CertificateApproval", certificates::check_approval),
    ("CertificateSigning", certificates::check_signing),
    ("CertificateSubjectRestriction", certificates::check_subject),
    (grants::NAME, grants::check),
];

/// What plugins look up, by resource; those that are not served have nothing to say.
pub(crate) struct Admission {
    limit_ranges: Option<Served>,
    namespaces: Option<Served>,
    pods: Option<Served>,
    priority_classes: Option<Served>,
    resource_quotas: Option<Served>,
    runtime_classes: Option<Served>,
    service_accounts: Option<Served>,
    storage_classes: Option<Served>,
    turns: quota::Turns,
    /// Plugins that are left out, by name.
    disabled: Vec<String>,
}

impl Admission {
    pub(crate) fn new(registry: &Registry, disabled: &[String]) -> Self {
        let find = |group, plural| Served::find(registry, group, "v1", plural);
        Self {
            limit_ranges: find("", "limitranges"),
            namespaces: find("", "namespaces"),
            pods: find("", "pods"),
            priority_classes: find("scheduling.k8s.io", "priorityclasses"),
            resource_quotas: find("", "resourcequotas"),
            runtime_classes: find("node.k8s.io", "runtimeclasses"),
            service_accounts: find("", "serviceaccounts"),
            storage_classes: find("storage.k8s.io", "storageclasses"),
            turns: quota::Turns::default(),
            disabled: disabled.to_vec(),
        }
    }

    fn is_enabled(&self, plugin: &str) -> bool {
        self.disabled.iter().all(|disabled| disabled != plugin)
    }

    /// Before the first phase of a creation: waits a moment for what a controller is about to make and a plugin needs.
    pub(crate) async fn settle(&self, request: &Request<'_>, object: &dyn Object) {
        if self.is_enabled("ServiceAccount") {
            service_account::settle(request, object).await;
        }
    }

    /// The first phase.
    pub(crate) fn mutate(&self, request: &Request<'_>, object: &mut dyn Object) -> Result<(), ApiError> {
        for (plugin, mutate) in MUTATING.iter().filter(|(plugin, _)| self.is_enabled(plugin)) {
            mutate(request, object).inspect_err(|error| refused(request, plugin, error))?;
        }
        Ok(())
    }

    /// The second phase.
    pub(crate) fn validate(&self, request: &Request<'_>, object: Option<&dyn Object>) -> Result<(), ApiError> {
        for (plugin, validate) in VALIDATING.iter().filter(|(plugin, _)| self.is_enabled(plugin)) {
            validate(request, object).inspect_err(|error| refused(request, plugin, error))?;
        }
        Ok(())
    }
}

fn refused(request: &Request<'_>, plugin: &str, error: &ApiError) {
    let user = &request.asked.who.user;
    tracing::debug!(plugin, user, key = request.target.key(), %error, "write is not admitted");
}
