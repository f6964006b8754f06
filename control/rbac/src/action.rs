//! What somebody wants to do.

/// What is to be done, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// To a resource.
    Resource {
        /// `get`, `list`, `deletecollection`, …
        verb: &'a str,
        /// API group; empty for the core group.
        group: &'a str,
        /// Plural name.
        resource: &'a str,
        /// `status`, `log`; empty for the resource itself.
        subresource: &'a str,
        /// `None` at the cluster scope.
        namespace: Option<&'a str>,
        /// `None` for collections.
        name: Option<&'a str>,
    },
    /// To any other path.
    Path {
        /// `get`, lower case.
        verb: &'a str,
        /// The whole path.
        path: &'a str,
    },
}

impl<'a> Action<'a> {
    /// The namespace that it happens in.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a str> {
        match self {
            Self::Resource { namespace, .. } => *namespace,
            Self::Path { .. } => None,
        }
    }

    /// The same with another verb.
    #[must_use]
    pub fn with_verb(self, verb: &'a str) -> Self {
        match self {
            Self::Resource { group, resource, subresource, namespace, name, .. } => {
                Self::Resource { verb, group, resource, subresource, namespace, name }
            }
            Self::Path { path, .. } => Self::Path { verb, path },
        }
    }
}
