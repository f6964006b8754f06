//! A static test server (HTTP and UDP) and load generator that run in the demo's containers.

fn main() {}
