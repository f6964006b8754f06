//! Discovery, legacy and aggregated.

use serde_json::Value;
use skep_registry::Registry;

use crate::harness::Server;
use crate::openapi::get;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `Discovery should locate the groupVersion and a resource within each APIGroup`, and
/// `Discovery should validate PreferredVersion for each APIGroup`.
#[tokio::test]
async fn every_group_has_its_versions_and_they_their_resources() {
    let server = Server::start().await;
    let (_, groups) = server.json("GET", "/apis", &Value::Null).await;
    assert_eq!((&groups["kind"], &groups["apiVersion"]), (&"APIGroupList".into(), &"v1".into()));
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let (code, alone) = server.json("GET", &format!("/apis/{name}"), &Value::Null).await;
        assert_eq!((code, &alone["versions"]), (200, &group["versions"]));
        let versions = group["versions"].as_array().unwrap();
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        for version in versions {
            let wanted = version["groupVersion"].as_str().unwrap();
            assert_eq!(wanted, format!("{name}/{}", version["version"].as_str().unwrap()));
            let (code, list) = server.json("GET", &format!("/apis/{wanted}"), &Value::Null).await;
            assert_eq!((code, list["groupVersion"].as_str()), (200, Some(wanted)));
            let resources = list["resources"].as_array().unwrap();
            assert!(resources.iter().any(|r| !r["name"].as_str().unwrap().contains('/')), "{wanted}");
        }
    }
}

/// `AggregatedDiscovery should support aggregated discovery interface`, and
/// `AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers`.
#[tokio::test]
async fn one_document_has_every_built_in_resource() {
    let server = Server::start().await;
    let mut found = Vec::new();
    for path in ["/api", "/apis"] {
        let accept = format!("{AGGREGATED},application/json");
        let (code, body) = server.raw("GET", path, &[("accept", &accept)], "").await;
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, &document["kind"]), (200, &"APIGroupDiscoveryList".into()));
        assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
        for group in document["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                for resource in version["resources"].as_array().unwrap() {
                    let name = group["metadata"]["name"].as_str().unwrap_or_default();
                    let (version, plural) =
                        (version["version"].as_str().unwrap(), resource["resource"].as_str().unwrap());
                    found.push((name.to_owned(), version.to_owned(), plural.to_owned()));
                }
            }
        }
    }
    for resource in Registry::builtin().resources() {
        let (group, version, plural): (&str, &str, &str) = (&resource.group, &resource.version, &resource.plural);
        assert!(
            found.contains(&(group.to_owned(), version.to_owned(), plural.to_owned())),
            "{group} {version} {plural}"
        );
    }
}

#[tokio::test]
async fn a_client_that_has_the_document_is_told_so() {
    let server = Server::start().await;
    let (code, headers, body) = get(&server, "/apis", &[("accept", AGGREGATED)]).await;
    assert!(code == 200 && !body.is_empty());
    let tag = headers["etag"].to_str().unwrap();
    let (code, _, body) = get(&server, "/apis", &[("accept", AGGREGATED), ("if-none-match", tag)]).await;
    assert_eq!((code, body.len()), (304, 0));
}

#[tokio::test]
async fn the_stored_version_has_upstreams_hash() {
    let server = Server::start().await;
    for (path, name, hash) in [
        ("/api/v1", "pods", Some("xPOwRZ+Yhw8=")),
        ("/api/v1", "pods/status", None),
        ("/api/v1", "bindings", None),
        ("/api/v1", "configmaps", Some("qFsyl6wFWjQ=")),
        ("/apis/apps/v1", "deployments", Some("8aSe+NMegvE=")),
    ] {
        let (_, list) = server.json("GET", path, &Value::Null).await;
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        assert_eq!(found["storageVersionHash"].as_str(), hash, "{name}");
    }
    let hash = async |path: &str, name: &str| {
        let (_, list) = server.json("GET", path, &Value::Null).await;
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        found["storageVersionHash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("/api/v1", "events").await, hash("/apis/events.k8s.io/v1", "events").await);
    let scalers = "horizontalpodautoscalers";
    assert_eq!(hash("/apis/autoscaling/v1", scalers).await, hash("/apis/autoscaling/v2", scalers).await);
}
