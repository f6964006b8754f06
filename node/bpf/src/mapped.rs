//! Tables in memory: rows are written by plain stores.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;

use aya::Pod;
use skep_abi::MapSpec;

use crate::error::Context as _;
use crate::pin::Pins;
use crate::{Error, sys};

/// An array of `T`, mapped.
#[derive(Debug)]
pub(crate) struct MappedRows<T> {
    rows: NonNull<T>,
    len: u32,
}

// SAFETY: the mapping belongs to no thread; writes need `&mut self`, and the kernel side only reads.
unsafe impl<T: Pod> Send for MappedRows<T> {}
// SAFETY: `&self` only reads plain integers, which no writer of this process changes at the same time.
unsafe impl<T: Pod> Sync for MappedRows<T> {}

impl<T: Pod> MappedRows<T> {
    /// Maps the pinned array of a spec, after a check of its layout.
    pub(crate) fn open(pins: &Pins, spec: &MapSpec, writable: bool) -> Result<Self, Error> {
        let map = pins.require_map(spec)?;
        let info: sys::MapInfo = sys::info(map.as_fd()).context(|| format!("inspect map {}", spec.name))?;
        Self::new(map.as_fd(), spec, info.max_entries, writable)
    }

    /// Maps an array of `len` rows, whose layout has been checked.
    pub(crate) fn new(map: BorrowedFd<'_>, spec: &MapSpec, len: u32, writable: bool) -> Result<Self, Error> {
        // Array elements are padded to 8 bytes, which a row is a multiple of.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        assert!(size_of::<T>() == spec.value_size as usize, "the rows' type is the spec's");
        let bytes = len as usize * size_of::<T>();
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a fresh shared mapping of an array map; the kernel checks the length against the map's.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context(|| format!("map {} into memory", spec.name));
        }
        let rows = NonNull::new(at.cast()).expect("mmap without MAP_FIXED never maps at address 0");
        Ok(Self { rows, len })
    }

    /// Number of rows.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Writes a list that no head points at.
    pub(crate) fn store(&mut self, base: u32, list: &[T]) {
        assert!(base as usize + list.len() <= self.len as usize, "the allocator hands out rows of the table");
        for (row, value) in (base as usize..).zip(list) {
            // SAFETY: in bounds by the assertion above, and aligned as the mapping starts at a page. Volatile, because its readers
            // are not part of the program.
            unsafe { self.rows.as_ptr().add(row).write_volatile(*value) };
        }
    }

    /// A copy of the first `len` rows, or of all where there are fewer.
    pub(crate) fn load(&self, len: u32) -> Vec<T> {
        // SAFETY: in bounds and aligned as above. A row being written by a daemon meanwhile is garbage at worst, and any bytes
        // make a row.
        let read = |row: u32| unsafe { self.rows.as_ptr().add(row as usize).read_volatile() };
        (0..len.min(self.len)).map(read).collect()
    }
}

impl<T> Drop for MappedRows<T> {
    fn drop(&mut self) {
        let bytes = self.len as usize * size_of::<T>();
        // SAFETY: exactly the mapping that `new` made, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.rows.as_ptr().cast(), bytes) };
    }
}
