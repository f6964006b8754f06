//! The scheduling and binding cycles, and the plugin framework.
