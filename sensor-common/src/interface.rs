//! The interfaces a program is attached to, where it is attached to several.

/// Length of the table of interfaces; two whose ifIndexes are equal modulo this cannot be metered
/// by one sensor.
pub const INTERFACES_MAX: u32 = 1 << 16;

/// The most interfaces a slot's observation point can tell apart.
pub const NUMBER_MAX: u8 = 126;

/// One of them; all zero if there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Interface {
    /// Its ifIndex.
    pub ifindex: u32,
    /// Its number in the sensor's list.
    pub number: u8,
    /// 1 if its frames have no Ethernet header.
    pub raw: u8,
    /// Nothing.
    pub reserved: [u8; 2],
}
