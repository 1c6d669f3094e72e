//! The kernel's memory that maps take.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Map, MapData};

use super::Options;
use super::shape::{self, Shape};

/// Memory of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapMemory {
    /// Its name.
    pub map: &'static str,
    /// Bytes that it takes, as the kernel says. Before Linux 6.4 that is what it would take if it were full.
    pub bytes: u64,
}

/// Most bytes of kernel memory that each map takes, with a policy of `filled` prefixes and as many port entries, on a host
/// with `cpus` possible CPUs.
pub fn expected(options: &Options, filled: u64, cpus: u64) -> Vec<MapMemory> {
    let of = |shape: Shape| MapMemory { map: shape.name, bytes: shape.memory_bytes(filled, cpus) };
    shape::of(options).into_iter().map(of).collect()
}

/// Descriptors of all maps, to ask the kernel by.
pub struct Meters(Vec<(&'static str, OwnedFd)>);

impl Meters {
    /// Of the maps of a loaded object.
    pub fn open(ebpf: &Ebpf, shapes: &[Shape]) -> anyhow::Result<Self> {
        let descriptor = |shape: &Shape| {
            let map =
                ebpf.map(shape.name).with_context(|| format!("the object has no map {}", shape.name))?;
            Ok((shape.name, data(map)?.fd().as_fd().try_clone_to_owned()?))
        };
        Ok(Self(shapes.iter().map(descriptor).collect::<anyhow::Result<_>>()?))
    }

    /// What each takes now.
    pub fn read(&self) -> anyhow::Result<Vec<MapMemory>> {
        let read = |(map, descriptor): &(&'static str, OwnedFd)| {
            let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
            let bytes = bytes.with_context(|| format!("{path} does not say what memory the map takes"))?;
            Ok(MapMemory { map, bytes: bytes.trim().parse()? })
        };
        self.0.iter().map(read).collect()
    }
}

fn data(map: &Map) -> anyhow::Result<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Ok(data),
        other => anyhow::bail!("{other:?} is of a kind that the programs have no use for"),
    }
}
