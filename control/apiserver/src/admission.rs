//! What may be refused although it is allowed and valid.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use skep_registry::Registry;

use crate::served::Served;
use crate::status::ApiError;
use crate::write::{Target, Writer};

/// What is about to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

pub(crate) type Verdict<'a> = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send + 'a>>;

/// One check in the chain that every write passes, after defaulting and before validation.
pub(crate) trait Admission: Send + Sync {
    fn admit<'a>(&'a self, writer: &'a Writer, operation: Operation, target: &'a Target) -> Verdict<'a>;
}

/// Nothing is created in a namespace that is missing or going, and some namespaces stay.
pub(crate) struct NamespaceLifecycle {
    namespaces: Option<Served>,
}

/// Without these a cluster does not work.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl NamespaceLifecycle {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self { namespaces: Served::find(registry, "", "v1", "namespaces") }
    }

    fn check(&self, writer: &Writer, operation: Operation, target: &Target) -> Result<(), ApiError> {
        let Some(namespaces) = &self.namespaces else { return Ok(()) };
        match operation {
            Operation::Delete if target.served.index() == namespaces.index() => {
                if IMMORTAL.contains(&target.name.as_str()) {
                    let why = "this namespace may not be deleted";
                    return Err(ApiError::forbidden("namespaces", "", &target.name, why));
                }
                Ok(())
            }
            Operation::Create => match &target.namespace {
                Some(namespace) => check_create(writer, namespaces, target, namespace),
                None => Ok(()),
            },
            Operation::Update | Operation::Delete => Ok(()),
        }
    }
}

fn check_create(writer: &Writer, namespaces: &Served, target: &Target, namespace: &str) -> Result<(), ApiError> {
    let found = writer.cache.get(namespaces, namespace);
    let Some(found) = found else { return Err(ApiError::not_found("namespaces", "", namespace)) };
    let terminating = found.value().pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
    if terminating {
        return Err(ApiError::namespace_terminating(&target.served, &target.name, namespace));
    }
    Ok(())
}

impl Admission for NamespaceLifecycle {
    fn admit<'a>(&'a self, writer: &'a Writer, operation: Operation, target: &'a Target) -> Verdict<'a> {
        Box::pin(std::future::ready(self.check(writer, operation, target)))
    }
}
