//! The pod spec, which pods and the templates of workloads share.

mod default;
mod qos;
mod validate;
mod warn;

pub(crate) use default::{default_pod, default_spec};
pub use qos::qos_class;
pub(crate) use validate::{
    validate_host_path, validate_nfs, validate_node_selector, validate_quantity, validate_spec, validate_tolerations,
};
pub(crate) use warn::{template_warnings, warnings};
