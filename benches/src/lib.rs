//! What `weir-bench` and the benches share: frames out of an interface at a rate, receivers at the
//! other end of a veth pair, and what both cost. It decides nothing about which figures are good.
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

pub mod cpu;
pub mod interrupt;
pub mod live;
