//! The embedded objects, loaded into the kernel.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use skep_abi::{MAPS, MapKind};

use crate::error::Context as _;
use crate::options::Sizes;
use crate::pin::Pins;
use crate::{Error, sys};

/// An object: its name, its bytes, and the programs in it.
type Object = (&'static str, &'static [u8], &'static [&'static str]);

static OBJECTS: [Object; 6] = [
    (
        "cgroup_sock",
        aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cgroup_sock")),
        &[
            "connect4",
            "connect6",
            "sendmsg4",
            "sendmsg6",
            "recvmsg4",
            "recvmsg6",
            "getpeername4",
            "getpeername6",
            "post_bind4",
            "post_bind6",
        ],
    ),
    ("pod_egress", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pod_egress")), &["pod_egress"]),
    ("pod_ingress", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pod_ingress")), &["pod_ingress"]),
    ("host_ingress", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/host_ingress")), &["host_ingress"]),
    ("host_egress", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/host_egress")), &["host_egress"]),
    (
        "overlay_ingress",
        aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/overlay_ingress")),
        &["overlay_ingress"],
    ),
];

/// The programs, verified and loaded, attached to nothing.
#[derive(Debug)]
pub(crate) struct Programs {
    by_name: BTreeMap<&'static str, OwnedFd>,
}

impl Programs {
    /// Loads every program. Maps that are pinned are adopted after a check, others are created and pinned.
    pub(crate) fn load(pins: &Pins, sizes: &Sizes) -> Result<Self, Error> {
        for spec in &MAPS {
            // Socket storage wants type information, which the first object brings.
            if pins.open_map(spec)?.is_none() && spec.kind != MapKind::SkStorage {
                let map = sys::map_create(spec, sizes.of(spec)).context(|| format!("create map {}", spec.name))?;
                sys::pin(map.as_fd(), &pins.map(spec)).context(|| format!("pin map {}", spec.name))?;
            }
        }
        let (first, others) = OBJECTS.split_first().expect("there are objects");
        let mut by_name = load_object(first, pins, sizes)?;
        // Most of the time is the kernel's, which checks programs of several threads at once. Two are enough to halve it; each holds an object
        // in memory.
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let parts = others.chunks(others.len().div_ceil(2));
            let load =
                |part: &'static [Object]| part.iter().map(|one| load_object(one, pins, sizes)).collect::<Vec<_>>();
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || load(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("loading does not panic")).collect()
        });
        for programs in loaded {
            by_name.extend(programs?);
        }
        // Checked once more, as the objects might have been built of another version of the layout than this crate.
        for spec in &MAPS {
            pins.require_map(spec)?;
        }
        Ok(Self { by_name })
    }

    /// A loaded program.
    pub(crate) fn get(&self, name: &str) -> &OwnedFd {
        self.by_name.get(name).expect("every program is loaded at the start")
    }
}

fn load_object(
    &(object, bytes, programs): &Object,
    pins: &Pins,
    sizes: &Sizes,
) -> Result<BTreeMap<&'static str, OwnedFd>, Error> {
    let mut ebpf =
        loader(pins, sizes).load(bytes).map_err(|source| Error::Object { object, source: Box::new(source) })?;
    let load = |&program: &&'static str| {
        let fd = load_program(&mut ebpf, program);
        Ok((program, fd.map_err(|source| Error::Program { program, source: Box::new(source) })?))
    };
    programs.iter().map(load).collect()
}

fn loader<'a>(pins: &Pins, sizes: &Sizes) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    // The kernel's own type information, megabytes once parsed, is of no use: no program depends on a kernel's struct.
    loader.btf(None);
    for spec in &MAPS {
        loader.map_pin_path(spec.name, pins.map(spec));
        // Socket storage has no size, and that of arrays which programs index is part of the layout.
        if !matches!(spec.kind, MapKind::SkStorage | MapKind::RingBuf) {
            loader.map_max_entries(spec.name, sizes.of(spec));
        }
    }
    loader
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, ProgramError> {
    let not_loaded = || ProgramError::NotLoaded;
    let program = ebpf.program_mut(name).ok_or_else(not_loaded)?;
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSock(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    let fd = program.fd()?.as_fd().try_clone_to_owned();
    fd.map_err(ProgramError::IOError)
}
