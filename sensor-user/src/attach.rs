//! Where the programs are attached, and whether they still are.

mod mode;
mod places;

use std::{
    collections::HashMap,
    fs, mem,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::FdLink,
    tc::{SchedClassifierLink, TcAttachOptions},
    xdp::XdpLink,
};
use weir_sensor_common::interface::{Interface, RECEIVED};

use crate::{
    filter::{self, Clsact, Filter},
    interface::{self, Promiscuous},
    kernel::{self, Kernel, root},
    pin::{self, Pins},
};

pub use mode::{AttachMode, Direction, How, TcMode};
pub use places::places;

/// An interface with programs on it. They come off when it is dropped.
pub struct Port {
    /// Its name when it was attached to.
    pub name: String,
    /// Its ifIndex.
    pub ifindex: u32,
    /// How received packets are seen, if they are.
    pub received: Option<AttachMode>,
    /// Why not in a better way.
    pub reason: Option<String>,
    /// Whether sent packets are seen.
    pub sent: bool,
    /// Filters that dead sensors had left, and that were replaced or taken off.
    pub dead_filters: usize,
    links: Vec<FdLink>,
    filters: Vec<Filter>,
    /// After them.
    hook: Option<Clsact>,
    /// On for as long as it is here.
    promiscuous: Option<Promiscuous>,
}

/// What became of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The interface is gone, or another one has its name.
    Gone,
    /// It has another name.
    Renamed(String),
    /// Somebody took a program off.
    Detached,
}

impl Port {
    /// Attaches what sees received packets to an interface, which the programs know as `known`, and tells them
    /// once these are metered; [`Port::attach_sent`] comes after it.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn attach(
        kernel: &mut Kernel,
        name: &str,
        known: Interface,
        how: How,
        pins: Option<&Pins>,
    ) -> Result<Self> {
        let ifindex = known.ifindex;
        if let Some(reason) = kernel.filter_refusal(interface::is_raw(name)) {
            bail!("{name} cannot be metered: {reason}");
        }
        let mut port = Self {
            name: name.to_owned(),
            ifindex,
            received: None,
            reason: None,
            sent: false,
            dead_filters: 0,
            links: Vec::new(),
            filters: Vec::new(),
            hook: None,
            promiscuous: None,
        };
        if how.direction != Direction::Out {
            port.attach_received(kernel, how, pins)?;
            // At once: what is forwarded from here is metered where it leaves until then, too.
            kernel.set_interface(Interface {
                flags: known.flags | RECEIVED,
                ..known
            })?;
        }
        Ok(port)
    }

    /// Attaches the rest. What it sees sent may have been received on any interface: the programs are to have
    /// been told of all of them by then, or a packet on its way between two of them would be metered twice.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn attach_sent(
        &mut self,
        kernel: &mut Kernel,
        how: How,
        pins: Option<&Pins>,
    ) -> Result<()> {
        // What the loopback sends it also receives.
        if how.direction != Direction::In && !interface::is_loopback(&self.name) {
            self.attach_tc(kernel, how.tc, TcAttachType::Egress, pins)?;
            self.sent = true;
        }
        // Those at hooks that are not used now.
        self.dead_filters += filter::remove_dead(&self.name)?;
        if how.promiscuous && self.received.is_some() {
            // Without it unicast frames for others are missing, which a host does not want anyway.
            self.promiscuous = Promiscuous::on(self.ifindex).ok();
            if let Some(pins) = pins {
                pins.keep_promiscuous(self.ifindex, &self.name);
            }
        }
        Ok(())
    }

    fn attach_received(
        &mut self,
        kernel: &mut Kernel,
        how: How,
        pins: Option<&Pins>,
    ) -> Result<()> {
        let wanted = how.mode;
        if wanted == Some(AttachMode::Tc) {
            self.attach_tc(kernel, how.tc, TcAttachType::Ingress, pins)?;
            self.received = Some(AttachMode::Tc);
            return Ok(());
        }
        // What a sensor has left comes first: the kernel has one mode at a time on an interface.
        for mode in [AttachMode::Native, AttachMode::Generic] {
            if wanted.is_some_and(|wanted| wanted != mode) {
                continue;
            }
            let adopted = self.adopt_xdp(kernel, mode, pins);
            if adopted.map_err(|error| self.refused(&error))? {
                self.received = Some(mode);
                return Ok(());
            }
        }
        if wanted != Some(AttachMode::Generic) {
            match self.attach_xdp(kernel, AttachMode::Native, pins) {
                Ok(()) => {
                    self.received = Some(AttachMode::Native);
                    return Ok(());
                }
                Err(error) if busy(&error) => bail!(self.occupied(wanted, pins)),
                Err(error) if wanted == Some(AttachMode::Native) => bail!(
                    "{} takes no native XDP program ({}): leave out --xdp native",
                    self.name,
                    sentence(&error)
                ),
                Err(error) => self.reason = Some(sentence(&error)),
            }
        }
        match self.attach_xdp(kernel, AttachMode::Generic, pins) {
            Ok(()) => {
                self.received = Some(AttachMode::Generic);
                Ok(())
            }
            Err(error) if busy(&error) => bail!(self.occupied(wanted, pins)),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// Exchanges the programs in one step if a sensor has left its own in this mode; whether it has.
    fn adopt_xdp(
        &mut self,
        kernel: &mut Kernel,
        mode: AttachMode,
        pins: Option<&Pins>,
    ) -> Result<bool, ProgramError> {
        let path = pins.map(|pins| pins.link(self.ifindex, mode.hook()));
        let Some(left) = path.as_deref().and_then(pin::adopt) else {
            return Ok(false);
        };
        let program: &mut Xdp = kernel.program(Kernel::INGRESS)?.try_into()?;
        let link = XdpLink::try_from(left).ok();
        let Some(link) = link.and_then(|link| program.attach_to_link(link).ok()) else {
            return Ok(false);
        };
        let link = program.take_link(link)?;
        let link = FdLink::try_from(link).map_err(|_| ProgramError::NotLoaded)?;
        self.keep(link, pins, path, true)?;
        Ok(true)
    }

    fn attach_xdp(
        &mut self,
        kernel: &mut Kernel,
        mode: AttachMode,
        pins: Option<&Pins>,
    ) -> Result<(), ProgramError> {
        let program: &mut Xdp = kernel.program(Kernel::INGRESS)?.try_into()?;
        let xdp = if mode == AttachMode::Native {
            XdpMode::Driver
        } else {
            XdpMode::Skb
        };
        let link = program.attach_to_if_index(self.ifindex, xdp)?;
        let link = program.take_link(link)?;
        let link = FdLink::try_from(link).map_err(|_| ProgramError::NotLoaded)?;
        let path = pins.map(|pins| pins.link(self.ifindex, mode.hook()));
        self.keep(link, pins, path, false)
    }

    /// What is in the way of an XDP program, and what to do about it.
    fn occupied(&self, wanted: Option<AttachMode>, pins: Option<&Pins>) -> String {
        let name = &self.name;
        if let (Some(wanted), Some(pins)) = (wanted, pins) {
            for mode in [AttachMode::Native, AttachMode::Generic] {
                let hook = mode.hook();
                if mode != wanted && pins.link(self.ifindex, hook).exists() {
                    return format!(
                        "a weir-sensor has left its program on {name} as {mode}: start with --xdp {hook}, or take it off by `weir-sensor --detach --pin {}`",
                        pins.folder().display()
                    );
                }
            }
        }
        format!(
            "another XDP program is on {name}: `ip link show dev {name}` names it; weir_ingress is another weir-sensor's, which `weir-ctl shutdown` ends, and `ip link set dev {name} xdp off` takes others off"
        )
    }

    fn attach_tc(
        &mut self,
        kernel: &mut Kernel,
        mode: TcMode,
        at: TcAttachType,
        pins: Option<&Pins>,
    ) -> Result<()> {
        let name = if at == TcAttachType::Egress {
            Kernel::EGRESS
        } else {
            Kernel::TC_INGRESS
        };
        let attached = match mode {
            TcMode::Tcx => self.attach_link(kernel, name, at, pins),
            TcMode::Clsact => self.attach_filter(kernel, name, at, pins),
        };
        attached.map_err(|error| match error.downcast::<ProgramError>() {
            Ok(error) => self.refused(&error),
            Err(error) => anyhow!("cannot attach to {}: {error:#}", self.name),
        })
    }

    fn attach_link(
        &mut self,
        kernel: &mut Kernel,
        name: &str,
        at: TcAttachType,
        pins: Option<&Pins>,
    ) -> Result<()> {
        let program: &mut SchedClassifier = kernel.program(name)?.try_into()?;
        let path = pins.map(|pins| pins.link(self.ifindex, hook(name)));
        let adopted = path.as_deref().and_then(pin::adopt).and_then(|link| {
            program
                .attach_to_link(SchedClassifierLink::try_from(link).ok()?)
                .ok()
        });
        let was_adopted = adopted.is_some();
        let link = if let Some(link) = adopted {
            link
        } else {
            let last = TcAttachOptions::TcxOrder(LinkOrder::default());
            program.attach_with_options(&self.name, at, last)?
        };
        let link = program.take_link(link)?;
        let link = FdLink::try_from(link).map_err(|_| ProgramError::NotLoaded)?;
        self.keep(link, pins, path, was_adopted)?;
        Ok(())
    }

    fn attach_filter(
        &mut self,
        kernel: &mut Kernel,
        name: &str,
        at: TcAttachType,
        pins: Option<&Pins>,
    ) -> Result<()> {
        let program: &mut SchedClassifier = kernel.program(name)?.try_into()?;
        let added = Clsact::add(&self.name);
        if pins.is_some() {
            // It stays with the filters.
            mem::forget(added);
        } else if added.is_some() {
            // One before it is gone.
            mem::forget(mem::replace(&mut self.hook, added));
        }
        let (filter, replaced) = Filter::attach(program, &self.name, at, pins.is_some())?;
        self.dead_filters += usize::from(replaced);
        self.filters.push(filter);
        if let Some(pins) = pins {
            // There is nothing to pin, but it feeds the table.
            pins.uses(&pins.link(self.ifindex, &format!("{}-filter", hook(name))));
        }
        Ok(())
    }

    /// Keeps a link, and pins it where it is not pinned yet.
    fn keep(
        &mut self,
        link: FdLink,
        pins: Option<&Pins>,
        path: Option<PathBuf>,
        adopted: bool,
    ) -> Result<(), ProgramError> {
        if let (Some(pins), Some(path)) = (pins, &path) {
            pins.uses(path);
        }
        let link = match path {
            Some(path) if !adopted => {
                // One that is attached to nothing any more may be in the way.
                let _ = fs::remove_file(&path);
                FdLink::from(link.pin(path).map_err(|_| ProgramError::NotLoaded)?)
            }
            _ => link,
        };
        self.links.push(link);
        Ok(())
    }

    fn refused(&self, error: &ProgramError) -> anyhow::Error {
        anyhow!("cannot attach to {}: {}", self.name, sentence(error))
    }

    /// Takes the programs off, those too that were to stay. Pinned links come off by their pins.
    pub fn take_off(mut self) {
        self.filters.iter_mut().for_each(Filter::come_off);
    }

    /// What has changed since it was attached; `places` is from [`places()`].
    #[must_use]
    pub fn change(&self, places: &HashMap<u32, u32>) -> Option<Change> {
        let change = moved(self.ifindex, &self.name);
        if change == Some(Change::Gone) {
            return change;
        }
        let attached = self.links.iter().all(|link| {
            let id = link.info().map_or(0, |info| info.id());
            places.get(&id) == Some(&self.ifindex)
        }) && self.filters.iter().all(Filter::is_attached);
        if !attached {
            return Some(Change::Detached);
        }
        change
    }

    /// Whether several packets may come as one, which XDP then counts as one: in the driver it runs
    /// before they are merged.
    #[must_use]
    pub fn may_see_merged_packets(&self) -> bool {
        self.received == Some(AttachMode::Generic)
            && !interface::is_loopback(&self.name)
            && interface::merges_packets(&self.name)
    }

    /// Whether a guest's packets come as it leaves them to its card to cut up, which XDP counts as one even in the
    /// driver (tun.c).
    #[must_use]
    pub fn may_see_uncut_packets(&self) -> bool {
        matches!(
            self.received,
            Some(AttachMode::Native | AttachMode::Generic)
        ) && interface::takes_uncut_packets(&self.name)
    }

    /// Whether the card takes VLAN tags out of frames, which XDP then does not see.
    #[must_use]
    pub fn may_miss_vlan_tags(&self) -> bool {
        matches!(
            self.received,
            Some(AttachMode::Native | AttachMode::Generic)
        ) && Path::new("/sys/class/net")
            .join(&self.name)
            .join("device")
            .exists()
    }
}

/// What has become of an interface since it had this name, whatever is attached to it.
#[must_use]
pub fn moved(ifindex: u32, name: &str) -> Option<Change> {
    match interface::name(ifindex) {
        None => Some(Change::Gone),
        Some(now) => (now != name).then_some(Change::Renamed(now)),
    }
}

/// A tc program's hook, from its name.
fn hook(program: &str) -> &str {
    program.trim_start_matches("weir_")
}

fn busy(error: &ProgramError) -> bool {
    matches!(root(error).raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn sentence(error: &ProgramError) -> String {
    if let ProgramError::LoadError { .. } = error {
        return kernel::program_error(error, None).to_string();
    }
    let error = root(error);
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no XDP".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "no permission: run as root, or with CAP_BPF and CAP_NET_ADMIN".to_owned()
        }
        Some(libc::ENODEV) => "the interface is gone".to_owned(),
        _ => error.to_string(),
    }
}
