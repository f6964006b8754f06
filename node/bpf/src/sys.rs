//! bpf(2), as far as aya does not reach: batches, links that are updated in place, and information by descriptor.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use skep_abi::MapSpec;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_TEST_RUN: i32 = 10;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const MAP_LOOKUP_BATCH: i32 = 24;
const MAP_UPDATE_BATCH: i32 = 26;
const MAP_DELETE_BATCH: i32 = 27;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;

/// `bpf_attr` of a call on one element.
#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `bpf_attr` of a call on many elements.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `bpf_attr` of a call on a pin.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `bpf_attr` of a request for information.
#[repr(C)]
struct Info {
    fd: u32,
    len: u32,
    info: u64,
}

/// The start of `bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// The start of `bpf_link_info`, of a cgroup or tcx link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) prog_id: u32,
    pad: u32,
    /// Cgroup id; or interface index (low half) and attach type (high half).
    pub(crate) target: u64,
    pub(crate) attach_type: u32,
    pad2: u32,
}

/// `bpf_prog_info` up to the count of verified instructions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProgInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) tag: [u8; 8],
    pub(crate) jited_len: u32,
    pub(crate) xlated_len: u32,
    unused: [u64; 5],
    pub(crate) name: [u8; 16],
    unused2: [u64; 14],
    pub(crate) run_time_ns: u64,
    pub(crate) run_count: u64,
    recursion_misses: u64,
    pub(crate) verified_insns: u32,
    pad: u32,
}

const _: () = assert!(size_of::<ProgInfo>() == 224);

/// One call. Every attribute struct here is `repr(C)` and without implicit padding.
fn bpf<A>(command: i32, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a valid, exclusively borrowed prefix of `bpf_attr` of the size given; pointers inside it are set by the
    // functions below from slices and structs that outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as i32) }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Creates a map that needs no type information.
pub(crate) fn map_create(spec: &MapSpec, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner: u32,
        numa_node: u32,
        name: [u8; 16],
    }
    let mut name = [0; 16];
    name.iter_mut().zip(spec.name.bytes().take(15)).for_each(|(to, from)| *to = from);
    let mut attr = Create {
        kind: spec.kind as u32,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: entries,
        flags: spec.flags,
        inner: 0,
        numa_node: 0,
        name,
    };
    bpf(MAP_CREATE, &mut attr).map(owned)
}

/// Reads one value into a buffer of the size that the kernel writes; `false` where the key is not there.
pub(crate) fn lookup<K>(map: BorrowedFd<'_>, key: &K, value: &mut [u8]) -> io::Result<bool> {
    let mut attr = element(map, key, value.as_mut_ptr() as u64);
    absent_is_false(bpf(MAP_LOOKUP_ELEM, &mut attr))
}

/// Writes one element.
pub(crate) fn update<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = element(map, key, std::ptr::from_ref(value) as u64);
    bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Deletes one element; `false` where it was not there.
pub(crate) fn delete<K>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut attr = element(map, key, 0);
    absent_is_false(bpf(MAP_DELETE_ELEM, &mut attr))
}

fn element<K>(map: BorrowedFd<'_>, key: &K, value: u64) -> Element {
    Element { map_fd: raw(map), pad: 0, key: std::ptr::from_ref(key) as u64, value, flags: 0 }
}

fn absent_is_false(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where a batched look-up goes on: a hash writes a word here, and a trie the whole of its last key.
pub(crate) type Cursor = [u8; 64];

/// Reads elements into `keys` and `values`, which are of one length. Returns how many, and whether these were the last.
pub(crate) fn lookup_batch<K, V>(
    map: BorrowedFd<'_>,
    cursor: &mut Option<Cursor>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    assert_eq!(keys.len(), values.len(), "one value per key");
    let mut next: Cursor = [0; 64];
    let mut attr = Batch {
        in_batch: cursor.as_ref().map_or(0, |cursor| cursor.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len() as u32,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    let more = absent_is_false(bpf(MAP_LOOKUP_BATCH, &mut attr))?;
    *cursor = Some(next);
    Ok((attr.count as usize, !more))
}

/// Writes elements, each replaced atomically.
pub(crate) fn update_batch<K, V>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "one value per key");
    batch(MAP_UPDATE_BATCH, map, keys, values.as_ptr() as u64)
}

/// Deletes elements, all of which must be there.
pub(crate) fn delete_batch<K>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    batch(MAP_DELETE_BATCH, map, keys, 0)
}

fn batch<K>(command: i32, map: BorrowedFd<'_>, keys: &[K], values: u64) -> io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut attr = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values,
        count: keys.len() as u32,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    bpf(command, &mut attr).map(drop)
}

/// Pins an object.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    bpf(OBJ_PIN, &mut Object { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 }).map(drop)
}

/// Opens a pinned object; `None` where there is no such pin.
pub(crate) fn open_pin(path: &Path) -> io::Result<Option<OwnedFd>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    match bpf(OBJ_GET, &mut Object { path: path.as_ptr() as u64, fd: 0, flags: 0 }) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a program by its id.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(PROG_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

/// `bpf_attr` of a run with a packet of the caller's.
#[repr(C)]
struct Run {
    program: u32,
    verdict: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// The start of `__sk_buff`, up to the interface: all that a caller may set here.
#[repr(C)]
struct Context {
    unset: [u32; 10],
    ifindex: u32,
}

/// Runs a program of kind tcx on `packet` as if it came by the link of that index, which is one of the calling thread's network
/// namespace. Nothing is sent. Returns the verdict; `packet` is what the program made of it.
pub(crate) fn test_run(program: BorrowedFd<'_>, packet: &mut Vec<u8>, ifindex: u32) -> io::Result<i32> {
    /// Room for headers that a program puts in front.
    const GROWTH: usize = 256;
    let mut out = vec![0; packet.len() + GROWTH];
    let context = Context { unset: [0; 10], ifindex };
    let mut attr = Run {
        program: raw(program),
        verdict: 0,
        size_in: packet.len() as u32,
        size_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        duration_ns: 0,
        context_size_in: size_of::<Context>() as u32,
        context_size_out: 0,
        context_in: std::ptr::from_ref(&context) as u64,
        context_out: 0,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    out.truncate(attr.size_out as usize);
    *packet = out;
    Ok(attr.verdict as i32)
}

/// What the kernel says of an object; `I` is the info struct of the descriptor's kind, or its start.
pub(crate) fn info<I: Default>(fd: BorrowedFd<'_>) -> io::Result<I> {
    let mut info = I::default();
    let mut attr = Info { fd: raw(fd), len: size_of::<I>() as u32, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Attaches a program to a cgroup (by descriptor) or a link (by interface index); the attachment lives as long as the descriptor
/// or its pin.
pub(crate) fn link_create(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> io::Result<OwnedFd> {
    // Twelve words: the relative descriptor and the expected revision of tcx, both unused, must be zero.
    let mut attr = [0u32; 12];
    attr[..3].copy_from_slice(&[raw(program), target, attach_type]);
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Replaces the program behind an attachment, atomically.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_UPDATE, &mut [raw(link), raw(program), 0, 0]).map(drop)
}

/// Waits until every program that ran when this was called has ended (an RCU grace period).
pub(crate) fn grace_period() -> io::Result<()> {
    const CMD_GLOBAL: i32 = 1;
    // SAFETY: the call takes no pointer.
    let ret = unsafe { libc::syscall(libc::SYS_membarrier, CMD_GLOBAL, 0, 0) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
