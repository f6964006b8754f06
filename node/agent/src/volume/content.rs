//! What the files of a volume hold. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use crate::env::{Node, Sources, field, resource};

const MODE_DEFAULT: i32 = 0o644;

/// The files of a volume, by path.
pub(crate) type Payload = BTreeMap<String, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) user: Option<u32>,
}

/// A service account token for one file of one projected volume.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) volume: String,
    pub(crate) path: String,
    pub(crate) token: String,
}

/// Collects the files of a volume, or says what is missing.
pub(crate) fn payload(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    tokens: &[Token],
    node: &Node,
) -> Result<Payload, String> {
    let mut files = Payload::new();
    if let Some(source) = &volume.config_map {
        let maker = Maker { files: &mut files, mode: source.default_mode };
        let (items, optional) = (source.items.as_deref(), source.optional);
        maker.config_map(sources, &Source { name: &source.name, items, optional })?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let (items, optional) = (source.items.as_deref(), source.optional);
        let maker = Maker { files: &mut files, mode: source.default_mode };
        maker.secret(sources, &Source { name, items, optional })?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        Maker { files: &mut files, mode: source.default_mode }.downward(pod, node, items)?;
    } else if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            let maker = Maker { files: &mut files, mode: source.default_mode };
            maker.projection(pod, volume, sources, tokens, node, projection)?;
        }
    }
    Ok(files)
}

/// A reference to an object of keys and bytes.
struct Source<'a> {
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: Option<bool>,
}

struct Maker<'a> {
    files: &'a mut Payload,
    mode: Option<i32>,
}

impl Maker<'_> {
    fn add(&mut self, path: &str, bytes: Vec<u8>, mode: Option<i32>) {
        let mode = u32::try_from(mode.or(self.mode).unwrap_or(MODE_DEFAULT)).unwrap_or(0) & 0o777;
        self.files.insert(path.to_owned(), Entry { bytes, mode, user: None });
    }

    fn config_map(mut self, sources: &Sources, source: &Source) -> Result<(), String> {
        let object = sources.config_maps.get(source.name).and_then(Option::as_ref);
        self.keys("configmap", object.map(config_map_data), source)
    }

    fn secret(mut self, sources: &Sources, source: &Source) -> Result<(), String> {
        let object = sources.secrets.get(source.name).and_then(Option::as_ref);
        self.keys("secret", object.map(secret_data), source)
    }

    fn keys(&mut self, kind: &str, data: Option<BTreeMap<String, Vec<u8>>>, source: &Source) -> Result<(), String> {
        let optional = source.optional == Some(true);
        let Some(data) = data else {
            return if optional { Ok(()) } else { Err(format!("{kind} \"{}\" not found", source.name)) };
        };
        let Some(items) = source.items.filter(|items| !items.is_empty()) else {
            data.into_iter().for_each(|(key, bytes)| self.add(&key, bytes, None));
            return Ok(());
        };
        for item in items {
            match data.get(&item.key) {
                Some(bytes) => self.add(&item.path, bytes.clone(), item.mode),
                None if optional => {}
                None => return Err(format!("{kind} references non-existent config key: {}", item.key)),
            }
        }
        Ok(())
    }

    fn downward(&mut self, pod: &Pod, node: &Node, items: &[DownwardAPIVolumeFile]) -> Result<(), String> {
        for item in items {
            let text = if let Some(reference) = &item.field_ref {
                field(pod, node, &reference.field_path)
            } else if let Some(reference) = &item.resource_field_ref {
                resource(pod, &Container::default(), node, reference)
            } else {
                return Err(format!("downwardAPI file {} has neither fieldRef nor resourceFieldRef", item.path));
            };
            self.add(&item.path, text.map_err(|error| error.to_string())?.into_bytes(), item.mode);
        }
        Ok(())
    }

    fn projection(
        mut self,
        pod: &Pod,
        volume: &Volume,
        sources: &Sources,
        tokens: &[Token],
        node: &Node,
        projection: &VolumeProjection,
    ) -> Result<(), String> {
        if let Some(source) = &projection.config_map {
            let (items, optional) = (source.items.as_deref(), source.optional);
            self.config_map(sources, &Source { name: &source.name, items, optional })
        } else if let Some(source) = &projection.secret {
            let (items, optional) = (source.items.as_deref(), source.optional);
            self.secret(sources, &Source { name: &source.name, items, optional })
        } else if let Some(source) = &projection.downward_api {
            self.downward(pod, node, source.items.as_deref().unwrap_or_default())
        } else if let Some(source) = &projection.service_account_token {
            let held = tokens.iter().find(|token| token.volume == volume.name && token.path == source.path);
            let token = held.ok_or_else(|| format!("no token for {}", source.path))?;
            self.add(&source.path, token.token.clone().into_bytes(), None);
            if let Some(entry) = self.files.get_mut(&source.path) {
                let spec = pod.spec.as_ref();
                let user = spec.and_then(|spec| crate::config::run_as_user(spec, spec.containers.first()?));
                entry.user = user.and_then(|user| u32::try_from(user).ok());
                entry.mode = 0o600;
            }
            Ok(())
        } else {
            Err("this kind of projection is not supported".to_owned())
        }
    }
}

fn config_map_data(object: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(object: &Secret) -> BTreeMap<String, Vec<u8>> {
    object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}
