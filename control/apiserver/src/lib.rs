//! The Kubernetes API over HTTPS: one generic path for every resource.
