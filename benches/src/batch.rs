//! The kernel's hash map read by batches (Linux 5.6), the quickest way there is to one from user space: what
//! a sweep of Weir's mapped table is compared with.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;

/// Entries asked for at a time. From a thousand to a hundred thousand it makes no difference.
const ENTRIES: u32 = 4096;
/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_long = 24;

/// `union bpf_attr` as that command reads it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads all entries of a hash map, and returns how many they were.
pub fn read_all(map: &MapData) -> Result<u64> {
    let info = map.info()?;
    // Values lie as far apart as the kernel keeps them.
    let value_octets = info.value_size().next_multiple_of(8);
    let mut keys = vec![0u8; (ENTRIES * info.key_size()) as usize];
    let mut values = vec![0u8; (ENTRIES * value_octets) as usize];
    // The next bucket's number.
    let mut position = 0u32;
    let mut entries = 0;
    loop {
        let at = (&raw mut position) as u64;
        let mut attributes = Attributes {
            in_batch: if entries == 0 { 0 } else { at },
            out_batch: at,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: ENTRIES,
            map_fd: u32::try_from(map.fd().as_fd().as_raw_fd()).context("a descriptor")?,
            ..Attributes::default()
        };
        // SAFETY: the kernel reads the attributes, and writes them, the position and no more than `count` keys and
        // values of the sizes it told.
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_BATCH,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        };
        let error = io::Error::last_os_error();
        entries += u64::from(attributes.count);
        match (outcome, error.raw_os_error()) {
            (0, _) => {}
            // The last ones.
            (_, Some(libc::ENOENT)) => return Ok(entries),
            _ => bail!("reading a hash map by batches: {error}"),
        }
    }
}
