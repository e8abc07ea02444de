//! Numbers out of octets and into them, the low octet first. Beyond the end they are zero, for callers that
//! have checked the length.

pub fn u16(octets: &[u8], at: usize) -> u16 {
    array(octets, at).map_or(0, u16::from_le_bytes)
}

pub fn u32(octets: &[u8], at: usize) -> u32 {
    array(octets, at).map_or(0, u32::from_le_bytes)
}

pub fn u64(octets: &[u8], at: usize) -> u64 {
    array(octets, at).map_or(0, u64::from_le_bytes)
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

pub fn put_u16(octets: &mut Vec<u8>, number: u16) {
    octets.extend_from_slice(&number.to_le_bytes());
}

pub fn put_u32(octets: &mut Vec<u8>, number: u32) {
    octets.extend_from_slice(&number.to_le_bytes());
}

pub fn put_u64(octets: &mut Vec<u8>, number: u64) {
    octets.extend_from_slice(&number.to_le_bytes());
}
