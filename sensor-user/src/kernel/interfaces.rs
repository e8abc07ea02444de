//! What the programs know of interfaces.

use anyhow::{Context as _, Result, bail};
use aya::maps::Array;
use weir_sensor_common::interface::{INTERFACES_MAX, Interface, RAW};

use super::Kernel;

impl Kernel {
    /// Tells the programs of an interface. Before anything is attached to it.
    ///
    /// # Errors
    /// If there is another with the same place in the table, or if it is the only one and has headers of another kind
    /// than when the programs were loaded: a tun device where a tap was.
    pub fn set_interface(&mut self, interface: Interface) -> Result<()> {
        let map = self.ebpf.map_mut("INTERFACES").context("map INTERFACES")?;
        let mut map: Array<_, u64> = map.try_into()?;
        if map.len() == 1 {
            return match (self.raw, interface.flags & RAW != 0) {
                (true, false) => bail!("it has Ethernet headers now: restart the sensor"),
                (false, true) => bail!("it has no Ethernet headers any more: restart the sensor"),
                _ => Ok(()),
            };
        }
        let place = interface.ifindex % INTERFACES_MAX;
        let there: Interface = bytemuck::cast(map.get(&place, 0)?);
        if there.ifindex != 0 && there.ifindex != interface.ifindex {
            bail!(
                "interfaces {} and {} cannot be metered by one sensor: start two",
                there.ifindex,
                interface.ifindex
            );
        }
        map.set(place, bytemuck::cast::<Interface, u64>(interface), 0)?;
        Ok(())
    }

    /// The same for an interface that has none of our programs, where its place is free.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_interface_if_free(&mut self, interface: Interface) -> Result<()> {
        let map = self.ebpf.map("INTERFACES").context("map INTERFACES")?;
        let map: Array<_, u64> = map.try_into()?;
        let place = interface.ifindex % INTERFACES_MAX;
        if map.len() > 1 && map.get(&place, 0)? == 0 {
            self.set_interface(interface)?;
        }
        Ok(())
    }

    /// Has the programs forget an interface, if they know it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget_interface(&mut self, ifindex: u32) -> Result<()> {
        let map = self.ebpf.map_mut("INTERFACES").context("map INTERFACES")?;
        let mut map: Array<_, u64> = map.try_into()?;
        if map.len() == 1 {
            return Ok(());
        }
        let place = ifindex % INTERFACES_MAX;
        let there: Interface = bytemuck::cast(map.get(&place, 0)?);
        if there.ifindex == ifindex {
            map.set(place, 0u64, 0)?;
        }
        Ok(())
    }
}
