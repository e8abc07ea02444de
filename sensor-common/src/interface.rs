//! The interfaces a program is attached to, where it is attached to several.

/// Length of the table of interfaces; two whose ifIndexes are equal modulo this cannot be metered
/// by one sensor.
pub const INTERFACES_MAX: u32 = 1 << 16;

/// The most interfaces a slot's observation point can tell apart.
pub const NUMBER_MAX: u8 = 126;

/// One of them; all zero if there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Interface {
    /// Its ifIndex.
    pub ifindex: u32,
    /// Its number in the sensor's list.
    pub number: u8,
    /// [`RAW`] and [`RECEIVED`].
    pub flags: u8,
    /// Nothing.
    pub reserved: [u8; 2],
}

/// Its frames have no Ethernet header.
pub const RAW: u8 = 1;
/// What it receives is metered: here, or on an interface that it stands on.
pub const RECEIVED: u8 = 1 << 1;

impl Interface {
    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
