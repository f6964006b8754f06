//! Watches: what is sent, in which order, and when they end.

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::json;

use crate::harness::{SOON, Server, config_map};

async fn next<S: Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin>(stream: &mut S) -> String {
    let event = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
    let name = |m: ConfigMap| m.metadata.name.unwrap();
    match event {
        WatchEvent::Added(map) => format!("+{}", name(map)),
        WatchEvent::Modified(map) => format!("~{}", name(map)),
        WatchEvent::Deleted(map) => format!("-{}", name(map)),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {} {}", status.code, status.message),
    }
}

fn labelled(name: &str, color: &str) -> ConfigMap {
    let mut map = config_map(name, "1");
    map.metadata.labels = Some([("color".to_owned(), color.to_owned())].into());
    map
}

async fn paint(maps: &Api<ConfigMap>, name: &str, color: &str) {
    let patch = json!({"metadata": {"labels": {"color": color}}});
    maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// `Watchers should be able to start watching from a specific resource version`.
#[tokio::test]
async fn changes_come_in_order_from_where_they_are_asked_for() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let first = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    maps.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let from = first.metadata.resource_version.unwrap();
    let mut watch = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert_eq!(next(&mut watch).await, "+b");
    assert_eq!(next(&mut watch).await, "-a");
    paint(&maps, "b", "red").await;
    assert_eq!(next(&mut watch).await, "~b");

    let mut snapshot = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert_eq!(next(&mut snapshot).await, "+b");
}

/// `Watchers should observe add, update, and delete watch notifications on configmaps`.
#[tokio::test]
async fn each_watcher_sees_what_its_selector_names() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let params = |selector: &str| WatchParams::default().labels(selector);
    let mut a = maps.watch(&params("color=a"), "0").await.unwrap().boxed();
    let mut b = maps.watch(&params("color=b"), "0").await.unwrap().boxed();
    let mut either = maps.watch(&params("color in (a, b)"), "0").await.unwrap().boxed();
    let patch = json!({"data": {"mutation": "1"}});
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &labelled(name, name)).await.unwrap();
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        maps.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for sign in ["+", "~", "-"] {
        assert_eq!(next(&mut a).await, format!("{sign}a"));
        assert_eq!(next(&mut b).await, format!("{sign}b"));
        assert_eq!(next(&mut either).await, format!("{sign}a"));
    }
    assert_eq!(next(&mut either).await, "+b");
}

/// `Watchers should be able to restart watching from the last resource version observed by the previous watch`, and
/// `Watchers should receive events on concurrent watches in same order`.
#[tokio::test]
async fn a_watch_goes_on_from_any_version_that_another_saw() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let start = maps.create(&PostParams::default(), &config_map("m0", "1")).await.unwrap();
    let mut from = start.metadata.resource_version.unwrap();
    let mut watches = Vec::new();
    for i in 1..20 {
        watches.push((i, maps.watch(&WatchParams::default(), &from).await.unwrap().boxed()));
        let made = maps.create(&PostParams::default(), &config_map(&format!("m{i}"), "1")).await.unwrap();
        from = made.metadata.resource_version.unwrap();
    }
    for (first, mut watch) in watches {
        for i in first..20 {
            assert_eq!(next(&mut watch).await, format!("+m{i}"), "of the watch from m{first} on");
        }
    }
}

/// `Watchers should observe an object deletion if it stops meeting the requirements of the selector`.
#[tokio::test]
async fn what_leaves_a_selector_is_gone_for_its_watcher() {
    let server = Server::start().await;
    let maps = server.config_maps();
    let start = maps.create(&PostParams::default(), &labelled("a", "red")).await.unwrap();
    let from = start.metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("color=red");
    let mut watch = maps.watch(&params, &from).await.unwrap().boxed();
    paint(&maps, "a", "blue").await;
    assert_eq!(next(&mut watch).await, "-a");
    paint(&maps, "a", "green").await;
    paint(&maps, "a", "red").await;
    assert_eq!(next(&mut watch).await, "+a");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut watch).await, "-a");
}

#[tokio::test]
async fn a_watch_from_before_the_cache_began_is_gone() {
    let server = Server::start().await;
    let maps = server.config_maps();
    for i in 0..50 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i}"), "x")).await.unwrap();
    }
    for round in 0..45 {
        let patch = json!({"data": {"round": round.to_string()}});
        let patches = (0..50).map(|i| {
            let (maps, patch) = (maps.clone(), Patch::Merge(patch.clone()));
            async move { maps.patch(&format!("m{i}"), &PatchParams::default(), &patch).await }
        });
        for patched in futures::future::join_all(patches).await {
            patched.unwrap();
        }
    }
    let mut watch = maps.watch(&WatchParams::default(), "1").await.unwrap().boxed();
    let event = next(&mut watch).await;
    assert!(event.starts_with("error 410 too old resource version: 1 ("), "{event}");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let server = Server::start().await;
    let maps = server.config_maps();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps?watch=true&sendInitialEvents=true\
                &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let (code, body) = server.raw("GET", path, &[], "").await;
    assert_eq!(code, 200);
    let lines: Vec<serde_json::Value> = body.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["type"], "ADDED");
    assert_eq!(lines[1]["type"], "BOOKMARK");
    assert_eq!(lines[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(lines[2]["type"], "BOOKMARK");
    assert!(lines[2]["object"]["metadata"].get("annotations").is_none());

    let streamed = watcher::Config::default().streaming_lists();
    let mut events = watcher(maps.clone(), streamed).boxed();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(&"done")) {
        seen.push(match tokio::time::timeout(SOON, events.try_next()).await.unwrap().unwrap().unwrap() {
            watcher::Event::Init => "init",
            watcher::Event::InitApply(_) => "apply",
            watcher::Event::InitDone => "done",
            watcher::Event::Apply(_) | watcher::Event::Delete(_) => "late",
        });
    }
    assert_eq!(seen, ["init", "apply", "done"]);
}

#[tokio::test]
async fn a_slow_watcher_costs_only_itself() {
    let server = Server::start().await;
    let maps = server.config_maps();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let mut slow = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert_eq!(next(&mut slow).await, "+a");
    for i in 0..1_500 {
        let patch = json!({"data": {"i": i.to_string()}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    let mut received = 0;
    while let Some(event) = tokio::time::timeout(SOON, slow.next()).await.unwrap() {
        assert!(matches!(event, Ok(WatchEvent::Modified(_))), "{event:?}");
        received += 1;
    }
    assert!((1_000..1_500).contains(&received), "{received}");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches() {
    let server = Server::start().await;
    let mut watch = server.config_maps().watch(&WatchParams::default(), "0").await.unwrap().boxed();
    server.api.shutdown();
    let mut ended = false;
    while !ended {
        // The cluster's own objects may still come.
        ended = tokio::time::timeout(SOON, watch.next()).await.unwrap().is_none();
    }
}
