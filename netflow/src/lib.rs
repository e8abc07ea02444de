//! The flow [`record`] every version can carry, and the wire formats: NetFlow v1, v5, v7, v8 and v9 (RFC 3954),
//! IPFIX (RFC 7011), and [`sflow`] version 5. It does no I/O, reads no clock and keeps no state about peers:
//! datagrams come as octets, times as arguments, templates as values the caller stores.
//!
//! The older formats have one layout each ([`v1`], [`v5`], [`v7`]) or one a scheme ([`v8`]); what they share is in
//! [`fixed`]. In [`v9`] and [`ipfix`] a datagram is cut into sets ([`set`]), some of them define templates
//! ([`template`]), and by those the others are read: flows by [`data`], what an exporter says about itself by
//! [`options`]. The way out: records are written by a [`flow_template`], whose fields a [`layout`] and what is
//! [`optional`] choose; what ours says of itself is in [`announce`], as softflowd says it in [`softflowd`].
//! [`element`]s are numbers, [`time`] and [`sampling`] the ways to tell when, and of how many packets.

pub mod announce;
pub mod data;
pub mod element;
pub mod fixed;
pub mod flow_template;
pub mod ipfix;
pub mod layout;
pub mod optional;
pub mod options;
pub mod plain;
pub mod record;
mod role;
mod said;
pub mod sampling;
pub mod set;
pub mod sflow;
pub mod softflowd;
pub mod template;
pub mod time;
pub mod v1;
pub mod v5;
pub mod v7;
pub mod v8;
pub mod v9;
mod when;

pub use layout::Layout;
pub use optional::Optional;
pub use record::{Direction, EndReason, FlowRecord, Reverse};
pub use sampling::Sampling;
pub use time::{ExportTime, TimeBase};

/// The low 32 bits, where a format wraps by definition.
#[must_use]
pub const fn low32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Why octets are not a datagram of the version they claim. Offsets count from the datagram's
/// first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its header does.
    #[error("{octets} octets are too short for a header")]
    TooShort {
        /// Octets received.
        octets: usize,
    },
    /// The version is not the decoder's.
    #[error("version {version} is not known")]
    Version {
        /// The version field.
        version: u16,
    },
    /// A v8 aggregation whose layout is not known.
    #[error("aggregation {scheme} of version {version} is not known")]
    Aggregation {
        /// The aggregation field.
        scheme: u8,
        /// The version of the aggregation.
        version: u8,
    },
    /// A count of records that the octets do not hold.
    #[error("count {count} does not fit {octets} octets")]
    Count {
        /// The count field.
        count: u16,
        /// Octets received.
        octets: usize,
    },
    /// An IPFIX message whose length is below its own header or beyond the datagram.
    #[error("message length {length} does not fit {octets} octets")]
    MessageLength {
        /// The length field.
        length: u16,
        /// Octets received.
        octets: usize,
    },
    /// A set whose length is below its own header or beyond the datagram.
    #[error("set length {length} at octet {offset} is out of range")]
    SetLength {
        /// The length field.
        length: u16,
        /// Where the set begins.
        offset: usize,
    },
    /// A sample of sFlow that goes beyond the datagram.
    #[error("sample {number} at octet {offset} goes beyond the datagram")]
    Sample {
        /// Which, from 0.
        number: u32,
        /// Where it begins.
        offset: usize,
    },
    /// A template definition that contradicts the set it is in.
    #[error("template {id} at octet {offset}: {reason}")]
    Template {
        /// The template's id.
        id: u16,
        /// Where the definition begins.
        offset: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Big-endian reads from a slice.
pub(crate) mod read {
    /// Zero beyond the end, for callers that have checked the length.
    #[inline]
    pub fn u16(octets: &[u8], at: usize) -> u16 {
        octets
            .get(at..at + 2)
            .map_or(0, |field| u16::from_be_bytes([field[0], field[1]]))
    }

    /// Likewise.
    #[inline]
    pub fn u32(octets: &[u8], at: usize) -> u32 {
        octets.get(at..at + 4).map_or(0, |field| {
            u32::from_be_bytes([field[0], field[1], field[2], field[3]])
        })
    }

    /// An unsigned number of any width (RFC 7011 section 6.2 allows each); of wider ones the low end.
    pub fn number(octets: &[u8]) -> u64 {
        match *octets {
            [a] => u64::from(a),
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => octets
                .iter()
                .fold(0, |number, octet| number << 8 | u64::from(*octet)),
        }
    }

    /// A float of either size: float64 may be sent as float32 (RFC 7011 section 6.2).
    pub fn float(octets: &[u8]) -> f64 {
        match *octets {
            [a, b, c, d] => f64::from(f32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => 0.0,
        }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn numbers_of_each_width_are_read() {
            let octets = [1, 2, 3, 4, 5, 6, 7, 8, 9];
            let expected = [
                0,
                1,
                0x0102,
                0x01_0203,
                0x0102_0304,
                0x01_0203_0405,
                0x0102_0304_0506,
                0x01_0203_0405_0607,
                0x0102_0304_0506_0708,
                0x0203_0405_0607_0809,
            ];
            for (width, number) in expected.into_iter().enumerate() {
                assert_eq!(super::number(&octets[..width]), number, "{width} octets");
            }
        }
    }
}
