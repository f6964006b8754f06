//! Services to the kernel: all from cold, one endpoint at that size, and what `connect()` costs beside so many.

use anyhow::Result;

use super::example;
use super::row::Rows;
use crate::shell::say;

/// Services and endpoints of each.
const SIZES: [(u32, u32); 2] = [(10_000, 25), (40_000, 25)];

/// Runs the example that measures, once for each size.
pub(crate) fn run() -> Result<Rows> {
    let mut rows = Rows::default();
    for (services, endpoints) in SIZES {
        say(&format!("{services} Services of {endpoints} endpoints"));
        let (size, each) = (services.to_string(), endpoints.to_string());
        example::run("sync", &[&size, &each], &format!("skep-{services}"), &mut rows)?;
    }
    Ok(rows)
}
