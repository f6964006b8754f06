//! Pages, selectors, forms.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, VersionMatch};
use serde_json::{Value, json};

use crate::harness::{Server, config_map, refusal};

async fn fill(maps: &Api<ConfigMap>, count: usize) {
    for i in 0..count {
        let mut map = config_map(&format!("m{i:02}"), "x");
        let parity = if i % 2 == 0 { "even" } else { "odd" };
        map.metadata.labels = Some([("parity".to_owned(), parity.to_owned())].into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
}

fn names(items: &[ConfigMap]) -> Vec<String> {
    items.iter().map(|m| m.metadata.name.clone().unwrap()).collect()
}

/// `Servers with support for API chunking should return chunks of results for list calls`.
#[tokio::test]
async fn pages_are_as_of_the_first_one() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 7).await;
    let mut page = maps.list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(4));
    let version = page.metadata.resource_version.clone();
    maps.delete("m05", &kube::api::DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &config_map("m99", "x")).await.unwrap();

    let mut all = names(&page.items);
    while let Some(token) = page.metadata.continue_.filter(|t| !t.is_empty()) {
        page = maps.list(&ListParams::default().limit(3).continue_token(&token)).await.unwrap();
        assert_eq!(page.metadata.resource_version, version);
        all.extend(names(&page.items));
    }
    assert_eq!(all, ["m00", "m01", "m02", "m03", "m04", "m05", "m06"]);
}

#[tokio::test]
async fn pages_with_a_selector_hold_what_matches() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 9).await;
    let params = ListParams::default().labels("parity=odd").limit(2);
    let first = maps.list(&params).await.unwrap();
    assert_eq!(names(&first.items), ["m01", "m03"]);
    assert_eq!(first.metadata.remaining_item_count, None);
    let token = first.metadata.continue_.unwrap();
    let second = maps.list(&params.clone().continue_token(&token)).await.unwrap();
    assert_eq!(names(&second.items), ["m05", "m07"]);
    // A full page says that there are more keys, not that one of them matches.
    let token = second.metadata.continue_.unwrap();
    let third = maps.list(&params.continue_token(&token)).await.unwrap();
    assert_eq!(third.items.len(), 0);
    assert_eq!(third.metadata.continue_.filter(|t| !t.is_empty()), None);
}

/// `Servers with support for API chunking should support continue listing from the last key if the original version has
/// been compacted away, though the list is inconsistent [Slow]`.
#[tokio::test]
async fn history_that_is_gone_is_said_to_be() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 4).await;
    let page = maps.list(&ListParams::default().limit(2)).await.unwrap();
    let old = page.metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &config_map("z", "x")).await.unwrap();
    server.store.compact(server.store.read_index().await.unwrap()).await.unwrap();

    let token = page.metadata.continue_.unwrap();
    let path = format!("/api/v1/namespaces/default/configmaps?limit=2&continue={token}");
    let (code, status) = server.json("GET", &path, &Value::Null).await;
    assert_eq!((code, status["reason"].as_str()), (410, Some("Expired")));
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = maps.list(&ListParams::default().continue_token(token)).await.unwrap();
    assert_eq!(names(&rest.items), ["m02", "m03", "z"]);

    let exact = ListParams::default().at(&old).matching(VersionMatch::Exact);
    let status = refusal(maps.list(&exact).await);
    assert_eq!(status.message, "The resourceVersion for the provided list is too old.");
    let future = refusal(maps.list(&ListParams::default().at("999999")).await);
    assert_eq!((future.code, future.reason.as_str()), (504, "Timeout"));
}

#[tokio::test]
async fn selectors_that_mean_nothing_are_refused() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 3).await;
    let one = maps.list(&ListParams::default().fields("metadata.name=m01")).await.unwrap();
    assert_eq!(names(&one.items), ["m01"]);
    let status = refusal(maps.list(&ListParams::default().fields("spec.color=red")).await);
    assert_eq!(status.code, 400);
    assert!(status.message.ends_with("field label not supported: spec.color"), "{}", status.message);
    assert_eq!(refusal(maps.list(&ListParams::default().labels("a in (b")).await).code, 400);
    let (code, _) = server.json("GET", "/api/v1/configmaps?limit=x", &Value::Null).await;
    assert_eq!(code, 400);
    let (code, _) = server.json("GET", "/api/v1/configmaps?continue=x", &Value::Null).await;
    assert_eq!(code, 400);
    let (code, _) = server.json("GET", "/api/v1/configmaps?resourceVersion=x", &Value::Null).await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn tables_and_metadata_are_made_of_the_same_objects() {
    let server = Server::start().await;
    fill(&server.config_maps(), 2).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (code, body) = server.raw("GET", path, &[("accept", table)], "").await;
    assert_eq!(code, 200);
    let table: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][1]["cells"][0], "m01");
    assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");

    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let (_, body) = server.raw("GET", path, &[("accept", metadata)], "").await;
    let list: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "m00");
    assert!(list["items"][0].get("data").is_none());

    let (_, yaml) = server.raw("GET", &format!("{path}/m00"), &[("accept", "application/yaml")], "").await;
    let map: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(map["data"], json!({"key": "x"}));
    let protobuf = "application/vnd.kubernetes.protobuf";
    let (code, _) = server.raw("GET", path, &[("accept", protobuf)], "").await;
    assert_eq!(code, 406);
}

#[tokio::test]
async fn big_answers_are_compressed_for_those_who_take_that() {
    let server = Server::start().await;
    let maps = server.config_maps();
    for i in 0..3 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i}"), &"x".repeat(60_000))).await.unwrap();
    }
    let path = "/api/v1/namespaces/default/configmaps";
    let get = async |path: &str, encoding: &str| {
        let request = http::Request::builder().uri(path).header("accept-encoding", encoding);
        let answer = server.client().send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
        let coding = answer.headers().get("content-encoding").map(|v| v.to_str().unwrap().to_owned());
        (coding, answer.into_body().collect_bytes().await.unwrap())
    };
    let (coding, plain) = get(path, "identity").await;
    assert_eq!(coding, None);
    let (coding, zipped) = get(path, "gzip").await;
    assert_eq!(coding.as_deref(), Some("gzip"));
    let mut unzipped = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*zipped), &mut unzipped).unwrap();
    assert!(unzipped == plain && zipped.len() * 10 < plain.len());
    let (coding, _) = get(&format!("{path}/m0"), "gzip").await;
    assert_eq!(coding, None, "small ones go as they are");
}

/// Which state a list is of, by `resourceVersion` and `resourceVersionMatch`.
#[tokio::test]
async fn versions_match_as_asked() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 2).await;
    let old = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    fill_one(&maps, "new").await;
    let path = |query: &str| format!("/api/v1/namespaces/default/configmaps?{query}");
    for (query, versions, count) in [
        (String::new(), "newer", 3),
        ("resourceVersion=0".to_owned(), "newer", 3),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), "newer", 3),
        (format!("resourceVersion={old}"), "newer", 3),
        (format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan"), "newer", 3),
        (format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan&limit=1"), "newer", 1),
        (format!("resourceVersion={old}&resourceVersionMatch=Exact"), "same", 2),
        (format!("resourceVersion={old}&resourceVersionMatch=Exact&limit=1"), "same", 1),
        (format!("resourceVersion={old}&limit=1"), "same", 1),
    ] {
        let (code, list) = server.json("GET", &path(&query), &Value::Null).await;
        assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(count)), "{query}: {list}");
        let same = list["metadata"]["resourceVersion"] == *old;
        assert_eq!(same, versions == "same", "{query}");
    }
    let refused = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: ";
    let token = maps.list(&ListParams::default().limit(1)).await.unwrap().metadata.continue_.unwrap();
    for (query, why) in [
        (
            "resourceVersionMatch=Exact".to_owned(),
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=NotOlderThan".to_owned(),
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact".to_owned(),
            "Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            format!("resourceVersion={old}&resourceVersionMatch=Older"),
            "Unsupported value: \"Older\": supported values: \"Exact\", \"NotOlderThan\"",
        ),
        (
            format!("continue={token}&resourceVersionMatch=Exact"),
            "Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
        (
            format!("watch=true&resourceVersion={old}&resourceVersionMatch=NotOlderThan"),
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=true&sendInitialEvents=true".to_owned(),
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ] {
        let (code, status) = server.json("GET", &path(&query), &Value::Null).await;
        assert_eq!((code, status["message"].as_str()), (422, Some(format!("{refused}{why}").as_str())), "{query}");
    }
    let (code, status) =
        server.json("GET", &path(&format!("continue={token}&resourceVersion={old}")), &Value::Null).await;
    assert_eq!(
        (code, status["message"].as_str()),
        (400, Some("specifying resource version is not allowed when using continue"))
    );
}

/// A page's token is the same whenever the page is read, and may be used again.
#[tokio::test]
async fn tokens_are_stable() {
    let server = Server::start().await;
    let maps = server.config_maps();
    fill(&maps, 5).await;
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    let version = first.metadata.resource_version.unwrap();
    let token = first.metadata.continue_.unwrap();
    fill_one(&maps, "a").await;
    let again = maps.list(&ListParams::default().limit(2).at(&version).matching(VersionMatch::Exact)).await.unwrap();
    assert_eq!(again.metadata.continue_.as_ref(), Some(&token));
    for _ in 0..2 {
        let second = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
        assert_eq!(names(&second.items), ["m02", "m03"]);
        assert_eq!(second.metadata.remaining_item_count, Some(1));
    }
}

async fn fill_one(maps: &Api<ConfigMap>, name: &str) {
    maps.create(&PostParams::default(), &config_map(name, "x")).await.unwrap();
}
