//! The backend table in memory: rows are written by plain stores.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;

use skep_abi::Backend;

use crate::Error;
use crate::error::Context as _;

/// `BACKENDS`, mapped for writing.
#[derive(Debug)]
pub(crate) struct MappedRows {
    rows: NonNull<Backend>,
    len: u32,
}

// SAFETY: the mapping belongs to no thread; writes need `&mut self`, and the kernel side only reads.
unsafe impl Send for MappedRows {}
// SAFETY: `&self` only reads plain integers, which no writer of this process changes at the same time.
unsafe impl Sync for MappedRows {}

impl MappedRows {
    /// Maps an array of `len` rows, whose layout has been checked.
    pub(crate) fn new(map: BorrowedFd<'_>, len: u32, writable: bool) -> Result<Self, Error> {
        // Array elements are padded to 8 bytes, which a row is a multiple of.
        const _: () = assert!(size_of::<Backend>().is_multiple_of(8));
        let bytes = len as usize * size_of::<Backend>();
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a fresh shared mapping of an array map; the kernel checks the length against the map's.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context(|| "map BACKENDS into memory".to_owned());
        }
        let rows = NonNull::new(at.cast()).expect("mmap without MAP_FIXED never maps at address 0");
        Ok(Self { rows, len })
    }

    /// Writes a list that no head points at.
    pub(crate) fn store(&mut self, base: u32, list: &[Backend]) {
        assert!(base as usize + list.len() <= self.len as usize, "the allocator hands out rows of the table");
        for (row, backend) in (base as usize..).zip(list) {
            // SAFETY: in bounds by the assertion above, and aligned as the mapping starts at a page. Volatile, because its readers
            // are not part of the program.
            unsafe { self.rows.as_ptr().add(row).write_volatile(*backend) };
        }
    }

    /// A copy of the first `len` rows, or of all where there are fewer.
    pub(crate) fn load(&self, len: u32) -> Vec<Backend> {
        // SAFETY: in bounds and aligned as above. A row being written by a daemon meanwhile is garbage at worst, and any bytes
        // make a row.
        let read = |row: u32| unsafe { self.rows.as_ptr().add(row as usize).read_volatile() };
        (0..len.min(self.len)).map(read).collect()
    }
}

impl Drop for MappedRows {
    fn drop(&mut self) {
        let bytes = self.len as usize * size_of::<Backend>();
        // SAFETY: exactly the mapping that `new` made, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.rows.as_ptr().cast(), bytes) };
    }
}
