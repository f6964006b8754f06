use std::path::PathBuf;

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{verb} {path}")]
    File {
        /// `read`, `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Something that is not what it should be.
    #[error("{what}: {why}")]
    Malformed {
        /// What is read, e.g. a file.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing says which authority to believe.
    #[error(
        "the cluster's authority is not known here: give its hash with --ca-cert-hash (`skep token create --print-join-command` \
         prints it), or its certificate with --ca-file"
    )]
    NoTrust,
    /// The server's authority is another one than the operator named.
    #[error(
        "the authority of {server} has the hash {found}, which is not the one given with --ca-cert-hash: \
         it is not the cluster that was meant, or somebody stands between"
    )]
    WrongAuthority {
        /// The server that was asked.
        server: String,
        /// The hash that it has.
        found: String,
    },
    /// No certificate, and nothing to get one with.
    #[error(
        "this node has no valid certificate of the cluster yet: give a bootstrap token with --token (`skep token create`)"
    )]
    NoToken,
    /// The server does not know the token.
    #[error(
        "the cluster does not accept the bootstrap token {id}: it is mistyped, was deleted, or has expired; \
         make another with `skep token create`"
    )]
    TokenRefused {
        /// The token's public part.
        id: String,
    },
    /// The server's certificate is not of the authority that is believed.
    #[error(
        "{server} does not prove to be of the cluster: its certificate is not signed by the authority that is known here"
    )]
    Untrusted {
        /// The server that was asked.
        server: String,
        /// TLS' own words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API cannot be reached, or refuses.
    #[error("{verb}")]
    Api {
        /// What was asked, e.g. `ask for a certificate`.
        verb: &'static str,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request that was denied or that breaks its signer's rules.
    #[error("the certificate request {name} was refused: {why}")]
    RequestRefused {
        /// The request.
        name: String,
        /// What the cluster says.
        why: String,
    },
    /// A request that nobody answers.
    #[error(
        "the certificate request {name} is not answered: see `kubectl get csr {name}`, approve it with `kubectl certificate approve {name}`"
    )]
    Unanswered {
        /// The request.
        name: String,
    },
    /// Making a key or a request fails.
    #[error("make a certificate request")]
    Key(#[from] rcgen::Error),
    /// TLS settings cannot be made.
    #[error("TLS settings")]
    Tls(#[from] rustls::Error),
}

impl Error {
    /// What `verb` came to.
    pub(crate) fn api(server: &str, verb: &'static str, source: kube::Error) -> Self {
        let source = Box::new(source);
        if is_untrusted(&*source) {
            Self::Untrusted { server: server.to_owned(), source }
        } else {
            Self::Api { verb, source }
        }
    }

    /// Whether another try may have another outcome: the server was not reached, or was not ready.
    pub(crate) fn is_transient(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        match &**source {
            kube::Error::Api(status) => status.code >= 500 || status.code == 429,
            _ => true,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Malformed { what: what.into(), why: why.to_string() }
    }
}

/// Whether TLS found the server's certificate to be of another authority.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let tls = cause.downcast_ref::<rustls::Error>().or_else(|| {
            let io = cause.downcast_ref::<std::io::Error>()?;
            io.get_ref()?.downcast_ref::<rustls::Error>()
        });
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = cause.source();
    }
    false
}
