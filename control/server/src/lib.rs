//! The control plane: settings, certificates, start and stop.
