//! Who may do what: roles, reviews, impersonation.

use http::Request;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, from_value, json};

use crate::harness::{Server, refusal};

async fn create<T>(api: &Api<T>, object: Value) -> T
where
    T: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.create(&PostParams::default(), &from_value(object).unwrap()).await.unwrap()
}

fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    let status = refusal(result);
    (status.code, status.message)
}

/// A role by name in the default namespace, and its binding to a user.
async fn grant(server: &Server, name: &str, user: &str, rules: Value) {
    create::<Role>(&Api::default_namespaced(server.client()), json!({"metadata": {"name": name}, "rules": rules}))
        .await;
    let binding = json!({"metadata": {"name": name}, "roleRef": {"kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": user}]});
    let bound = create::<RoleBinding>(&Api::default_namespaced(server.client()), binding).await;
    assert_eq!(bound.role_ref.api_group.as_deref(), Some("rbac.authorization.k8s.io"));
}

#[tokio::test]
async fn roles_grant_what_they_say_while_they_are_bound() {
    let server = Server::start().await;
    let jane = server.api.client("jane", &["people"]);
    let maps: Api<ConfigMap> = Api::default_namespaced(jane.clone());
    let text = "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the \
                namespace \"default\"";
    assert_eq!(refused(maps.list(&ListParams::default()).await), (403, text.to_owned()));
    let read = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
    grant(&server, "read", "jane", read).await;
    maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(refused(maps.delete("a", &DeleteParams::default()).await).0, 403);
    let elsewhere: Api<ConfigMap> = Api::namespaced(jane.clone(), "kube-system");
    assert_eq!(refused(elsewhere.list(&ListParams::default()).await).0, 403);

    let bindings: Api<RoleBinding> = Api::default_namespaced(server.client());
    let other = Patch::Merge(json!({"roleRef": {"name": "another"}}));
    let (code, message) = refused(bindings.patch("read", &PatchParams::default(), &other).await);
    assert_eq!((code, message.contains("roleRef: Invalid value")), (422, true), "{message}");
    Api::<Role>::default_namespaced(server.client()).delete("read", &DeleteParams::default()).await.unwrap();
    let (_, message) = refused(maps.get("a").await);
    assert!(message.ends_with(": RBAC: role.rbac.authorization.k8s.io \"read\" not found"), "{message}");
    bindings.delete("read", &DeleteParams::default()).await.unwrap();
    assert!(refused(maps.get("a").await).1.ends_with("in the namespace \"default\""));

    let all = json!({"metadata": {"name": "secrets"}, "roleRef": {"kind": "ClusterRole", "name": "secrets"},
        "subjects": [{"kind": "Group", "name": "people"}]});
    create::<ClusterRoleBinding>(&Api::all(server.client()), all).await;
    let one = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["*"]}]);
    create::<ClusterRole>(&Api::all(server.client()), json!({"metadata": {"name": "secrets"}, "rules": one})).await;
    let secrets: Api<Secret> = Api::default_namespaced(jane);
    assert_eq!(refused(secrets.get("mine").await).0, 404);
    assert_eq!(refused(secrets.get("other").await).0, 403);
    secrets.list(&ListParams::default().fields("metadata.name=mine")).await.unwrap();
    assert_eq!(refused(secrets.list(&ListParams::default()).await).0, 403);
}

/// `[sig-auth] SubjectReview should support SubjectReview API operations`
#[tokio::test]
async fn reviews_say_who_may_do_what() {
    let server = Server::start().await;
    let jane = server.api.client("jane", &["people"]);
    let read = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    grant(&server, "read", "jane", read).await;
    let asked = |namespace: &str, verb: &str| {
        json!({"user": "jane", "groups": ["people"],
        "resourceAttributes": {"namespace": namespace, "verb": verb, "resource": "configmaps"}})
    };
    let all: Api<SubjectAccessReview> = Api::all(server.client());
    let status = create(&all, json!({"spec": asked("default", "get")})).await.status.unwrap();
    let why = "RBAC: allowed by RoleBinding \"read/default\" of Role \"read\" to User \"jane\"";
    assert_eq!((status.allowed, status.reason.as_deref()), (true, Some(why)));
    let local: Api<LocalSubjectAccessReview> = Api::default_namespaced(server.client());
    let status = create(&local, json!({"spec": asked("default", "delete")})).await.status.unwrap();
    assert_eq!((status.allowed, status.reason), (false, None));
    let other = from_value(json!({"spec": asked("kube-system", "get")})).unwrap();
    let (code, message) = refused(local.create(&PostParams::default(), &other).await);
    assert_eq!((code, message.contains("must match metadata.namespace")), (422, true), "{message}");

    let own: Api<SelfSubjectAccessReview> = Api::all(jane.clone());
    let spec = |path: &str| json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": path}}});
    assert!(create(&own, spec("/version")).await.status.unwrap().allowed);
    assert!(!create(&own, spec("/metrics")).await.status.unwrap().allowed);
    assert_eq!(refused(Api::<SubjectAccessReview>::all(jane.clone()).list(&ListParams::default()).await).0, 403);
    let rules: Api<SelfSubjectRulesReview> = Api::all(jane.clone());
    let status = create(&rules, json!({"spec": {"namespace": "default"}})).await.status.unwrap();
    assert!(!status.incomplete);
    assert!(status.resource_rules.iter().any(|rule| rule.resources == Some(vec!["configmaps".to_owned()])));
    assert!(status.non_resource_rules.iter().any(|rule| rule.verbs == ["get"]));
    let who = create(&Api::<SelfSubjectReview>::all(jane), json!({})).await.status.unwrap().user_info.unwrap();
    assert_eq!(who.username.as_deref(), Some("jane"));
    assert_eq!(who.groups.unwrap(), ["people", "system:authenticated"]);

    let (code, _) = server.json("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &Value::Null).await;
    assert_eq!(code, 405, "nothing is kept");
    let (_, list) = server.json("GET", "/apis/authorization.k8s.io/v1", &Value::Null).await;
    let verbs = |resource: &Value| resource["verbs"] == json!(["create"]);
    assert!(list["resources"].as_array().unwrap().iter().all(verbs), "{list}");
    let token = json!({"spec": {"token": "nonsense"}});
    let (code, review) = server.json("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &token).await;
    assert_eq!((code, &review["status"]["authenticated"]), (201, &Value::Null), "{review}");
    let error = review["status"]["error"].as_str().unwrap();
    assert!(error.contains("invalid bearer token"), "{error}");
}

#[tokio::test]
async fn others_are_impersonated_where_that_is_allowed() {
    let server = Server::start().await;
    let who = async |client: kube::Client, headers: &[(&str, &str)]| {
        let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.request::<Value>(request.body(b"{}".to_vec()).unwrap()).await
    };
    let headers = [
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-X", "y"),
    ];
    let seen = who(server.client(), &headers).await.unwrap();
    let expected =
        json!({"username": "jane", "uid": "7", "groups": ["a", "system:authenticated"], "extra": {"x": ["y"]}});
    assert_eq!(seen["status"]["userInfo"], expected);
    let joe = || server.api.client("joe", &[]);
    let text = "users \"jane\" is forbidden: User \"joe\" cannot impersonate resource \"users\" in API group \"\" at the \
                cluster scope";
    assert_eq!(refused(who(joe(), &headers[..1]).await), (403, text.to_owned()));
    let rules =
        json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate"]}]);
    create::<ClusterRole>(&Api::all(server.client()), json!({"metadata": {"name": "as"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "as"}, "roleRef": {"kind": "ClusterRole", "name": "as"},
        "subjects": [{"kind": "User", "name": "joe"}]});
    create::<ClusterRoleBinding>(&Api::all(server.client()), binding).await;
    who(joe(), &headers[..1]).await.unwrap();
    let (code, message) = refused(who(joe(), &headers[..2]).await);
    assert_eq!((code, message.starts_with("groups \"a\" is forbidden")), (403, true), "{message}");
    assert_eq!(refused(who(server.client(), &headers[1..2]).await).0, 500);
    // Nobody gets administrators' power by a name.
    assert_eq!(refused(who(joe(), &[("Impersonate-Group", "system:masters"), headers[0]]).await).0, 403);
}

#[tokio::test]
async fn the_default_policy_is_put_right_at_each_start() {
    let server = Server::start().await;
    let roles: Api<ClusterRole> = Api::all(server.client());
    let patch = |rules: Value| Patch::Merge(json!({"rules": rules, "metadata": {"labels": {"own": "x"}}}));
    let own = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    roles.patch("system:basic-user", &PatchParams::default(), &patch(own)).await.unwrap();
    roles.delete("system:discovery", &DeleteParams::default()).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(server.client());
    let alone = json!({"subjects": null, "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    bindings.patch("system:discovery", &PatchParams::default(), &Patch::Merge(alone)).await.unwrap();
    let again = server.restarted().await;
    let roles: Api<ClusterRole> = Api::all(again.client("root", &["system:masters"]));
    let basic = roles.get("system:basic-user").await.unwrap();
    assert_eq!(basic.rules.unwrap().len(), 3, "what was added stays, what was missing is back");
    assert_eq!(basic.metadata.labels.unwrap()["own"], "x");
    roles.get("system:discovery").await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(again.client("root", &["system:masters"]));
    assert_eq!(bindings.get("system:discovery").await.unwrap().subjects, None, "it is left alone");
    let admin = roles.get("admin").await.unwrap();
    assert!(admin.aggregation_rule.is_some());
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let server = Server::start().await;
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "patch", "get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
    ]);
    grant(&server, "author", "jane", rules).await;
    let jane = server.api.client("jane", &[]);
    let roles: Api<Role> = Api::default_namespaced(jane.clone());
    let role = |name: &str, verbs: Value| -> Role {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
        from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap()
    };
    roles.create(&PostParams::default(), &role("held", json!(["get"]))).await.unwrap();
    let refusal = refused(roles.create(&PostParams::default(), &role("more", json!(["get", "delete"]))).await);
    let text = "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
                attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"configmaps\"], \
                Verbs:[\"delete\"]}";
    assert_eq!(refusal, (403, text.to_owned()));
    let widen = Patch::Merge(json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}));
    assert_eq!(refused(roles.patch("held", &PatchParams::default(), &widen).await).0, 403);
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    roles.patch("held", &PatchParams::default(), &label).await.unwrap();

    let bindings: Api<RoleBinding> = Api::default_namespaced(jane);
    let binding = |kind: &str, name: &str| -> RoleBinding {
        from_value(json!({"metadata": {"name": format!("to-{name}")}, "roleRef": {"kind": kind, "name": name},
            "subjects": [{"kind": "User", "name": "joe"}]}))
        .unwrap()
    };
    bindings.create(&PostParams::default(), &binding("Role", "held")).await.unwrap();
    assert_eq!(refused(bindings.create(&PostParams::default(), &binding("ClusterRole", "cluster-admin")).await).0, 403);
    let (code, message) = refused(bindings.create(&PostParams::default(), &binding("Role", "none")).await);
    assert_eq!(
        (code, message.ends_with("role.rbac.authorization.k8s.io \"none\" not found")),
        (403, true),
        "{message}"
    );
    let bind = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"],
        "resourceNames": ["cluster-admin"]}]);
    grant(&server, "binder", "jane", bind).await;
    bindings.create(&PostParams::default(), &binding("ClusterRole", "cluster-admin")).await.unwrap();
}
