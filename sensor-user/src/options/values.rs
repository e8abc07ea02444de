//! Words that both command lines share, and what they mean to the rest of the sensor.

use std::{net::IpAddr, str::FromStr};

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

/// `-P`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// UDP
    #[default]
    Udp,
    /// TCP
    Tcp,
    /// SCTP
    Sctp,
}

/// `-A`: the unit of absolute times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Seconds
    Sec,
    /// Milliseconds
    Milli,
    /// Microseconds
    Micro,
    /// Nanoseconds
    Nano,
}

/// How records are to leave, beyond format and collectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Wishes {
    /// Transport of the datagrams; over TCP a collector that is away is looked for until it is back
    #[arg(
        short = 'P',
        long,
        value_name = "PROTOCOL",
        default_value = "udp",
        ignore_case = true,
        help_heading = "Export"
    )]
    pub transport: Transport,

    /// Give each datagram to one collector, in turn, instead of to all
    #[arg(short = 'l', long, help_heading = "Export")]
    pub balance: bool,

    /// One record for both directions of a conversation (RFC 5103, with -v 10)
    #[arg(short = 'b', long, help_heading = "Export")]
    pub biflow: bool,

    /// Absolute times in records, in this unit (with -v 9 or 10; left out: since the sensor's start in
    /// -v 9, milliseconds in -v 10)
    #[arg(
        short = 'A',
        long,
        value_name = "UNIT",
        ignore_case = true,
        help_heading = "Export"
    )]
    pub absolute_time: Option<TimeUnit>,

    /// MPLS labels in records, 0 to 10 (with -v 9 or 10); those after the fourth are 0
    #[arg(short = 'x', long, value_name = "LABELS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10), help_heading = "Export")]
    pub mpls_labels: u8,

    /// TTL or hop limit of the datagrams (left out: the system's)
    #[arg(short = 'L', long, value_name = "HOPS", help_heading = "Export")]
    pub hop_limit: Option<u8>,

    /// Differentiated services code point of the datagrams, 0 to 63
    #[arg(long, value_name = "DSCP", value_parser = clap::value_parser!(u8).range(0..=63), help_heading = "Export")]
    pub dscp: Option<u8>,

    /// Interface the datagrams leave by
    #[arg(short = 'S', long, value_name = "IF", help_heading = "Export")]
    pub device: Option<String>,

    /// Address the datagrams are sent from
    #[arg(short = 'e', long, value_name = "ADDRESS", help_heading = "Export")]
    pub exporter_address: Option<IpAddr>,
}

impl Wishes {
    /// What is asked for and not done, as a sentence.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        (self.transport == Transport::Sctp).then_some(
            "-P sctp: no collector in use takes it, and nothing here sends it: leave -P out, or use -P tcp",
        )
    }
}

/// Flags that softflowd has and that cannot mean anything here.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct WithoutEffect {
    /// IPv6 is always metered
    #[arg(
        short = '6',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub track_ipv6: bool,

    /// Capture files always go by their packets' time
    #[arg(
        short = 'a',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub packet_time: bool,

    /// There is no capture buffer: packets are metered where they arrive
    #[arg(
        short = 'B',
        long,
        value_name = "OCTETS",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub pcap_buffer: Option<u64>,

    /// There is no snapshot length: headers are read as far as they go
    #[arg(
        short = 'C',
        long,
        value_name = "OCTETS",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub snaplen: Option<u64>,

    /// Each CPU meters its own packets anyway
    #[arg(
        short = 'M',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub threads: bool,

    /// The direction in records is the interface's own, received or sent
    #[arg(short = 'H', long, value_name = "MAC", value_parser = mac, help_heading = "Without effect, for softflowd's users")]
    pub direction_mac: Option<String>,

    /// Times are right across the wrap of sysUptime, which so need not be restarted
    #[arg(
        short = 'I',
        long,
        value_name = "TIME",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub uptime_restart: Option<String>,
}

impl WithoutEffect {
    /// A sentence for each that is given; `read` if a capture file is metered.
    #[must_use]
    pub fn notes(&self, read: bool) -> Vec<String> {
        let given = [
            (self.track_ipv6, "-6", "IPv6 is always metered"),
            (
                self.packet_time && !read,
                "-a",
                "interfaces are metered by the clock, capture files by their packets' time",
            ),
            (
                self.pcap_buffer.is_some(),
                "-B",
                "packets are metered where they arrive, not buffered",
            ),
            (
                self.snaplen.is_some(),
                "-C",
                "headers are read as far as they go",
            ),
            (self.threads, "-M", "each CPU meters its own packets anyway"),
            (
                self.direction_mac.is_some(),
                "-H",
                "the direction in records is the interface's own, received or sent",
            ),
            (
                self.uptime_restart.is_some(),
                "-I",
                "times are right across the wrap of sysUptime",
            ),
        ];
        given
            .into_iter()
            .filter(|(given, _, _)| *given)
            .map(|(_, flag, why)| format!("{flag} is without effect: {why}"))
            .collect()
    }
}

/// Six octets in hexadecimal, with colons or hyphens between them.
///
/// # Errors
/// A sentence, if it is something else.
pub fn mac(text: &str) -> Result<String, String> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let is_octet = |octet: &&str| {
        matches!(octet.len(), 1 | 2) && octet.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    if octets.len() == 6 && octets.iter().all(is_octet) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no MAC address: write 02:00:5e:10:00:01"
        ))
    }
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

    #[test]
    fn mac_addresses_have_six_octets() {
        for right in ["02:00:5e:10:00:01", "2-0-5E-10-0-1"] {
            assert_eq!(mac(right).as_deref(), Ok(right));
        }
        for wrong in ["", "02:00:5e:10:00", "02:00:5e:10:00:1g", "+2:0:0:0:0:1"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
