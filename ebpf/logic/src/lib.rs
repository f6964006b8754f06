//! Parsing, checksums and backend choice, generic over packet and maps, so that the host can test it.

#![no_std]
