//! Names of protocols and services, as IANA's registries have them and people say them. The first
//! name of a number is the one that is shown.

/// Names of protocols.
const PROTOCOLS: [(&str, u8); 32] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("6in4", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("ospfigp", 89),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("pgm", 113),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("udplite", 136),
    ("mpls-in-ip", 137),
];

/// Names of services.
const SERVICES: [(&str, u16); 122] = [
    ("echo", 7),
    ("discard", 9),
    ("daytime", 13),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("whois", 43),
    ("tacacs", 49),
    ("domain", 53),
    ("dns", 53),
    ("bootps", 67),
    ("dhcp", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("rpcbind", 111),
    ("ident", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("msrpc", 135),
    ("epmap", 135),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("imap", 143),
    ("snmp", 161),
    ("snmptrap", 162),
    ("bgp", 179),
    ("irc", 194),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("smb", 445),
    ("kpasswd", 464),
    ("submissions", 465),
    ("smtps", 465),
    ("isakmp", 500),
    ("ike", 500),
    ("exec", 512),
    ("login", 513),
    ("syslog", 514),
    ("printer", 515),
    ("lpd", 515),
    ("rip", 520),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("rtsp", 554),
    ("nntps", 563),
    ("submission", 587),
    ("ipp", 631),
    ("ldaps", 636),
    ("msdp", 639),
    ("ldp", 646),
    ("domain-s", 853),
    ("dot", 853),
    ("rsync", 873),
    ("iscsi-target", 860),
    ("ftps", 990),
    ("telnets", 992),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("mssql", 1433),
    ("ms-sql-m", 1434),
    ("oracle", 1521),
    ("l2tp", 1701),
    ("pptp", 1723),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("ssdp", 1900),
    ("upnp", 1900),
    ("rtmp", 1935),
    ("nfs", 2049),
    ("netflow", 2055),
    ("docker", 2375),
    ("squid", 3128),
    ("iscsi", 3260),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("rdp", 3389),
    ("stun", 3478),
    ("bfd", 3784),
    ("ipsec-nat-t", 4500),
    ("ipfix", 4739),
    ("vxlan", 4789),
    ("sip", 5060),
    ("sips", 5061),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("mdns", 5353),
    ("llmnr", 5355),
    ("postgresql", 5432),
    ("postgres", 5432),
    ("amqp", 5672),
    ("vnc", 5900),
    ("winrm", 5985),
    ("x11", 6000),
    ("geneve", 6081),
    ("sflow", 6343),
    ("redis", 6379),
    ("bittorrent", 6881),
    ("http-alt", 8080),
    ("bitcoin", 8333),
    ("https-alt", 8443),
    ("git", 9418),
    ("jetdirect", 9100),
    ("memcache", 11_211),
    ("mongodb", 27_017),
    ("traceroute", 33_434),
    ("wireguard", 51_820),
];

/// The protocol of a name.
#[must_use]
pub fn protocol(name: &str) -> Option<u8> {
    find(&PROTOCOLS, name)
}

/// The port of a service.
#[must_use]
pub fn port(name: &str) -> Option<u16> {
    find(&SERVICES, name)
}

/// A protocol's name, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    name_of(&PROTOCOLS, number).map_or_else(|| number.to_string(), str::to_owned)
}

/// A port's service, if it has a name.
#[must_use]
pub fn service(port: u16) -> Option<&'static str> {
    name_of(&SERVICES, port)
}

/// All names of protocols.
pub fn protocols() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(name, _)| *name)
}

/// All names of services.
pub fn services() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(name, _)| *name)
}

fn find<N: Copy>(names: &[(&'static str, N)], wanted: &str) -> Option<N> {
    names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, number)| *number)
}

fn name_of<N: Copy + PartialEq>(names: &[(&'static str, N)], wanted: N) -> Option<&'static str> {
    names
        .iter()
        .find(|(_, number)| *number == wanted)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_name_is_one_number() {
        assert_eq!(protocols().collect::<HashSet<_>>().len(), PROTOCOLS.len());
        assert_eq!(services().collect::<HashSet<_>>().len(), SERVICES.len());
        assert_eq!(
            (protocol("TCP"), protocol("ipv6-icmp")),
            (Some(6), Some(58))
        );
        assert_eq!((port("https"), service(53)), (Some(443), Some("domain")));
        assert_eq!(
            (protocol_name(58), protocol_name(200)),
            ("icmp6".to_owned(), "200".to_owned())
        );
        assert_eq!(service(1), None);
    }
}
