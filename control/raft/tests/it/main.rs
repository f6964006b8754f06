//! The store from outside: answers, watches, restarts, crashes and full disks.
#![allow(clippy::unwrap_used)]

mod basic;
mod crash;
mod disk_full;
mod open;
mod support;
mod watch;
