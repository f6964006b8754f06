//! A map as typed elements.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Pod;
use skep_abi::MapSpec;
use skep_datapath::Full;

use crate::error::Context as _;
use crate::{Error, sys};

/// Elements per batched call when a whole table is read.
const BATCH: usize = 4096;

/// A map with keys `K` and values `V`.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    fd: OwnedFd,
    spec: MapSpec,
    types: PhantomData<(K, V)>,
}

impl<K: Pod + Default, V: Pod + Default> Table<K, V> {
    /// The layout of the descriptor's map has been checked against the spec.
    pub(crate) fn new(fd: OwnedFd, spec: MapSpec) -> Self {
        assert!(size_of::<K>() == spec.key_size as usize, "the key's type is the spec's");
        assert!(size_of::<V>() == spec.value_size as usize, "the value's type is the spec's");
        Self { fd, spec, types: PhantomData }
    }

    pub(crate) fn info(&self) -> Result<sys::MapInfo, Error> {
        sys::info(self.fd.as_fd()).context(|| format!("inspect map {}", self.spec.name))
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::default();
        // SAFETY: `V` is plain old data of exactly the map's value size, and every byte pattern is a value of it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(&mut value).cast(), size_of::<V>()) };
        let found = sys::lookup(self.fd.as_fd(), key, bytes).context(|| self.what("read"))?;
        Ok(found.then_some(value))
    }

    pub(crate) fn put(&self, key: &K, value: &V) -> Result<(), Error> {
        sys::update(self.fd.as_fd(), key, value).or_else(|error| self.refused(error))
    }

    pub(crate) fn delete(&self, key: &K) -> Result<bool, Error> {
        sys::delete(self.fd.as_fd(), key).context(|| self.what("delete from"))
    }

    pub(crate) fn put_all(&self, elements: &[(K, V)]) -> Result<(), Error> {
        let (keys, values): (Vec<K>, Vec<V>) = elements.iter().copied().unzip();
        sys::update_batch(self.fd.as_fd(), &keys, &values).or_else(|error| self.refused(error))
    }

    pub(crate) fn delete_all(&self, keys: &[K]) -> Result<(), Error> {
        sys::delete_batch(self.fd.as_fd(), keys).context(|| self.what("delete from"))
    }

    /// Every element. A table that changes meanwhile is read as it was at some moment for each element on its own.
    pub(crate) fn dump(&self) -> Result<Vec<(K, V)>, Error> {
        let mut elements = Vec::new();
        let mut cursor = None;
        loop {
            let (batch, last) = self.next_batch(&mut cursor)?;
            elements.extend(batch);
            if last {
                return Ok(elements);
            }
        }
    }

    /// The next elements from where a cursor stands, and whether they are the last.
    pub(crate) fn next_batch(&self, cursor: &mut Option<sys::Cursor>) -> Result<(Vec<(K, V)>, bool), Error> {
        let before = *cursor;
        let mut len = BATCH;
        loop {
            let (mut keys, mut values) = (vec![K::default(); len], vec![V::default(); len]);
            match sys::lookup_batch(self.fd.as_fd(), cursor, &mut keys, &mut values) {
                Ok((count, last)) => return Ok((keys.into_iter().zip(values).take(count).collect(), last)),
                // One bucket of the hash holds more than a batch.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && len < 64 * BATCH => {
                    (*cursor, len) = (before, len * 2);
                }
                Err(error) => return Err(io_error(error, self.what("list"))),
            }
        }
    }

    /// A hash that is full says `E2BIG`, a trie `ENOSPC`.
    fn refused(&self, error: io::Error) -> Result<(), Error> {
        if !matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) {
            return Err(error).context(|| self.what("write"));
        }
        let capacity = self.info()?.max_entries;
        Err(Full { map: self.spec.name, capacity, needed: capacity.saturating_add(1) }.into())
    }

    /// Puts all elements of this table into another map of its layout.
    pub(crate) fn copy_to(&self, map: OwnedFd) -> Result<(), Error> {
        Self::new(map, self.spec).put_all(&self.dump()?)
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} map {}", self.spec.name)
    }
}

impl<V: Pod + Default> Table<u32, V> {
    /// The values that all CPUs have of one row of a per-CPU array.
    pub(crate) fn per_cpu(&self, row: u32, cpus: usize) -> Result<Vec<V>, Error> {
        assert!(size_of::<V>().is_multiple_of(8), "the kernel pads per-CPU values to 8 bytes");
        let mut values = vec![V::default(); cpus];
        // SAFETY: the vector is plain old data, and its length in bytes is what the kernel writes: one padded value per
        // possible CPU.
        let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), cpus * size_of::<V>()) };
        sys::lookup(self.fd.as_fd(), &row, bytes).context(|| self.what("read"))?;
        Ok(values)
    }
}

fn io_error(source: io::Error, what: String) -> Error {
    Error::Sys { what, source }
}
