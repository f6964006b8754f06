//! Guards for what tests make: network namespaces, cgroups, child processes.
