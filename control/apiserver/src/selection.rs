//! Which objects of a resource a list, watch or collection deletion is about.

use skep_registry::{FieldSelector, LabelSelector};

use crate::object::{Cached, relative_key};
use crate::query::ListOptions;
use crate::served::Served;
use crate::status::ApiError;

/// A key prefix and selectors.
#[derive(Clone)]
pub(crate) struct Selection {
    /// All keys wanted begin with it.
    pub prefix: String,
    /// Set where `prefix` is a whole key.
    single: bool,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// `name` is set for a watch of one object by its path.
    pub(crate) fn new(
        served: &Served,
        namespace: Option<&str>,
        name: Option<&str>,
        options: &ListOptions,
    ) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(&options.label_selector)
            .map_err(|error| ApiError::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields =
            FieldSelector::parse(&options.field_selector).map_err(|error| ApiError::bad_request(error.to_string()))?;
        if let Some(term) = fields.terms().iter().find(|t| !served.strategy.field_names().contains(&t.field.as_str())) {
            return Err(unknown_field(served, options, &term.field));
        }
        let name = name.or_else(|| fields.exact("metadata.name"));
        let (prefix, single) = match (namespace, name) {
            (None, None) => (String::new(), false),
            (Some(namespace), None) => (format!("{namespace}/"), false),
            // Without a namespace, the key of a namespaced object is not known by its name.
            (None, Some(_)) if served.scope == skep_registry::Scope::Namespaced => (String::new(), false),
            (namespace, Some(name)) => (relative_key(namespace, name).into_owned(), true),
        };
        Ok(Self { prefix, single, labels, fields })
    }

    pub(crate) fn matches(&self, object: &Cached) -> bool {
        (!self.single || *object.key == *self.prefix)
            && self.labels.matches_by(|key| object.facts.labels.get(key))
            && self.fields.matches_by(|name| object.facts.fields.get(name))
    }

    /// Whether every key with the prefix is wanted, so that counting needs no look at the objects.
    pub(crate) fn is_everything(&self) -> bool {
        !self.single && self.labels.is_everything() && self.fields.is_everything()
    }
}

fn unknown_field(served: &Served, options: &ListOptions, field: &str) -> ApiError {
    ApiError::bad_request(format!(
        "Unable to find \"{}/{}, Resource={}\" that match label selector \"{}\", field selector \"{}\": field label \
         not supported: {field}",
        served.group, served.version, served.plural, options.label_selector, options.field_selector
    ))
}
