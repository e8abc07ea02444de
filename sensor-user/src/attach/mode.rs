//! How programs are attached, as it is wished.

use std::fmt;

use anyhow::{Result, bail};
use aya::util::KernelVersion;

use crate::{interface, kernel::Kernel};

/// How received packets are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the network stack, after an skb was made.
    Generic,
    /// By tc, after that: it also sees tags that the card took out, and merged packets.
    Tc,
}

impl AttachMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Tc];

    /// The hook in the names of pinned links, and for XDP also what `--xdp` calls it.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc_ingress",
        }
    }
}

impl fmt::Display for AttachMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Native => "native XDP",
            Self::Generic => "generic XDP",
            Self::Tc => "tc",
        })
    }
}

/// How tc's programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcMode {
    /// By links, which go with their process unless they are pinned (Linux 6.6).
    Tcx,
    /// As filters, see [`crate::filter`].
    Clsact,
}

impl TcMode {
    /// Links, if this kernel has them.
    #[must_use]
    pub fn of_kernel() -> Self {
        let tcx = KernelVersion::new(6, 6, 0);
        if KernelVersion::current().is_ok_and(|version| version >= tcx) {
            Self::Tcx
        } else {
            Self::Clsact
        }
    }
}

/// Which packets of an interface are metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those it receives.
    In,
    /// Those it sends.
    Out,
    /// All.
    Both,
}

/// How to attach to an interface.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// As wished; native, else generic, if there is no wish.
    pub mode: Option<AttachMode>,
    /// How tc's programs are attached.
    pub tc: TcMode,
    /// Which packets.
    pub direction: Direction,
    /// Whether to switch on promiscuous mode.
    pub promiscuous: bool,
    /// Whether what is received is dropped, and an interface that is in use therefore not metered.
    pub spares_used: bool,
}

impl How {
    /// Fails for an interface that is in use, where the programs drop what they have metered.
    ///
    /// # Errors
    /// A sentence that says what to do, also if the system does not tell.
    pub fn refuse_to_cut_off(self, name: &str) -> Result<()> {
        if self.spares_used
            && let Some(reason) = interface::in_use(name)?
        {
            bail!(
                "--drop would cut {name} off, which has {reason}; for a mirror port take these off it, or add --drop-anyway"
            );
        }
        Ok(())
    }

    /// Names of the programs that are attached.
    #[must_use]
    pub fn programs(self) -> Vec<&'static str> {
        let received = match self.mode {
            Some(AttachMode::Tc) => Kernel::TC_INGRESS,
            _ => Kernel::INGRESS,
        };
        match self.direction {
            Direction::In => vec![received],
            Direction::Out => vec![Kernel::EGRESS],
            Direction::Both => vec![received, Kernel::EGRESS],
        }
    }
}
