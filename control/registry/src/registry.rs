//! The table of resources.

use k8s_openapi::Resource as _;

use crate::kind::{HasScope, Kind};
use crate::kinds;
use crate::strategy::Resource;
use crate::typed::Typed;

/// Every resource that the server has.
pub struct Registry {
    resources: Vec<Resource>,
}

impl Registry {
    /// The built-in resources.
    #[must_use]
    pub fn builtin() -> Self {
        let resources = vec![
            resource::<kinds::ConfigMaps>(),
            resource::<kinds::EndpointsKind>(),
            resource::<kinds::Events>(),
            resource::<kinds::Namespaces>(),
            resource::<kinds::Nodes>(),
            resource::<kinds::Pods>(),
            resource::<kinds::Secrets>(),
            resource::<kinds::ServiceAccounts>(),
            resource::<kinds::Services>(),
            resource::<kinds::Deployments>(),
            resource::<kinds::ReplicaSets>(),
            resource::<kinds::Leases>(),
            resource::<kinds::EndpointSlices>(),
        ];
        Self { resources }
    }

    /// All of them, by group.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The resource behind a path.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
    }

    /// The resource of a kind.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| r.group == group && r.version == version && r.kind == kind)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

fn resource<K: Kind>() -> Resource {
    Resource {
        group: K::Object::GROUP,
        version: K::Object::VERSION,
        kind: K::Object::KIND,
        plural: K::Object::URL_PATH_SEGMENT,
        singular: K::SINGULAR,
        short_names: K::SHORT_NAMES,
        categories: K::CATEGORIES,
        scope: <<K::Object as k8s_openapi::Resource>::Scope as HasScope>::SCOPE,
        subresources: K::SUBRESOURCES,
        strategy: Box::new(Typed::<K>::new()),
    }
}
