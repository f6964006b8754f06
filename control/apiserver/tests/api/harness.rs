//! A server over a store in a directory of its own.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta};
use serde_json::Value;
use skep_apiserver::{ApiServer, Options};
use skep_raft::Store;
use skep_registry::Registry;

/// Everything that is waited for comes within this.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) store: Store,
    _dir: tempfile::TempDir,
}

/// Upstream's numbers. No controller makes service accounts here, so that most tests do without that plugin.
fn options(disabled: &[&str]) -> Options {
    Options {
        advertise: Some("192.0.2.1:6443".parse().unwrap()),
        disabled_admission: disabled.iter().map(|plugin| (*plugin).to_owned()).collect(),
        ..Options::new()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(skep_raft::Options::new(dir.path(), 1)).await.unwrap();
        let api =
            ApiServer::start(options(&["ServiceAccount"]), Arc::new(Registry::builtin()), store.clone()).await.unwrap();
        Self { api, store, _dir: dir }
    }

    /// Another server over the same store, as after a restart, with all admission plugins.
    pub(crate) async fn restarted(&self) -> ApiServer {
        ApiServer::start(options(&[]), Arc::new(Registry::builtin()), self.store.clone()).await.unwrap()
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.api.client("system:kube-test", &["system:masters"])
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client())
    }

    /// A raw request; the body that comes back, whatever the status.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(kube::client::Body::from(body.as_bytes().to_vec())).unwrap();
        let answer = self.client().send(request).await.unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (code, body) = self.raw(method, path, &[("content-type", "application/json")], &text).await;
        (code, serde_json::from_str(&body).unwrap())
    }

    /// The texts of the warnings that come with an answer.
    pub(crate) async fn warnings(&self, method: &str, path: &str, kind: &str, body: &Value) -> (u16, Vec<String>) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(kube::client::Body::from(body.to_string().into_bytes())).unwrap();
        let answer = self.client().send(request).await.unwrap();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().strip_prefix("299 - ").unwrap().to_owned();
        let texts = answer.headers().get_all("warning").iter().map(text);
        let texts = texts.map(|quoted| serde_json::from_str(&quoted).unwrap()).collect();
        (answer.status().as_u16(), texts)
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let (code, body) = self.raw("PATCH", path, &[("content-type", kind)], &body.to_string()).await;
        (code, serde_json::from_str(&body).unwrap())
    }
}

pub(crate) fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([("key".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

/// The status that a request was refused with.
pub(crate) fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> kube::core::Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a status, got {other:?}"),
    }
}
