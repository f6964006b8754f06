//! `proxy` below pods, services and nodes: a request passed on to the object, with its method, path, query, headers and body.

mod location;
mod page;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use self::location::Location;
use super::Context;
use super::stream::switched;
use crate::call::Call;
use crate::response::{self, Body};
use crate::status::ApiError;
use crate::write::Target;

/// What belongs to one connection only (RFC 9110, 7.6.1), or to this server.
const OWN: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A page of the object must not be taken for one of this server's.
const CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const IMPERSONATION_PREFIX: &str = "impersonate-";

/// `tail` is what follows `/proxy` in the path.
pub(super) async fn pass(
    context: &Context<'_>,
    target: &Target,
    tail: &str,
    mut call: Call,
) -> Result<Response<Body>, ApiError> {
    let location = Location::of(context, target).await?;
    let upgrade = call.upgrade.take().filter(|_| skep_upgrade::is_upgrade(&call.headers));
    if tail.is_empty() && upgrade.is_none() && matches!(call.method, Method::GET | Method::HEAD) {
        return Ok(with_slash(&call));
    }
    let query = call.raw_query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", if tail.is_empty() { "/" } else { tail });
    let method = call.method.clone();
    let mut request = Request::new(call.body);
    *request.method_mut() = call.method;
    *request.uri_mut() = path.parse().map_err(|error| ApiError::bad_request(format!("{path}: {error}")))?;
    *request.headers_mut() = headers(&call.headers, &call.path, &location);
    let Some(client) = upgrade else {
        let mut answer = location
            .send(request)
            .await
            .map_err(|error| ApiError::unavailable(format!("error trying to reach service: {error}")))?;
        OWN.iter().chain(&CORS).for_each(|name| while answer.headers_mut().remove(name).is_some() {});
        let prefix = call.path.strip_suffix(tail).unwrap_or(&call.path);
        let asked = call.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let hosts = [location.host(), asked.to_owned()];
        let link = |text: &str| through_proxy(text, prefix, &hosts);
        if let Some(moved) = answer.headers().get(header::LOCATION).and_then(|value| link(value.to_str().ok()?)) {
            if let Ok(value) = HeaderValue::from_str(&moved) {
                answer.headers_mut().insert(header::LOCATION, value);
            }
            return Ok(answer.map(response::boxed));
        }
        if page::is_page(&answer) && method != Method::HEAD {
            return page::rewritten(answer, link)
                .await
                .map_err(|error| ApiError::unavailable(format!("error trying to reach service: {error}")));
        }
        return Ok(answer.map(response::boxed));
    };
    let slot = context.streams.slot()?;
    request.headers_mut().extend(skep_upgrade::headers_to_pass(&call.headers));
    switched(client, location.send(request).await, call.stop, slot)
}

/// Relative links of a page lead below the proxy only if its path ends in a slash.
fn with_slash(call: &Call) -> Response<Body> {
    let query = call.raw_query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(response::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", call.path)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The client's headers without its credentials, and where it asked.
fn headers(from: &HeaderMap, path: &str, location: &Location<'_>) -> HeaderMap {
    let mut to = HeaderMap::new();
    for (name, value) in from {
        let own = OWN.contains(name) || *name == header::AUTHORIZATION;
        if !own && !name.as_str().starts_with(IMPERSONATION_PREFIX) {
            to.append(name.clone(), value.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(path) {
        to.insert(FORWARDED_URI, value);
    }
    if let Ok(value) = HeaderValue::from_str(&location.host()) {
        to.entry(header::HOST).or_insert(value);
    }
    to
}

/// A link to a path of the object's own host, or of the host that the client asked, as one that leads through the proxy. `None` leaves
/// it as it is.
fn through_proxy(link: &str, prefix: &str, hosts: &[String]) -> Option<String> {
    let own = hosts.iter().filter(|host| !host.is_empty()).find_map(|host| {
        let rest = link.strip_prefix("http:").or_else(|| link.strip_prefix("https:")).unwrap_or(link);
        let rest = rest.strip_prefix("//")?.strip_prefix(host.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    });
    let path = match own {
        Some("") => "/",
        Some(path) => path,
        None if link.starts_with('/') && !link.starts_with("//") => link,
        None => return None,
    };
    (!path.starts_with(prefix)).then(|| format!("{prefix}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_own_host_lead_through_the_proxy() {
        let hosts = ["10.0.0.1:80".to_owned(), "cluster".to_owned()];
        for (link, expected) in [
            ("/x/?a", Some("/p/x/?a")),
            ("http://10.0.0.1:80/x", Some("/p/x")),
            ("https://cluster", Some("/p/")),
            ("//cluster/x", Some("/p/x")),
            ("/p/x", None),
            ("x", None),
            ("../x", None),
            ("http://10.0.0.1:8080/x", None),
            ("//other/x", None),
        ] {
            assert_eq!(through_proxy(link, "/p", &hosts).as_deref(), expected, "{link}");
        }
    }
}
