//! The agent against a real containerd, with an API in memory. Needs root, containerd, runc and busybox.

#![allow(missing_docs, clippy::unwrap_used)]

mod api;
mod image;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skep_agent::Options;
use skep_cri::{Cgroups, Containerd};
use tokio_util::sync::CancellationToken;

use api::Api;

/// A containerd of the test's own, which goes with it.
struct Site {
    dir: tempfile::TempDir,
    cgroup: String,
    containerd: Option<Containerd>,
}

impl Site {
    async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("skep-a").tempdir_in("/tmp").unwrap();
        let cgroup = format!("/skep-agent-test-{}", std::process::id());
        let options = skep_cri::Options::new(dir.path(), &cgroup, image::NAME);
        // Enough for the runtime to call its network ready; pods of the host's network never run it.
        std::fs::create_dir_all(&options.cni_conf_dir).unwrap();
        let network = json!({"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "none"}]});
        std::fs::write(options.cni_conf_dir.join("10-none.conflist"), network.to_string()).unwrap();
        let containerd = Containerd::start(options).await.unwrap();
        let archive = dir.path().join("image.tar");
        image::write(&archive);
        containerd.import_image(&archive).await.unwrap();
        Self { dir, cgroup, containerd: Some(containerd) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    fn agent(&self, api: &Api) -> Agent {
        let socket = self.containerd.as_ref().unwrap().socket().to_owned();
        let mut options = Options::new("node", "127.0.0.1".parse().unwrap(), self.root(), socket);
        options.cgroup_parent.clone_from(&self.cgroup);
        let stop = CancellationToken::new();
        let task = tokio::spawn(skep_agent::run(options, api.client(), stop.clone()));
        Agent { stop, task }
    }

    async fn end(mut self) {
        self.containerd.take().unwrap().stop().await.unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.containerd.take());
        skep_cri::clean(self.dir.path(), &self.cgroup).unwrap_or_else(|error| eprintln!("not cleaned: {error}"));
    }
}

struct Agent {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn pod(name: &str, script: &str, more: &Value) -> Value {
    let mut container = json!({
        "name": "main", "image": image::NAME, "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", script]
    });
    for (field, value) in more["container"].as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    let mut spec = json!({
        "nodeName": "node", "hostNetwork": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 10,
        "containers": [container]
    });
    for (field, value) in more["spec"].as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")},
        "spec": spec
    })
}

fn condition(object: &Value, type_: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|held| held["type"] == type_ && held["status"] == "True")
}

fn state(object: &Value) -> &Value {
    &object["status"]["containerStatuses"][0]
}

const SERVE: &str = "trap 'exit 7' TERM; cat /cfg/key; echo $GREETING; touch /tmp/up; while :; do sleep 0.1; done";

fn served() -> Value {
    pod(
        "web",
        SERVE,
        &json!({
            "container": {
                "env": [{"name": "GREETING", "value": "hello from $(POD)"}, {"name": "POD", "value": "x"}],
                "readinessProbe": {"exec": {"command": ["/bin/test", "-e", "/tmp/up"]}, "periodSeconds": 1},
                "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
                "volumeMounts": [
                    {"name": "cfg", "mountPath": "/cfg"},
                    {"name": "mem", "mountPath": "/mem"},
                    {"name": "cfg", "mountPath": "/one", "subPath": "key"}
                ]
            },
            "spec": {"volumes": [
                {"name": "cfg", "configMap": {"name": "settings"}},
                {"name": "mem", "emptyDir": {"medium": "Memory"}}
            ]}
        }),
    )
}

fn begin_delete(api: &Api, name: &str) {
    let mut object = api.get("pods", "ns", name).unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["deletionGracePeriodSeconds"] = json!(10);
    api.put("pods", object);
}

fn log_of(root: &Path, name: &str) -> String {
    let path = root.join(format!("logs/pods/ns_{name}_uid-{name}/main/0.log"));
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_from_birth_to_end() {
    let site = Site::start().await;
    let api = Api::new();
    api.put(
        "configmaps",
        json!({"metadata": {"name": "settings", "namespace": "ns"}, "data": {"key": "configured\n"}}),
    );
    let agent = site.agent(&api);
    api.wait("node ready", |api| api.get("nodes", "", "node").filter(|node| condition(node, "Ready"))).await;

    api.put("pods", served());
    let message = "echo done > /dev/termination-log; exit 3";
    api.put("pods", pod("job", message, &json!({"spec": {"restartPolicy": "Never"}})));
    api.put("pods", pod("crash", "exit 1", &json!({})));
    let missing = json!({"container": {"image": "127.0.0.1:1/none:1"}});
    api.put("pods", pod("missing", "true", &missing));

    let web = api.wait("web ready", |api| api.get("pods", "ns", "web").filter(|pod| condition(pod, "Ready"))).await;
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(web["status"]["podIP"], "127.0.0.1");
    let log = log_of(&site.root(), "web");
    assert!(log.contains("stdout F configured\n") && log.contains("stdout F hello from $(POD)\n"), "{log}");
    let job = api.wait("job over", |api| api.get("pods", "ns", "job").filter(|pod| pod["status"]["phase"] == "Failed"));
    let job = job.await;
    let ended = &state(&job)["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("done\n")));
    let waiting = |pod: &Value, reason: &str| state(pod)["state"]["waiting"]["reason"] == reason;
    let crash =
        api.wait("crash loop", |api| api.get("pods", "ns", "crash").filter(|pod| waiting(pod, "CrashLoopBackOff")));
    assert_eq!(state(&crash.await)["restartCount"], 1);
    api.wait("back-off of a pull", |api| {
        api.get("pods", "ns", "missing").filter(|pod| waiting(pod, "ImagePullBackOff"))
    })
    .await;
    assert!(api.history("pods", "missing").iter().any(|pod| waiting(pod, "ErrImagePull")));

    // An agent that comes back takes the containers over as they are.
    agent.stop().await;
    let versions = api.history("pods", "web").len();
    let agent = site.agent(&api);
    api.put("pods", pod("after", "sleep 1000", &json!({})));
    api.wait("next pod ready", |api| api.get("pods", "ns", "after").filter(|pod| condition(pod, "Ready"))).await;
    let adopted = api.get("pods", "ns", "web").unwrap();
    assert_eq!(state(&adopted)["containerID"], state(&web)["containerID"]);
    assert_eq!(state(&adopted)["restartCount"], 0);
    assert_eq!(api.history("pods", "web").len(), versions, "nothing changed, so nothing was written");

    for name in ["web", "job", "crash", "missing", "after"] {
        begin_delete(&api, name);
    }
    for name in ["web", "job", "crash", "missing", "after"] {
        api.wait(name, |api| api.get("pods", "ns", name).is_none().then_some(())).await;
    }
    let last = api.history("pods", "web").pop().unwrap();
    assert_eq!(state(&last)["state"]["terminated"]["exitCode"], 7, "{last}");
    assert_eq!(last["status"]["phase"], "Failed");
    agent.stop().await;
    let left = |dir: &str| std::fs::read_dir(site.root().join(dir)).unwrap().count();
    assert_eq!((left("pods"), left("logs/pods")), (0, 0));
    let pods = Cgroups::detect().unwrap().unified().dir(&format!("{}/pods", site.cgroup));
    assert_eq!(std::fs::read_dir(pods).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
    site.end().await;
}
