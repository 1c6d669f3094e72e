//! Many entries of a map by one system call, BPF_MAP_*_BATCH of bpf(2), which aya does not have.
//!
//! Not every kernel has it for every kind of map. Where it has not, entries go one by one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Most entries of one system call: the kernel may stay in it for a millisecond or two.
const MOST_ENTRIES: usize = 4096;

/// linux/bpf.h, `enum bpf_cmd`.
mod command {
    pub const LOOKUP_ELEM: i32 = 1;
    pub const UPDATE_ELEM: i32 = 2;
    pub const DELETE_ELEM: i32 = 3;
    pub const GET_NEXT_KEY: i32 = 4;
    pub const LOOKUP_BATCH: i32 = 24;
    pub const UPDATE_BATCH: i32 = 26;
    pub const DELETE_BATCH: i32 = 27;
}

/// What the kernel says of a kind of map without batches; its own number, which libc does not know.
const ENOTSUPP: i32 = 524;

/// Elements one after another, as the kernel takes them.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> Packed<'a> {
    /// The bytes of `items`.
    pub const fn of<T: aya::Pod>(items: &'a [T]) -> Self {
        // SAFETY: Pod says that every byte of the type is initialised.
        let bytes = unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) };
        Self { bytes, stride: size_of::<T>() }
    }

    /// Elements of `stride` bytes each.
    pub const fn new(bytes: &'a [u8], stride: usize) -> Self {
        Self { bytes, stride }
    }

    const fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// The address of an element, for the kernel.
    fn address(&self, index: usize) -> u64 {
        self.bytes[index * self.stride..].as_ptr() as u64
    }
}

/// Writes `values` under `keys`, in this order. After an error some are written.
pub fn update(map: BorrowedFd<'_>, keys: Packed<'_>, values: Packed<'_>) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "one value for each key");
    let one = |index: usize| {
        let element = Element::new(map, keys.address(index), values.address(index));
        // SAFETY: a key and a value of this map.
        unsafe { bpf(command::UPDATE_ELEM, element) }.0
    };
    let many = |from: usize, count| {
        let batch = Batch::new(map, keys.address(from), values.address(from), count);
        // SAFETY: `count` keys and values of this map follow the two addresses.
        unsafe { bpf(command::UPDATE_BATCH, batch) }
    };
    each(keys.len(), one, many)
}

/// Deletes `keys`. What is absent is as good as deleted: a deletion may be repeated after a failure.
pub fn delete(map: BorrowedFd<'_>, keys: Packed<'_>) -> io::Result<()> {
    let one = |index: usize| {
        // SAFETY: a key of this map.
        match unsafe { bpf(command::DELETE_ELEM, Element::new(map, keys.address(index), 0)) }.0 {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    };
    let many = |from: usize, count| {
        let batch = Batch::new(map, keys.address(from), 0, count);
        // SAFETY: `count` keys of this map follow the address.
        match unsafe { bpf(command::DELETE_BATCH, batch) } {
            // It stopped at one that is not there; that one is done too.
            (Err(error), Batch { count, .. }) if error.kind() == io::ErrorKind::NotFound => {
                (Ok(()), Batch { count: count + 1, ..batch })
            }
            other => other,
        }
    };
    each(keys.len(), one, many)
}

/// Does something with `len` elements: `many` of them at a time, or, where the kernel refuses that, each `one`.
fn each(
    len: usize,
    one: impl Fn(usize) -> io::Result<()>,
    many: impl Fn(usize, usize) -> (io::Result<()>, Batch),
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        match many(done, (len - done).min(MOST_ENTRIES)) {
            (Ok(()), batch) => done += batch.count as usize,
            (Err(error), _) if is_unsupported(&error) => return (done..len).try_for_each(one),
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP))
}

/// All entries. Of a map that changes meanwhile some may be missing or twice; of one that changes too fast to be read,
/// an error.
///
/// # Safety
/// `K` and `V` are of the sizes of the map's keys and values, and any bytes are one.
pub unsafe fn read<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, capacity: u32) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let mut room = MOST_ENTRIES;
    let mut keys: Vec<MaybeUninit<K>> = Vec::new();
    let mut values: Vec<MaybeUninit<V>> = Vec::new();
    // Where the kernel goes on: a key, or the number of a hash's bucket.
    let mut cursor = vec![0_u8; size_of::<K>().max(size_of::<u32>())];
    let mut is_first = true;
    loop {
        keys.resize(room, MaybeUninit::uninit());
        values.resize(room, MaybeUninit::uninit());
        let out_batch = cursor.as_mut_ptr() as u64;
        let in_batch = if is_first { 0 } else { out_batch };
        let (keys_at, values_at) = (keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64);
        let batch = Batch { in_batch, out_batch, ..Batch::new(map, keys_at, values_at, room) };
        // SAFETY: there is room for `room` keys and values, and for a key or a bucket's number at the cursor.
        let (result, Batch { count, .. }) = unsafe { bpf(command::LOOKUP_BATCH, batch) };
        let ended = match result {
            Ok(()) => false,
            Err(error) if is_unsupported(&error) && is_first => {
                // SAFETY: the caller's promise.
                return unsafe { read_singly(map, capacity) };
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                // Deleted under its hands: what it has is good.
                Some(libc::EINTR) if count > 0 => false,
                // More entries in one bucket than there is room for.
                Some(libc::ENOSPC) if room <= capacity as usize => {
                    room *= 2;
                    continue;
                }
                _ => return Err(error),
            },
        };
        for (key, value) in keys.iter().zip(&values).take(count as usize) {
            // SAFETY: the kernel wrote the first `count` of each, and any bytes are one.
            entries.push(unsafe { (key.assume_init_read(), value.assume_init_read()) });
        }
        if ended {
            return Ok(entries);
        }
        check_growth(entries.len(), capacity)?;
        is_first = false;
    }
}

/// As [`read`], by two system calls an entry.
///
/// # Safety
/// As for [`read`].
unsafe fn read_singly<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    capacity: u32,
) -> io::Result<Vec<(K, V)>> {
    let mut entries: Vec<(K, V)> = Vec::new();
    let mut key: Option<K> = None;
    loop {
        let mut next = MaybeUninit::<K>::uninit();
        let before = key.as_ref().map_or(0, |key| std::ptr::from_ref(key) as u64);
        let step = Element::new(map, before, next.as_mut_ptr() as u64);
        // SAFETY: a key of this map, or none, and room for another.
        match unsafe { bpf(command::GET_NEXT_KEY, step) }.0 {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(error),
        }
        let mut value = MaybeUninit::<V>::uninit();
        let look = Element::new(map, next.as_ptr() as u64, value.as_mut_ptr() as u64);
        // SAFETY: the kernel wrote it, and any bytes are one.
        let next = *key.insert(unsafe { next.assume_init() });
        // SAFETY: a key of this map and room for a value.
        match unsafe { bpf(command::LOOKUP_ELEM, look) }.0 {
            // SAFETY: the kernel wrote it, and any bytes are one.
            Ok(()) => entries.push((next, unsafe { value.assume_init() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        check_growth(entries.len(), capacity)?;
    }
}

/// A walk over a trie begins anew where the key that it stands on is deleted.
fn check_growth(read: usize, capacity: u32) -> io::Result<()> {
    if read > 2 * capacity as usize {
        return Err(io::Error::other("the map changes faster than it can be read"));
    }
    Ok(())
}

/// linux/bpf.h, `bpf_attr` of commands on one element.
#[repr(C)]
#[derive(Clone, Copy)]
struct Element {
    map_fd: u32,
    zero: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

impl Element {
    fn new(map: BorrowedFd<'_>, key: u64, value_or_next_key: u64) -> Self {
        Self { map_fd: number(map), zero: 0, key, value_or_next_key, flags: 0 }
    }
}

/// linux/bpf.h, `bpf_attr` of commands on many elements.
#[repr(C)]
#[derive(Clone, Copy)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// In: how many there are. Out: how many are done.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl Batch {
    fn new(map: BorrowedFd<'_>, keys: u64, values: u64, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self { in_batch: 0, out_batch: 0, keys, values, count, map_fd: number(map), elem_flags: 0, flags: 0 }
    }
}

fn number(map: BorrowedFd<'_>) -> u32 {
    map.as_raw_fd().unsigned_abs()
}

/// One call; returns what the kernel made of the attributes, too.
///
/// # Safety
/// The attributes are of the command, and what they point to lives and is as large as they say.
unsafe fn bpf<T>(command: i32, mut attributes: T) -> (io::Result<()>, T) {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, (&raw mut attributes), size_of::<T>()) };
    let result = if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    (result, attributes)
}
