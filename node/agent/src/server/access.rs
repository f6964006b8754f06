//! Who may use the node's server: the cluster's administrators, the API server among them, and whoever may do as much with the
//! Node's `proxy` subresource, which the API server is asked (the kubelet's webhook mode).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Site;

/// May do everything.
const ADMINISTRATORS: &str = "system:masters";

/// Whom a connection's certificate names; that it is of the cluster's authority, the handshake has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    user: String,
    groups: Vec<String>,
}

impl Identity {
    /// `None` if it names nobody.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Arc<Self>> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        (!user.is_empty()).then(|| Arc::new(Self { user, groups }))
    }
}

/// Lets a request through, or says that it is forbidden.
pub(super) async fn check(State(site): State<Site>, request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<Arc<Identity>>().cloned();
    let Some(identity) = identity else { return (StatusCode::UNAUTHORIZED, "Unauthorized").into_response() };
    if identity.groups.iter().any(|group| group == ADMINISTRATORS) {
        return next.run(request).await;
    }
    let (verb, subresource) = attributes(request.method(), request.uri().path());
    match allowed(&site, &identity, verb, subresource).await {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let user = &identity.user;
            let text = format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource={subresource})");
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Err(error) => {
            let user = &identity.user;
            tracing::warn!(%error, user, verb, subresource, "access not decided");
            let text =
                format!("Authorization error (user={user}, verb={verb}, resource=nodes, subresource={subresource})");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// What a request is to authorization. A command that begins as a WebSocket, with a GET, is no reading.
fn attributes(method: &Method, path: &str) -> (&'static str, &'static str) {
    let first = path.split('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    let verb = match (first, method.as_str()) {
        ("exec" | "attach" | "portForward" | "run", _) | (_, "POST") => "create",
        (_, "PUT") => "update",
        (_, "PATCH") => "patch",
        (_, "DELETE") => "delete",
        _ => "get",
    };
    let subresource = match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    };
    (verb, subresource)
}

async fn allowed(site: &Site, who: &Identity, verb: &str, subresource: &str) -> kube::Result<bool> {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        version: Some("v1".to_owned()),
        resource: Some("nodes".to_owned()),
        subresource: Some(subresource.to_owned()),
        name: Some(site.context.options.node_name.clone()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(who.user.clone()),
        groups: Some([&who.groups[..], &["system:authenticated".to_owned()]].concat()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(site.context.client.clone());
    match reviews.create(&PostParams::default(), &review).await {
        Ok(review) => Ok(matches!(review.status, Some(SubjectAccessReviewStatus { allowed: true, .. }))),
        // A server that knows no reviews allows nobody.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_the_kubelet_names_them() {
        for (method, path, expected) in [
            (Method::GET, "/containerLogs/ns/pod/main", ("get", "proxy")),
            (Method::GET, "/exec/ns/pod/main", ("create", "proxy")),
            (Method::POST, "/run/ns/pod/main", ("create", "proxy")),
            (Method::GET, "/pods", ("get", "pods")),
            (Method::GET, "/metrics", ("get", "metrics")),
            (Method::GET, "/logs/syslog", ("get", "log")),
        ] {
            assert_eq!(attributes(&method, path), expected, "{path}");
        }
    }
}
