//! The words that Weir's kernel program and its user space share, and the two algorithms that
//! both must run alike: the header walk (frame → flow key, or a reason why not) and the flow
//! table (account a packet; hand a flow over). It is `no_std`, has no dependency, does no I/O,
//! reads no clock and knows neither aya nor a socket: the XDP program, the pcap reader, the unit
//! tests, the model test and the fuzzer compile this same source.
#![no_std]

pub mod counters;
pub mod extra;
pub mod fragment;
pub mod handover;
pub mod hash;
pub mod interface;
pub mod key;
pub mod packet;
pub mod slot;
pub mod stage;
pub mod table;
pub mod tunnel;
pub mod walk;

pub use counters::Counter;
pub use extra::{Extra, Fields};
pub use key::{FlowKey, KeyMask};
pub use packet::Packet;
pub use slot::{Slot, SlotWords};
pub use walk::{Unmetered, Walked};
