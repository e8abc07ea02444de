//! How records leave, and by which clock.

use std::{io, net::SocketAddr};

use weir_exporter::{Destination, Stream, Way, batch::BatchOptions, destination::Carrier};
use weir_sensor_common::KeyMask;

use crate::pair::Pairing;

/// Which clock the export follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    Live,
    /// That of the packets, given with each batch.
    Packets,
}

/// How records leave.
#[derive(Clone, Debug)]
pub struct How {
    /// How datagrams are made.
    pub batch: BatchOptions,
    /// How they go.
    pub way: Way,
    /// By TCP instead of UDP.
    pub by_stream: bool,
    /// Each goes to one collector, in turn, instead of to all.
    pub in_turn: bool,
    /// What becomes of the directions of a conversation; `None`: each is by itself.
    pub pairing: Option<Pairing>,
    /// Which attributes tell flows apart, and so conversations.
    pub key_mask: KeyMask,
    /// Collectors are told, in options, what was sent and lost, and what interfaces are called.
    pub announces: bool,
}

impl How {
    /// By UDP, to all; the 5-tuple tells flows apart.
    #[must_use]
    pub fn new(batch: BatchOptions) -> Self {
        Self {
            batch,
            way: Way::default(),
            by_stream: false,
            in_turn: false,
            pairing: None,
            key_mask: KeyMask::FULL,
            announces: false,
        }
    }

    pub(super) fn carrier(&self, address: SocketAddr, waits: bool) -> io::Result<Box<dyn Carrier>> {
        if self.by_stream && !waits {
            return Ok(Box::new(Stream::later(address, self.way.clone())));
        }
        if self.by_stream {
            return Ok(Box::new(Stream::connect(address, self.way.clone())?));
        }
        Ok(Box::new(Destination::connect_by(address, &self.way)?))
    }
}
