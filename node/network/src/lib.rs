//! The CNI role: addresses, veths, routes, neighbours.
