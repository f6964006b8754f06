//! The node's inspection service over gRPC.
