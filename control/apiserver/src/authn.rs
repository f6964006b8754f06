//! Who asks: the subject of a client certificate, whom a bearer token stands for, or nobody.

mod token;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use self::token::Tokens;

/// A user and the groups it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `kubernetes-admin`, `system:node:a`.
    pub user: String,
    /// `system:masters`, `system:nodes`.
    pub groups: Vec<String>,
}

impl Identity {
    /// What requests without credentials are made as.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { user: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    /// A user of the given groups and of `system:authenticated`.
    #[must_use]
    pub fn authenticated(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        if !groups.iter().any(|g| g == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { user: user.to_owned(), groups }
    }

    /// The common name is the user, each organization a group. `None` if the certificate names nobody; that it is
    /// signed by the right authority, in time and meant for clients, the TLS handshake has checked.
    #[must_use]
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?;
        let groups: Vec<&str> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
        (!user.is_empty()).then(|| Self::authenticated(user, &groups))
    }

    /// Whether anybody vouched for it.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user == "system:anonymous"
    }

    /// The node that this is, by upstream's convention.
    pub(crate) fn node(&self) -> Option<&str> {
        self.user.strip_prefix("system:node:").filter(|name| !name.is_empty() && self.is_in("system:nodes"))
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
