//! Words that both command lines share, and what they mean to the rest of the sensor.

use std::str::FromStr;

use clap::ValueEnum;
use weir_exporter::Version;
use weir_sensor_common::{Fields, KeyMask, tunnel::Tunnels};

use crate::attach::{AttachMode, Direction, TcMode};

/// `-i`: an interface, and perhaps the number it is exported under instead of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName {
    /// The number, if one is given.
    pub ifindex: Option<u16>,
    /// The interface's name.
    pub name: String,
}

impl FromStr for InterfaceName {
    type Err = String;

    /// `NAME` or `IFINDEX:NAME`; no interface of Linux has a colon in its name.
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, name) = text.split_once(':').unwrap_or(("", text));
        let ifindex = match number {
            "" => None,
            number => Some(number.parse().map_err(|_| {
                format!(
                    "`{number}` is no interface number: write NAME, or 0 to 65535, a colon and NAME"
                )
            })?),
        };
        if name.is_empty() {
            return Err("the interface's name is missing".to_owned());
        }
        Ok(Self {
            ifindex,
            name: name.to_owned(),
        })
    }
}

/// `-v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// NetFlow v1: IPv4 only, 32-bit counters, no sequence numbers
    #[value(name = "1")]
    V1,
    /// NetFlow v5: IPv4 only, 32-bit counters
    #[value(name = "5")]
    V5,
    /// NetFlow v9
    #[value(name = "9")]
    V9,
    /// IPFIX
    #[value(name = "10")]
    Ipfix,
    /// softflowd's packet samples (refused: only flows are exported)
    #[value(name = "psamp")]
    Psamp,
}

impl Format {
    /// Whether records have what templates say; the others have no place for IPv6.
    #[must_use]
    pub const fn has_templates(self) -> bool {
        matches!(self, Self::V9 | Self::Ipfix)
    }

    /// As the exporter has it.
    ///
    /// # Errors
    /// A sentence, if it has not.
    pub fn version(self) -> Result<Version, String> {
        match self {
            Self::V1 => Ok(Version::V1),
            Self::V5 => Ok(Version::V5),
            Self::V9 => Ok(Version::V9),
            Self::Ipfix => Ok(Version::Ipfix),
            Self::Psamp => Err(
                "-v psamp: packets are counted where they arrive, and none is copied, so there are none to send: -v 10 sends their flows (-s N of one packet in N), to any collector of IPFIX"
                    .to_owned(),
            ),
        }
    }
}

/// `-T`: softflowd's names, each level but the last adding to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Track {
    /// Addresses
    Ip,
    /// … and protocol
    Proto,
    /// … and ports (the same as full)
    Port,
    /// Addresses, protocol, ports
    Full,
    /// … and the outermost VLAN tag
    Vlan,
    /// … and ToS
    Tos,
    /// Addresses, protocol, ports, VLAN tag, and both MAC addresses, which records then carry
    Ether,
}

impl From<Track> for KeyMask {
    fn from(track: Track) -> Self {
        match track {
            Track::Ip => Self::IP,
            Track::Proto => Self::PROTO,
            Track::Port | Track::Full => Self::FULL,
            Track::Vlan => Self::VLAN,
            Track::Tos => Self::TOS,
            Track::Ether => Self::ETHER,
        }
    }
}

/// `--xdp`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum XdpMode {
    /// In the driver, or not at all
    Native,
    /// In the network stack
    Generic,
    /// Not by XDP but by tc, which also sees VLAN tags that the card took out
    Off,
}

impl From<XdpMode> for AttachMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
            XdpMode::Off => Self::Tc,
        }
    }
}

/// `--tc`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Tc {
    /// By links, before any filter
    Tcx,
    /// As filters of clsact, among others' by priority; they stay if the sensor is killed
    Clsact,
}

impl From<Tc> for TcMode {
    fn from(tc: Tc) -> Self {
        match tc {
            Tc::Tcx => Self::Tcx,
            Tc::Clsact => Self::Clsact,
        }
    }
}

/// `--direction`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Which {
    /// Those it receives
    In,
    /// Those it sends
    Out,
    /// All
    Both,
}

impl From<Which> for Direction {
    fn from(which: Which) -> Self {
        match which {
            Which::In => Self::In,
            Which::Out => Self::Out,
            Which::Both => Self::Both,
        }
    }
}

/// `--tunnels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tunnel {
    /// GRE, with IP, Ethernet or MPLS in it
    Gre,
    /// IPv4 or IPv6 in either
    Ipip,
    /// VXLAN, UDP port 4789
    Vxlan,
    /// Geneve, UDP port 6081
    Geneve,
    /// GTP-U, UDP port 2152
    Gtpu,
}

impl From<Tunnel> for Tunnels {
    fn from(tunnel: Tunnel) -> Self {
        match tunnel {
            Tunnel::Gre => Self::GRE,
            Tunnel::Ipip => Self::IPIP,
            Tunnel::Vxlan => Self::VXLAN,
            Tunnel::Geneve => Self::GENEVE,
            Tunnel::Gtpu => Self::GTPU,
        }
    }
}

/// `--fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Field {
    /// Source and destination MAC address
    Mac,
    /// Id of the second VLAN tag
    InnerVlan,
    /// The first four MPLS labels
    Mpls,
    /// IPv6 flow label
    FlowLabel,
    /// Source and destination of the tunnel that the flow's packets came through
    Outer,
}

impl From<Field> for Fields {
    fn from(field: Field) -> Self {
        match field {
            Field::Mac => Self::MAC,
            Field::InnerVlan => Self::INNER_VLAN,
            Field::Mpls => Self::MPLS,
            Field::FlowLabel => Self::FLOW_LABEL,
            Field::Outer => Self::OUTER,
        }
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_may_have_a_number_before_it() {
        let parse = |text: &str| text.parse::<InterfaceName>();
        let name = |ifindex, name: &str| {
            Ok(InterfaceName {
                ifindex,
                name: name.to_owned(),
            })
        };
        assert_eq!(parse("eth0"), name(None, "eth0"));
        assert_eq!(parse("7:eth0"), name(Some(7), "eth0"));
        assert_eq!(parse("65535:any"), name(Some(65_535), "any"));
        assert_eq!(parse(":eth0"), name(None, "eth0"));
        for wrong in ["", ":", "7:", "eth0:1", "65536:eth0", "-1:eth0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
