//! What a request asks for, read from its path as upstream's request info does.

use http::Method;
use percent_encoding::percent_decode_str;

/// A request to a resource, before the resource is known to exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub resource: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// What follows `/proxy`, as it came: empty, or with its slash.
    pub tail: String,
}

/// The two sorts of paths there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Resource(ResourcePath),
    /// Discovery, health, version, documents: the decoded segments.
    Other(Vec<String>),
}

/// What is done to a resource; the names are those of authorization rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A method without a verb, which only reaches what is proxied.
    Options,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Options => "",
        }
    }

    /// `None` for methods that no resource has.
    pub(crate) fn of(method: &Method, named: bool, watch: bool) -> Option<Self> {
        Some(match (method.as_str(), named) {
            ("GET" | "HEAD", true) => Self::Get,
            ("GET" | "HEAD", false) if watch => Self::Watch,
            ("GET" | "HEAD", false) => Self::List,
            ("POST", _) => Self::Create,
            ("PUT", true) => Self::Update,
            ("PATCH", true) => Self::Patch,
            ("DELETE", true) => Self::Delete,
            ("DELETE", false) => Self::DeleteCollection,
            ("OPTIONS", true) => Self::Options,
            _ => return None,
        })
    }

    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// Splits a path; `None` where a segment is not UTF-8 once decoded.
pub(crate) fn parse(path: &str) -> Option<Path> {
    let mut segments = Vec::new();
    for raw in path.split('/').filter(|s| !s.is_empty()) {
        segments.push(percent_decode_str(raw).decode_utf8().ok()?.into_owned());
    }
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Some(Path::Other(segments)),
    };
    let mut found = ResourcePath { group: group.to_owned(), version: version.to_owned(), ..ResourcePath::default() };
    let rest = match rest {
        // `namespaces/x`, its own subresources, and otherwise what lives in it.
        ["namespaces", name, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            found.namespace = Some((*name).to_owned());
            rest
        }
        rest => rest,
    };
    match rest {
        [resource] => found.resource = (*resource).to_owned(),
        [resource, name] => {
            found.resource = (*resource).to_owned();
            found.name = Some((*name).to_owned());
        }
        [resource, name, subresource] if *subresource != "proxy" => {
            found.resource = (*resource).to_owned();
            found.name = Some((*name).to_owned());
            found.subresource = Some((*subresource).to_owned());
        }
        [resource, name, "proxy", tail @ ..] => {
            found.resource = (*resource).to_owned();
            found.name = Some((*name).to_owned());
            found.subresource = Some("proxy".to_owned());
            found.tail = after(path, segments.len() - tail.len()).to_owned();
        }
        _ => return Some(Path::Other(segments)),
    }
    Some(Path::Resource(found))
}

/// What follows the first `count` segments of a path.
fn after(path: &str, count: usize) -> &str {
    let mut rest = path;
    for _ in 0..count {
        let segment = rest.trim_start_matches('/');
        rest = segment.find('/').map_or("", |end| &segment[end..]);
    }
    rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn resource(path: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        match parse(path).unwrap() {
            Path::Resource(p) => (p.resource, p.namespace, p.name, p.subresource),
            Path::Other(segments) => panic!("not a resource: {segments:?}"),
        }
    }

    fn owned(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn namespaces_are_a_resource_and_a_scope() {
        assert_eq!(resource("/api/v1/namespaces"), ("namespaces".into(), None, None, None));
        assert_eq!(resource("/api/v1/namespaces/a"), ("namespaces".into(), None, owned("a"), None));
        assert_eq!(
            resource("/api/v1/namespaces/a/finalize"),
            ("namespaces".into(), None, owned("a"), owned("finalize"))
        );
        assert_eq!(resource("/api/v1/namespaces/a/pods"), ("pods".into(), owned("a"), None, None));
        assert_eq!(
            resource("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            ("deployments".into(), owned("a"), owned("b"), owned("scale"))
        );
    }

    #[test]
    fn what_is_proxied_keeps_its_path() {
        let tail = |path: &str| match parse(path).unwrap() {
            Path::Resource(p) if p.subresource.as_deref() == Some("proxy") => p.tail,
            other => panic!("not a proxy: {other:?}"),
        };
        assert_eq!(tail("/api/v1/namespaces/a/pods/b/proxy"), "");
        assert_eq!(tail("/api/v1/namespaces/a/pods/https:b:1/proxy/"), "/");
        assert_eq!(tail("/api/v1//nodes/b/proxy/x%2Fy//z/"), "/x%2Fy//z/");
    }

    #[test]
    fn everything_else_is_left_to_discovery() {
        for path in ["/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/readyz/ping", "/api/v1/pods/a/b/c/d"] {
            assert!(matches!(parse(path), Some(Path::Other(_))), "{path}");
        }
        assert_eq!(parse("/api/v1/pods/%ff"), None);
    }
}
