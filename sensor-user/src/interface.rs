//! What the system says about interfaces: names, numbers, link layers, addresses and routes. Read
//! only; nothing is changed here but promiscuous mode.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    ptr,
};

use anyhow::{Context as _, Result, bail};

use crate::netlink;

const FOLDER: &str = "/sys/class/net";

/// ARPHRD numbers of frames with an Ethernet header (`linux/if_arp.h`): Ethernet and loopback.
const ETHERNET: [u32; 2] = [1, 772];

/// `SIOCETHTOOL` and `SIOCGIFFLAGS` (linux/sockios.h), in the type that this C library's ioctl(2) takes.
const ETHTOOL: libc::Ioctl = 0x8946;
const GET_FLAGS: libc::Ioctl = 0x8913;
/// `IFF_PROMISC` (linux/if.h).
const PROMISCUOUS: libc::c_short = 0x100;

/// An interface's number, or `None` if none has this name as its own.
#[must_use]
pub fn ifindex(name: &str) -> Option<u32> {
    let ifindex = ifindex_by_any_name(name)?;
    // Else another one's alternative name would be taken for that of one that is gone.
    (self::name(ifindex).as_deref() == Some(name)).then_some(ifindex)
}

/// The name of its own of an interface that is called so; the same if there is none. It may have alternative ones (Linux
/// 5.5; udev gives them), which neither /sys nor the lists of addresses and routes know.
#[must_use]
pub fn own_name(name: &str) -> String {
    let own = ifindex_by_any_name(name).and_then(self::name);
    own.unwrap_or_else(|| name.to_owned())
}

fn ifindex_by_any_name(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the pointer is to a terminated string that outlives the call.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (ifindex != 0).then_some(ifindex)
}

/// An interface's name, or `None` if there is no such number.
#[must_use]
pub fn name(ifindex: u32) -> Option<String> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size the call asks for.
    let name = unsafe { libc::if_indextoname(ifindex, buffer.as_mut_ptr().cast()) };
    if name.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&buffer).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// What an administrator wrote beside its name (`ip link set … alias`); `None` if nothing.
#[must_use]
pub fn description(name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(FOLDER).join(name).join("ifalias")).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Frames that the card had no room for, as it counts them since it came up; 0 if it does not, `None` if there is no such
/// interface.
#[must_use]
pub fn missed(name: &str) -> Option<u64> {
    let folder = Path::new(FOLDER).join(name).join("statistics");
    let count = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let files = ["rx_missed_errors", "rx_fifo_errors"];
    folder
        .exists()
        .then(|| files.into_iter().filter_map(count).sum())
}

/// Whether its frames have no Ethernet header.
#[must_use]
pub fn is_raw(name: &str) -> bool {
    let kind = fs::read_to_string(Path::new(FOLDER).join(name).join("type"));
    let kind = kind.ok().and_then(|kind| kind.trim().parse().ok());
    kind.is_some_and(|kind: u32| !ETHERNET.contains(&kind))
}

/// Whether it is the loopback, whose packets are sent and received by the same interface.
#[must_use]
pub fn is_loopback(name: &str) -> bool {
    fs::read_to_string(Path::new(FOLDER).join(name).join("type"))
        .is_ok_and(|kind| kind.trim() == "772")
}

/// Whether it merges packets that it receives before anything else sees them (GRO), as
/// `ethtool -k` shows it.
#[must_use]
pub fn merges_packets(name: &str) -> bool {
    /// `struct ethtool_value` and `ETHTOOL_GGRO` (linux/ethtool.h).
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const GET_GRO: u32 = 0x2b;
    let mut value = Value {
        command: GET_GRO,
        data: 0,
    };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    ask(ETHTOOL, &mut request).is_ok() && value.data != 0
}

/// Whether it is a tap whose guest may leave packets to be cut up (`IFF_VNET_HDR`, linux/if_tun.h).
#[must_use]
pub fn takes_uncut_packets(name: &str) -> bool {
    const VNET_HDR: u32 = 0x4000;
    let flags = fs::read_to_string(Path::new(FOLDER).join(name).join("tun_flags"));
    let flags = flags.ok().and_then(|flags| {
        let digits = flags.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    });
    flags.is_some_and(|flags| flags & VNET_HDR != 0)
}

/// Whether promiscuous mode is switched on for good (`ip link set … promisc on`); not whether a socket wants it.
///
/// # Errors
/// What the kernel says.
pub fn is_promiscuous(name: &str) -> io::Result<bool> {
    let mut request = request(name);
    ask(GET_FLAGS, &mut request)?;
    // SAFETY: any octets are a number.
    Ok(unsafe { request.ifr_ifru.ifru_flags } & PROMISCUOUS != 0)
}

/// Switches promiscuous mode on for good, or off again, where no socket wants it. By rtnetlink(7), which changes this
/// one flag: an ioctl sets all of them as they were when it asked, and so takes down what somebody has put up since.
///
/// # Errors
/// What the kernel says.
pub fn set_promiscuous(ifindex: u32, is_on: bool) -> io::Result<()> {
    let flag = u32::from(PROMISCUOUS.cast_unsigned());
    let link = [0, ifindex, if is_on { flag } else { 0 }, flag];
    let body: Vec<u8> = link.iter().flat_map(|word| word.to_ne_bytes()).collect();
    netlink::order(libc::RTM_NEWLINK, &body)
}

/// What is asked of an interface, so far its name only.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: an all-zero value is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let octets = name.len().min(request.ifr_name.len() - 1);
    let place = request.ifr_name.as_mut_ptr().cast::<u8>();
    // SAFETY: both have as many octets, and the place's last one stays 0.
    unsafe { place.copy_from_nonoverlapping(name.as_ptr(), octets) };
    request
}

fn ask(what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor of our own.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the request is valid, and so is what it points to.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, ptr::from_mut(request)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The interfaces that `-i any` means: all but those that stand on others (bridges, bonds, VLANs),
/// where the same packets pass a second time. A bridge or a bond does even while there is none below it: once there is a
/// program on it, the kernel takes none on what is put below, or does not put it there.
///
/// # Errors
/// If the system does not list them.
pub fn all() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(FOLDER).with_context(|| format!("cannot list {FOLDER}"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if entry.path().is_dir() && !stands_on_others(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether it stands on other interfaces, or is there to.
#[must_use]
pub fn stands_on_others(name: &str) -> bool {
    let is_bridge = Path::new(FOLDER).join(name).join("bridge").exists();
    is_bridge || is_bond(name) || !lowers(name).is_empty()
}

/// Whether it is a bond, whose programs run for the interfaces below it.
#[must_use]
pub fn is_bond(name: &str) -> bool {
    Path::new(FOLDER).join(name).join("bonding").exists()
}

/// The interfaces that stand on this one, and on those: bridges, bonds, VLANs.
#[must_use]
pub fn uppers(name: &str) -> Vec<String> {
    related(name, "upper_")
}

/// The interfaces that this one stands on, and those they stand on.
#[must_use]
pub fn lowers(name: &str) -> Vec<String> {
    related(name, "lower_")
}

fn related(name: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = vec![name.to_owned()];
    while let Some(name) = next.pop() {
        let files = fs::read_dir(Path::new(FOLDER).join(name));
        for file in files.into_iter().flatten().flatten() {
            let file = file.file_name().to_string_lossy().into_owned();
            if let Some(other) = file.strip_prefix(prefix)
                && !found.iter().any(|known| known == other)
            {
                found.push(other.to_owned());
                next.push(other.to_owned());
            }
        }
    }
    found
}

/// Why frames received on this interface must not be dropped: it has an address or a route, or
/// others stand on it. IPv6's link-local addresses, which every interface has, do not count.
///
/// # Errors
/// If the system does not say.
pub fn in_use(name: &str) -> Result<Option<String>> {
    if let Some(address) = address(name).context("cannot list addresses")? {
        return Ok(Some(format!("the address {address}")));
    }
    if let Some(upper) = uppers(name).first() {
        return Ok(Some(format!("{upper} standing on it")));
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let routed = has_v4_route(&read("/proc/net/route"), name)
        || has_v6_route(&read("/proc/net/ipv6_route"), name);
    Ok(routed.then(|| "a route".to_owned()))
}

fn address(name: &str) -> io::Result<Option<std::net::IpAddr>> {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer is valid; the list is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = None;
    let mut next = list;
    // SAFETY: the list's entries stay valid until it is freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the kernel gave a terminated name.
        let this = unsafe { CStr::from_ptr(entry.ifa_name) };
        // An address may have a label of its own, which is told in the name's place.
        let this = this.to_bytes().split(|octet| *octet == b':').next();
        if this == Some(name.as_bytes()) && found.is_none() {
            // SAFETY: an address is null or valid for its family.
            found = unsafe { ip_address(entry.ifa_addr) };
        }
    }
    // SAFETY: from `getifaddrs`, and not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `address` is null or points to a socket address as large as its family says.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<std::net::IpAddr> {
    // SAFETY: the caller's promise.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: the family says so.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            let v6 = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
            (!v6.is_unicast_link_local()).then_some(v6.into())
        }
        _ => None,
    }
}

/// Whether `/proc/net/route` has a route through the interface.
fn has_v4_route(table: &str, name: &str) -> bool {
    table
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().next() == Some(name))
}

/// Whether `/proc/net/ipv6_route` has one that is neither link-local nor multicast.
fn has_v6_route(table: &str, name: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = |prefix: &&str| prefix.starts_with("fe80") || prefix.starts_with("ff");
        fields.last() == Some(&name) && !fields.first().is_some_and(own)
    })
}

/// Promiscuous mode, for as long as the value lives: the kernel counts who wants it.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Switches it on (packet(7), `PACKET_MR_PROMISC`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn on(ifindex: u32) -> Result<Self> {
        // SAFETY: no pointers. Protocol 0: this socket receives nothing.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            bail!("no packet socket: {}", io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor of our own.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: an all-zero value is a valid one.
        let mut request: libc::packet_mreq = unsafe { std::mem::zeroed() };
        request.mr_ifindex = i32::try_from(ifindex)?;
        request.mr_type = u16::try_from(libc::PACKET_MR_PROMISC)?;
        // SAFETY: the pointer is valid for the size given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                libc::socklen_t::try_from(size_of_val(&request))?,
            )
        };
        if result != 0 {
            bail!("no promiscuous mode: {}", io::Error::last_os_error());
        }
        Ok(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_interface() {
        let v4 = "Iface\tDestination\tGateway\neth0\t00000000\t0101A8C0\n";
        assert!(has_v4_route(v4, "eth0"));
        assert!(!has_v4_route(v4, "eth"));
        let v6 = "fe800000000000000000000000000000 40 x 00 y 100 1 0 1 mirror0\n\
                  20010db8000000000000000000000000 40 x 00 y 100 1 0 1 eth0\n";
        assert!(has_v6_route(v6, "eth0"));
        assert!(!has_v6_route(v6, "mirror0"));
    }

    #[test]
    fn the_loopback_is_known() {
        assert_eq!(name(ifindex("lo").unwrap()).as_deref(), Some("lo"));
        assert!(is_loopback("lo") && !is_raw("lo"));
        assert!(all().unwrap().contains(&"lo".to_owned()));
        assert_eq!(ifindex("no such interface"), None);
        assert_eq!(missed("no such interface"), None);
        is_promiscuous("no such interface").unwrap_err();
        assert!(!is_promiscuous("lo").unwrap());
    }
}
