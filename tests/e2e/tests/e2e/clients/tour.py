"""A tour with the Python client: python3 tour.py KUBECONFIG POD, where POD is of busybox and prints "tick" again and again."""

import sys
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.stream import portforward, stream

SWARM = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "queens.py.example.com"},
    "spec": {
        "group": "py.example.com",
        "scope": "Namespaced",
        "names": {"plural": "queens", "singular": "queen", "kind": "Queen"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object",
                "properties": {"eggs": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.eggs > 0", "message": "a queen lays"}],
            }}}},
        }],
    },
}


def refused(call, *args, **kwargs):
    try:
        answer = call(*args, **kwargs)
    except client.ApiException as error:
        return error.status, str(error.body)
    raise AssertionError(f"accepted: {answer}"[:500])


def until(holds, *args):
    end = time.monotonic() + 60
    while not holds(*args):
        assert time.monotonic() < end, holds


def config_maps(core):
    made = core.create_namespaced_config_map("default", {"metadata": {"name": "py"}, "data": {"a": "1"}})
    since = made.metadata.resource_version
    core.patch_namespaced_config_map("py", "default", {"data": {"a": "2"}})
    # Every watch goes on where the one before it ended.
    seen = []
    for _ in range(2):
        watcher = watch.Watch()
        for event in watcher.stream(core.list_namespaced_config_map, "default", resource_version=since, timeout_seconds=60):
            seen.append((event["type"], event["object"].metadata.name))
            since = event["object"].metadata.resource_version
            watcher.stop()
        core.delete_namespaced_config_map("py", "default") if len(seen) == 1 else None
    assert seen == [("MODIFIED", "py"), ("DELETED", "py")], seen
    status, body = refused(core.read_namespaced_config_map, "py", "default")
    assert status == 404 and 'configmaps \\"py\\" not found' in body, body
    # The server was started since.
    forgotten = watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version="1", timeout_seconds=60)
    status, body = refused(list, forgotten)
    assert status == 410, (status, body)
    page = core.list_config_map_for_all_namespaces(limit=1)
    rest = core.list_config_map_for_all_namespaces(limit=500, _continue=page.metadata._continue)
    assert len(rest.items) == page.metadata.remaining_item_count, page.metadata
    status, body = refused(core.create_namespaced_config_map, "default", {"metadata": {"name": "Bad_"}})
    assert status == 422 and "metadata.name" in body, body
    status, body = refused(core.create_namespaced_config_map, "default", {"metadata": {"name": "b"}, "data": {"a key": "x"}})
    assert status == 422 and "data[a key]" in body, body


def dynamics(api):
    found = dynamic.DynamicClient(api)
    assert found.resources.get(api_version="apps/v1", kind="Deployment").name == "deployments"
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    applied = lambda value, manager, force: found.server_side_apply(
        maps, body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"k": value}},
        namespace="default", field_manager=manager, force_conflicts=force)
    applied("a", "one", False)
    status, body = refused(applied, "b", "two", False)
    assert status == 409 and 'conflict with \\"one\\": .data.k' in body, body
    assert applied("b", "two", True).data.k == "b"


def custom(api):
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(SWARM)
    watcher = watch.Watch()
    for event in watcher.stream(definitions.list_custom_resource_definition, timeout_seconds=60,
                                field_selector="metadata.name=queens.py.example.com"):
        conditions = event["object"].status.conditions or []
        if any(each.type == "Established" and each.status == "True" for each in conditions):
            watcher.stop()
    objects = client.CustomObjectsApi(api)
    queen = {"apiVersion": "py.example.com/v1", "kind": "Queen", "metadata": {"name": "ada"}, "spec": {"eggs": 1, "no": 1}}
    made = objects.create_namespaced_custom_object("py.example.com", "v1", "default", "queens", queen)
    assert made["spec"] == {"eggs": 1}, made
    patch = (objects.patch_namespaced_custom_object, "py.example.com", "v1", "default", "queens", "ada")
    status, body = refused(*patch, {"spec": {"eggs": 0}})
    assert status == 422 and "a queen lays" in body, body
    assert objects.list_cluster_custom_object("py.example.com", "v1", "queens")["items"][0]["metadata"]["name"] == "ada"
    definitions.delete_custom_resource_definition("queens.py.example.com")
    watcher = watch.Watch()
    for event in watcher.stream(definitions.list_custom_resource_definition, timeout_seconds=60):
        if event["type"] == "DELETED":
            watcher.stop()
    assert refused(objects.list_cluster_custom_object, "py.example.com", "v1", "queens")[0] == 404


def tokens(core):
    core.create_namespaced_service_account("default", {"metadata": {"name": "reader"}})
    roles = client.RbacAuthorizationV1Api(core.api_client)
    roles.create_namespaced_role("default", {
        "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})
    token = core.create_namespaced_service_account_token("reader", "default", {"spec": {"expirationSeconds": 600}})
    settings = client.Configuration.get_default_copy()
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {token.status.token}"}
    reader = client.CoreV1Api(client.ApiClient(settings))
    status, body = refused(reader.list_namespaced_config_map, "default")
    assert status == 403 and "system:serviceaccount:default:reader" in body, body
    roles.create_namespaced_role_binding("default", {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]})
    # The authorizer follows the store a moment later.
    until(allowed, core.api_client)
    assert reader.list_namespaced_config_map("default").items
    assert refused(reader.list_namespaced_secret, "default")[0] == 403


def allowed(api):
    review = {"spec": {"user": "system:serviceaccount:default:reader", "resourceAttributes": {
        "verb": "list", "resource": "configmaps", "namespace": "default"}}}
    return client.AuthorizationV1Api(api).create_subject_access_review(review).status.allowed


def streams(core, pod):
    said = stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["sh", "-c", "read line; echo got $line; exit 3"],
                  stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    said.write_stdin("honey\n")
    said.run_forever(timeout=60)
    assert (said.read_stdout(), said.returncode) == ("got honey\n", 3)
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, "default", ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.settimeout(60)
    socket.sendall(b"GET /x HTTP/1.0\r\n\r\n")
    answer = b""
    while b"404" not in answer:
        part = socket.recv(4096)
        assert part, (answer, forward.error(8080))
        answer += part
    socket.close()
    watcher = watch.Watch()
    for line in watcher.stream(core.read_namespaced_pod_log, pod, "default", tail_lines=1, _request_timeout=60):
        assert line == "tick", line
        watcher.stop()


def evict(core, pod):
    policy = client.PolicyV1Api(core.api_client)
    policy.create_namespaced_pod_disruption_budget("default", {
        "metadata": {"name": "keep"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"tour": "python"}}}})
    eviction = {"metadata": {"name": pod}}
    status, body = refused(core.create_namespaced_pod_eviction, pod, "default", eviction)
    assert status == 429 and "keep" in body, body
    policy.delete_namespaced_pod_disruption_budget("keep", "default")
    watcher = watch.Watch()
    core.create_namespaced_pod_eviction(pod, "default", eviction)
    for event in watcher.stream(core.list_namespaced_pod, "default", label_selector="tour=python", timeout_seconds=60):
        if event["type"] == "DELETED":
            return
    assert not core.list_namespaced_pod("default", label_selector="tour=python").items


def main():
    config.load_kube_config(sys.argv[1])
    core, pod = client.CoreV1Api(), sys.argv[2]
    config_maps(core)
    dynamics(core.api_client)
    custom(core.api_client)
    tokens(core)
    streams(core, pod)
    evict(core, pod)
    print("done")


main()
