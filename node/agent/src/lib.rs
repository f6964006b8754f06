//! The kubelet's role: pod life cycle, probes, volumes, logs, status.
