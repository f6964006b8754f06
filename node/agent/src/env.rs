//! A container's environment: `envFrom`, `env` with references and `$(VAR)`, and the service links.

mod expand;
mod fields;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

pub(crate) use expand::expand;
pub(crate) use fields::{Node, field, resource};
pub(crate) use services::{Services, service_links};

/// The ConfigMaps and Secrets that a pod refers to, as they were read; `None` where the object does not exist.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
}

/// What keeps a container's settings from being complete. The text is shown in the pod's status.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { kind: &'static str, key: String, namespace: String, name: String },
    #[error("env {name}: {kind} {object} key {key} is not UTF-8")]
    NotText { kind: &'static str, name: String, object: String, key: String },
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
    #[error("couldn't find container {0} of resourceFieldRef")]
    Container(String),
    #[error("unsupported source of env {0}")]
    Source(String),
}

impl Sources {
    /// Names of the ConfigMaps and of the Secrets that a container's environment refers to.
    pub(crate) fn of(container: &Container) -> (Vec<String>, Vec<String>) {
        let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
        for from in container.env_from.iter().flatten() {
            config_maps.extend(from.config_map_ref.iter().map(|held| held.name.clone()));
            secrets.extend(from.secret_ref.iter().map(|held| held.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
            config_maps.extend(source.config_map_key_ref.iter().map(|held| held.name.clone()));
            secrets.extend(source.secret_key_ref.iter().map(|held| held.name.clone()));
        }
        (config_maps, secrets)
    }

    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps.get(name).and_then(Option::as_ref)
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name).and_then(Option::as_ref)
    }
}

/// Builds the environment, in the order in which it is given to the runtime.
pub(crate) fn build(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    links: &BTreeMap<String, String>,
    node: &Node,
) -> Result<Vec<(String, String)>, Error> {
    let mut vars = Vars::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let object = sources.config_map(&reference.name);
            let data = object.and_then(|object| object.data.clone()).unwrap_or_default();
            require(object.is_some(), reference.optional, "configmap", &reference.name)?;
            data.into_iter().for_each(|(key, value)| vars.set(format!("{prefix}{key}"), value));
        }
        if let Some(reference) = &from.secret_ref {
            let object = sources.secret(&reference.name);
            let data = object.and_then(|object| object.data.clone()).unwrap_or_default();
            require(object.is_some(), reference.optional, "secret", &reference.name)?;
            for (key, value) in data {
                if let Ok(value) = String::from_utf8(value.0) {
                    vars.set(format!("{prefix}{key}"), value);
                }
            }
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => Some(vars.expand(value, links)),
            (_, Some(source)) => referenced(pod, container, sources, node, &var.name, source)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            vars.set(var.name.clone(), value);
        }
    }
    for (name, value) in links {
        if !vars.values.contains_key(name) {
            vars.set(name.clone(), value.clone());
        }
    }
    Ok(vars.order.into_iter().map(|name| (name.clone(), vars.values[&name].clone())).collect())
}

#[derive(Default)]
struct Vars {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Vars {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    fn expand(&self, text: &str, links: &BTreeMap<String, String>) -> String {
        expand(text, |name| self.values.get(name).or_else(|| links.get(name)).cloned())
    }
}

fn require(there: bool, optional: Option<bool>, kind: &'static str, name: &str) -> Result<(), Error> {
    if there || optional == Some(true) { Ok(()) } else { Err(Error::Missing { kind, name: name.to_owned() }) }
}

/// The value that a reference stands for; `None` where an optional one leads nowhere.
fn referenced(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    node: &Node,
    var: &str,
    source: &EnvVarSource,
) -> Result<Option<String>, Error> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return field(pod, node, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource(pod, container, node, reference).map(Some);
    }
    let missing_key = |kind, key: &str, name: &str| Error::MissingKey {
        kind,
        key: key.to_owned(),
        namespace: namespace.clone(),
        name: name.to_owned(),
    };
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional;
        let Some(object) = sources.config_map(&reference.name) else {
            return require(false, optional, "configmap", &reference.name).map(|()| None);
        };
        let value = object.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return match value {
            None if optional != Some(true) => Err(missing_key("ConfigMap", &reference.key, &reference.name)),
            value => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional;
        let Some(object) = sources.secret(&reference.name) else {
            return require(false, optional, "secret", &reference.name).map(|()| None);
        };
        let Some(value) = object.data.as_ref().and_then(|data| data.get(&reference.key)) else {
            let error = missing_key("Secret", &reference.key, &reference.name);
            return if optional == Some(true) { Ok(None) } else { Err(error) };
        };
        return String::from_utf8(value.0.clone()).map(Some).map_err(|_| Error::NotText {
            kind: "secret",
            name: var.to_owned(),
            object: reference.name.clone(),
            key: reference.key.clone(),
        });
    }
    Err(Error::Source(var.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
