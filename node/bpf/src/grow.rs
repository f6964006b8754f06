//! Larger maps in the place of full ones.
//!
//! Only maps that user space alone writes can grow: the copy is complete then. What programs write to (flows, affinity) is bounded
//! by eviction instead.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Pod;
use skep_abi::{
    BACKENDS, BLOCKS, Backend, IDENTITIES, IPCACHE, MAGLEV, MAPS, MaglevRow, MapSpec, NAMES, POLICY, SOURCES, SVC,
};
use skep_datapath::Full;

use crate::error::Context as _;
use crate::inspect::Inspector;
use crate::mapped::MappedRows;
use crate::pin::Pins;
use crate::{Error, sys};

/// Makes the map anew, with what it holds and at least twice as large, and pins it in the old one's place. Nobody may write to the
/// old one meanwhile. Elements keep their indices, so that tables which name rows of each other agree whichever is the new one.
/// Returns its size.
///
/// # Errors
/// The map cannot grow, or the kernel has no memory for it; the old one stays.
pub(crate) fn replace(pins: &Pins, inspector: &Inspector, full: Full) -> Result<u32, Error> {
    let maps = &inspector.maps;
    let Some(spec) = MAPS.iter().find(|spec| spec.name == full.map) else { return Err(full.into()) };
    let entries = full.capacity.saturating_mul(2).max(full.needed);
    let what = || format!("make map {} larger, from {} to {entries} entries", spec.name, full.capacity);
    let map = sys::map_create(spec, entries).context(what)?;
    let copy = map.try_clone().context(what)?;
    match *spec {
        SVC => maps.services.copy_to(copy)?,
        SOURCES => maps.sources.copy_to(copy)?,
        IPCACHE => maps.ipcache.copy_to(copy)?,
        NAMES => maps.names.copy_to(copy)?,
        IDENTITIES => maps.identities.copy_to(copy)?,
        BLOCKS => maps.blocks.copy_to(copy)?,
        POLICY => maps.policy.copy_to(copy)?,
        BACKENDS => copy_rows::<Backend>(pins, spec, map.as_fd(), entries)?,
        MAGLEV => copy_rows::<MaglevRow>(pins, spec, map.as_fd(), entries)?,
        _ => return Err(full.into()),
    }
    pins.replace_map(spec, map.as_fd())?;
    Ok(entries)
}

fn copy_rows<T: Pod>(pins: &Pins, spec: &MapSpec, into: BorrowedFd<'_>, entries: u32) -> Result<(), Error> {
    let rows = MappedRows::<T>::open(pins, spec, false)?.load(u32::MAX);
    MappedRows::new(into, spec, entries, true)?.store(0, &rows);
    Ok(())
}
