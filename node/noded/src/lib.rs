//! The node daemon: settings, start and stop.
