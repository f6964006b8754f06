//! The CRI client, and a supervised containerd where none is given.
