//! Hosts as namespaces, real packets through the real programs.
