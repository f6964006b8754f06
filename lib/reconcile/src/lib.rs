//! One keyed control loop for every controller: queue, single flight per key, backoff, resync.
