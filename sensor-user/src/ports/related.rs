//! Interfaces that the programs are told of because of others: those that stand on metered ones or below
//! them, and those that dead sensors metered.

use std::mem;

use anyhow::Result;
use weir_sensor_common::interface::{Interface, RECEIVED};

use super::{Entry, Ports, Wanted, numbered};
use crate::{interface, kernel::Kernel};

impl Ports {
    /// Tells the programs where dead sensors' meter what is received, before the first of those is
    /// exchanged: what is forwarded from there is in a dead sensor's table.
    pub(super) fn announce_dead(&mut self, kernel: &mut Kernel) -> Result<()> {
        let Some(pins) = &self.pins else {
            return Ok(());
        };
        for ifindex in pins.received_by_dead() {
            let name = interface::name(ifindex);
            let uppers = name.map_or_else(Vec::new, |name| interface::uppers(&name));
            let uppers = uppers.iter().filter_map(|name| interface::ifindex(name));
            self.received_by_dead.push(ifindex);
            self.received_by_dead.extend(uppers);
        }
        for ifindex in &self.received_by_dead {
            // Its number is not asked for before our programs are there.
            kernel.set_interface_if_free(Interface {
                ifindex: *ifindex,
                flags: RECEIVED,
                ..Interface::default()
            })?;
        }
        Ok(())
    }

    /// Has the programs forget what only dead sensors' metered, which are off now.
    pub(super) fn forget_dead(&mut self, kernel: &mut Kernel) -> Result<()> {
        for ifindex in mem::take(&mut self.received_by_dead) {
            let is_it = |entry: &Entry| entry.port.is_some() && entry.ifindex == ifindex;
            let Some(number) = self.entries.iter().position(is_it) else {
                if !self.related.iter().any(|known| known.ifindex == ifindex) {
                    kernel.forget_interface(ifindex)?;
                }
                continue;
            };
            let Entry { name, port, .. } = &self.entries[number];
            if port.as_ref().is_some_and(|port| port.received.is_none()) {
                kernel.set_interface(numbered(number, name, ifindex)?)?;
            }
        }
        Ok(())
    }

    /// What the programs are to know besides, because of the interface of this number. The kernel says
    /// of a packet where it was received last: on a bridge, bond or VLAN that stands on a metered one.
    /// And a bond's programs run for the interfaces below it.
    pub(super) fn related_to(&self, number: usize) -> Result<Vec<Interface>> {
        let mut related = Vec::new();
        let port = self.entries[number].port.as_ref();
        let Some(port) = port.filter(|port| port.received.is_some()) else {
            return Ok(related);
        };
        let mut names = interface::uppers(&port.name);
        if interface::is_bond(&port.name) {
            names.extend(interface::lowers(&port.name));
        }
        for ifindex in names.iter().filter_map(|name| interface::ifindex(name)) {
            let mut other = numbered(number, &port.name, ifindex)?;
            other.flags |= RECEIVED;
            if !self.is_metered(ifindex) {
                related.push(other);
            }
        }
        Ok(related)
    }

    /// Tells the programs of interfaces, each once.
    pub(super) fn relate(&mut self, kernel: &mut Kernel, related: Vec<Interface>) -> Result<()> {
        for other in related {
            let same = |known: &Interface| known.ifindex == other.ifindex;
            if !self.related.iter().any(same) {
                kernel.set_interface_if_free(other)?;
                self.related.push(other);
            }
        }
        Ok(())
    }

    /// Tells the programs of interfaces that have come to stand on metered ones, and has them forget
    /// those that do not any more: their ifIndexes may come to be others'.
    pub(super) fn follow_related(&mut self, kernel: &mut Kernel) -> Result<()> {
        if matches!(&self.wanted, Wanted::Named(names) if names.len() == 1) {
            return Ok(());
        }
        let mut now = Vec::new();
        for number in 0..self.entries.len() {
            now.extend(self.related_to(number)?);
        }
        let before = mem::take(&mut self.related);
        let (kept, over): (Vec<_>, _) = before.into_iter().partition(|known| now.contains(known));
        self.related = kept;
        for Interface { ifindex, .. } in over {
            if !self.is_metered(ifindex) {
                kernel.forget_interface(ifindex)?;
            }
        }
        self.relate(kernel, now)
    }
}
