//! Services that change at random beside traffic that must not notice.

use anyhow::Result;

use super::example;
use super::row::Rows;
use crate::shell::say;

/// Two minutes of 200 changes a second beside 1,000 connections that stay and many that do not; fails where one of these does.
pub(crate) fn run() -> Result<Rows> {
    let mut rows = Rows::default();
    say("two minutes of 200 changes a second");
    example::run("churn", &["120", "200", "1000"], "skep", &mut rows)?;
    Ok(rows)
}
