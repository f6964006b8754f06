//! Who asks: the subject of a client certificate, whom a bearer token stands for, or nobody.

mod account;
mod impersonation;
mod token;
mod verified;

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use self::account::{Accounts, Named, Private};
pub(crate) use self::impersonation::Impersonation;
pub(crate) use self::token::Tokens;

/// A user and the groups it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `kubernetes-admin`, `system:node:a`.
    pub user: String,
    /// `system:masters`, `system:nodes`.
    pub groups: Vec<String>,
    /// Of the user, where there is one; empty otherwise.
    pub uid: String,
    /// What else is known, e.g. the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// What requests without credentials are made as.
    #[must_use]
    pub fn anonymous() -> Self {
        let groups = vec!["system:unauthenticated".to_owned()];
        Self { user: "system:anonymous".to_owned(), groups, ..Self::default() }
    }

    /// A user of the given groups and of `system:authenticated`.
    #[must_use]
    pub fn authenticated(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        if !groups.iter().any(|g| g == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { user: user.to_owned(), groups, ..Self::default() }
    }

    /// The common name is the user, each organization a group. `None` if the certificate names nobody; that it is
    /// signed by the right authority, in time and meant for clients, the TLS handshake has checked.
    #[must_use]
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?;
        let groups: Vec<&str> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
        if user.is_empty() {
            return None;
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let id = digest.as_ref().iter().fold("X509SHA256=".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        let extra = BTreeMap::from([("authentication.kubernetes.io/credential-id".to_owned(), vec![id])]);
        Some(Self { extra, ..Self::authenticated(user, &groups) })
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
