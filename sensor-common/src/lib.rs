//! The words that Weir's kernel program and its user space share, and the two algorithms that both must run
//! alike. A frame, whoever holds it ([`packet`]), becomes a flow [`key`] or the reason why not in [`walk`], which
//! knows [`tunnel`]s, [`fragment`]s and what else is read on request ([`extra`]). The
//! [`table`] accounts what it found in the [`slot`] that its [`hash`] leads to; in a large table it waits in the queue
//! of its CPU ([`stage`]) before.
//! [`handover`] is the table's other half: how user space takes a flow out, and the argument why no packet of it
//! is lost or counted twice. [`counters`] name what becomes of every packet, [`interface`] where it was seen.
//!
//! It is `no_std`, has no dependency, does no I/O, reads no clock and knows neither aya nor a socket: the XDP
//! program, the pcap reader, the unit tests, the model test and the fuzzer compile this same source.
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
pub mod switches;
pub mod table;
pub mod tunnel;
pub mod walk;

pub use counters::Counter;
pub use extra::{Extra, Fields};
pub use key::{FlowKey, KeyMask};
pub use packet::Packet;
pub use slot::{Slot, SlotWords};
pub use switches::Switches;
pub use walk::{Unmetered, Walked};
