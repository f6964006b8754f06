//! Acting as somebody else: `Impersonate-User` and the headers that go with it. Each part of the other identity must be allowed by
//! the verb `impersonate`.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use skep_rbac::Action;

use super::Identity;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const ACCOUNT: &str = "system:serviceaccount:";

/// Another identity, as a request's headers ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// Headers that make no identity.
#[derive(Debug, thiserror::Error)]
#[error("requested {0} without impersonating a user")]
pub(crate) struct WithoutUser(String);

impl Impersonation {
    /// `None` where a request is made in its own name.
    ///
    /// # Errors
    /// Groups, a UID or extra fields without a user.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, WithoutUser> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let user = headers.get(USER).map(text).unwrap_or_default();
        let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
        let uid = headers.get(UID).map(text).unwrap_or_default();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(EXTRA) {
                let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
                extra.entry(key).or_default().push(text(value));
            }
        }
        if !user.is_empty() {
            return Ok(Some(Self { user, groups, uid, extra }));
        }
        match (groups.first(), extra.keys().next()) {
            (Some(group), _) => Err(WithoutUser(format!("group {group:?}"))),
            (None, Some(key)) => Err(WithoutUser(format!("extra field {key:?}"))),
            (None, None) if !uid.is_empty() => Err(WithoutUser(format!("UID {uid:?}"))),
            (None, None) => Ok(None),
        }
    }

    /// What the one who asks must be allowed to do.
    pub(crate) fn actions(&self) -> Vec<Action<'_>> {
        let action = |group, resource, subresource, name| Action::Resource {
            verb: "impersonate",
            group,
            resource,
            subresource,
            namespace: None,
            name: Some(name),
        };
        let mut actions = vec![match self.account() {
            Some((namespace, name)) => Action::Resource {
                verb: "impersonate",
                group: "",
                resource: "serviceaccounts",
                subresource: "",
                namespace: Some(namespace),
                name: Some(name),
            },
            None => action("", "users", "", &self.user),
        }];
        actions.extend(self.groups.iter().map(|group| action("", "groups", "", group)));
        for (key, values) in &self.extra {
            actions.extend(values.iter().map(|value| action("authentication.k8s.io", "userextras", key, value)));
        }
        if !self.uid.is_empty() {
            actions.push(action("authentication.k8s.io", "uids", "", &self.uid));
        }
        actions
    }

    fn account(&self) -> Option<(&str, &str)> {
        self.user.strip_prefix(ACCOUNT)?.split_once(':')
    }

    /// The other identity, with the groups that follow from its name.
    pub(crate) fn identity(self) -> Identity {
        let mut groups = self.groups.clone();
        if groups.is_empty()
            && let Some((namespace, _)) = self.account()
        {
            groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        }
        let (known, unknown) = ("system:authenticated", "system:unauthenticated");
        let all = if self.user == "system:anonymous" { unknown } else { known };
        if !groups.iter().any(|group| group == known || group == unknown) {
            groups.push(all.to_owned());
        }
        Identity { user: self.user, groups, uid: self.uid, extra: self.extra }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn each_part_of_an_identity_is_asked_for() {
        assert_eq!(Impersonation::of(&headers(&[])).unwrap(), None);
        let mut all = headers(&[(USER, "jane"), (UID, "7"), ("impersonate-extra-acme.com%2fteam", "a")]);
        all.append(GROUP, HeaderValue::from_static("x"));
        all.append(GROUP, HeaderValue::from_static("y"));
        let asked = Impersonation::of(&all).unwrap().unwrap();
        let actions: Vec<String> = asked
            .actions()
            .iter()
            .map(|action| match action {
                Action::Resource { group, resource, subresource, name, .. } => {
                    format!("{group}/{resource}/{subresource}={}", name.unwrap_or_default())
                }
                Action::Path { .. } => String::new(),
            })
            .collect();
        assert_eq!(
            actions,
            [
                "/users/=jane",
                "/groups/=x",
                "/groups/=y",
                "authentication.k8s.io/userextras/acme.com/team=a",
                "authentication.k8s.io/uids/=7",
            ]
        );
        let identity = asked.identity();
        assert_eq!(identity.groups, ["x", "y", "system:authenticated"]);
        assert!(Impersonation::of(&headers(&[(GROUP, "x")])).is_err());
    }

    #[test]
    fn service_accounts_and_nobody_have_their_groups() {
        let of = |user: &'static str| Impersonation::of(&headers(&[(USER, user)])).unwrap().unwrap();
        let bot = of("system:serviceaccount:a:bot");
        let account = |action: &Action<'_>| matches!(action, Action::Resource { resource: "serviceaccounts", .. });
        assert!(bot.actions().iter().all(account));
        let groups = ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"];
        assert_eq!(bot.identity().groups, groups);
        assert_eq!(of("system:anonymous").identity().groups, ["system:unauthenticated"]);
    }
}
