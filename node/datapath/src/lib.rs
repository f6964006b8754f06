//! The desired tables against what the kernel holds: ordered map operations, and decoding back to names.
