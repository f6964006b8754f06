//! What `admissionregistration.k8s.io` has: webhooks, and policies with their bindings.

mod binding;
mod policy;
mod rules;
mod webhook;

pub(crate) use binding::{MutatingAdmissionPolicyBindings, ValidatingAdmissionPolicyBindings};
pub(crate) use policy::{MutatingAdmissionPolicies, ValidatingAdmissionPolicies};
pub(crate) use webhook::{MutatingWebhookConfigurations, ValidatingWebhookConfigurations};
