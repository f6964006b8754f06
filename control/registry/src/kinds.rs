//! The kinds, a file each.

mod admission;
mod binding;
mod certificate_signing_request;
mod config_map;
mod controller_revision;
mod cron_job;
mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod ip_address;
mod job;
mod lease;
mod limit_range;
mod namespace;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod priority_class;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod review;
mod runtime_class;
mod secret;
mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

pub(crate) use admission::{
    MutatingAdmissionPolicies, MutatingAdmissionPolicyBindings, MutatingWebhookConfigurations,
    ValidatingAdmissionPolicies, ValidatingAdmissionPolicyBindings, ValidatingWebhookConfigurations,
};
pub(crate) use binding::Bindings;
pub(crate) use certificate_signing_request::CertificateSigningRequests;
pub(crate) use config_map::ConfigMaps;
pub(crate) use controller_revision::ControllerRevisions;
pub(crate) use cron_job::CronJobs;
pub(crate) use csi_driver::CsiDrivers;
pub(crate) use csi_node::CsiNodes;
pub(crate) use csi_storage_capacity::CsiStorageCapacities;
pub(crate) use daemon_set::DaemonSets;
pub(crate) use deployment::Deployments;
pub(crate) use endpoint_slice::EndpointSlices;
pub(crate) use endpoints::EndpointsKind;
pub(crate) use event::{Events, EventsView};
pub(crate) use horizontal_pod_autoscaler::{HorizontalPodAutoscalers, HorizontalPodAutoscalersV1};
pub(crate) use ingress::Ingresses;
pub(crate) use ingress_class::IngressClasses;
pub(crate) use ip_address::IpAddresses;
pub(crate) use job::Jobs;
pub(crate) use lease::Leases;
pub(crate) use limit_range::LimitRanges;
pub(crate) use namespace::Namespaces;
pub(crate) use network_policy::NetworkPolicies;
pub(crate) use node::Nodes;
pub(crate) use persistent_volume::PersistentVolumes;
pub(crate) use persistent_volume_claim::PersistentVolumeClaims;
pub(crate) use pod::Pods;
pub(crate) use pod_disruption_budget::PodDisruptionBudgets;
pub(crate) use pod_template::PodTemplates;
pub(crate) use priority_class::PriorityClasses;
pub(crate) use rbac::{ClusterRoleBindings, ClusterRoles, RoleBindings, Roles};
pub(crate) use replica_set::ReplicaSets;
pub(crate) use replication_controller::ReplicationControllers;
pub(crate) use resource_quota::ResourceQuotas;
pub(crate) use review::{
    LocalSubjectAccessReviews, SelfSubjectAccessReviews, SelfSubjectReviews, SelfSubjectRulesReviews,
    SubjectAccessReviews, TokenReviews,
};
pub(crate) use runtime_class::RuntimeClasses;
pub(crate) use secret::Secrets;
pub(crate) use service::Services;
pub(crate) use service_account::ServiceAccounts;
pub(crate) use service_cidr::ServiceCidrs;
pub(crate) use stateful_set::StatefulSets;
pub(crate) use storage_class::StorageClasses;
pub(crate) use volume_attachment::VolumeAttachments;
pub(crate) use volume_attributes_class::VolumeAttributesClasses;
