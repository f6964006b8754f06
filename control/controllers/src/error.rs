//! Why a reconcile failed.

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API refused, or could not be reached.
    #[error("{verb} {object}")]
    Api {
        /// What was asked, e.g. `create`.
        verb: &'static str,
        /// Of which object, e.g. `Pod default/web-x`.
        object: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object cannot be worked with; only a change of it helps.
    #[error("{object}: {message}")]
    Unusable {
        /// Which object.
        object: String,
        /// What is wrong.
        message: String,
    },
}

impl skep_reconcile::Fault for Error {
    /// Another write came first, of the object or of one with its name.
    fn is_transient(&self) -> bool {
        self.is_conflict() || self.is_already_exists()
    }
}

impl Error {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Unusable { .. } => None,
        }
    }

    /// The write lost a race; what it was made from is outdated.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_conflict)
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// The namespace is going, so that nothing can be created in it.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|status| status.details.as_ref())
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// What the API said, as conditions and events show it.
    pub(crate) fn answer(&self) -> String {
        match (self.status(), self) {
            (Some(status), _) => status.message.clone(),
            (None, Self::Api { source, .. }) => source.to_string(),
            (None, Self::Unusable { message, .. }) => message.clone(),
        }
    }
}
