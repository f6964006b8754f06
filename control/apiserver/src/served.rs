//! A handle to one resource of the registry that streams can own.

use std::ops::Deref;
use std::sync::Arc;

use skep_registry::{Registry, Resource};

/// One resource that is or was served, and where its objects are.
#[derive(Clone)]
pub(crate) struct Served(Arc<Resource>);

impl Served {
    pub(crate) fn find(registry: &Registry, group: &str, version: &str, plural: &str) -> Option<Self> {
        registry.get(group, version, plural).cloned().map(Self)
    }

    pub(crate) fn all(registry: &Registry) -> impl Iterator<Item = Self> {
        registry.resources().iter().cloned().map(Self)
    }

    /// Its place in the watch cache.
    pub(crate) fn index(&self) -> usize {
        self.0.slot
    }
}

impl Deref for Served {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.0
    }
}
