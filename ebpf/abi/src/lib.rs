//! What kernel and user side share: map keys, values and events, names and sizes.

#![no_std]
