//! Load, check, pin, attach and replace the eBPF programs; typed map handles.
