//! `-n`: a collector as people write it, and its address.

use std::{
    fs,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
};

/// Collectors of one sensor, as softflowd has it.
const DESTINATIONS_MAX: usize = 16;

/// The addresses of collectors: `HOST:PORT`, where the last colon divides, the host may be in
/// brackets, and the port be a name of services(5).
///
/// # Errors
/// A sentence: not HOST:PORT, no such host or port, too many.
pub fn addresses(collectors: &[String]) -> Result<Vec<SocketAddr>, String> {
    check(collectors)?;
    collectors.iter().map(|name| address(name)).collect()
}

/// Whether collectors are written as they should be; none is looked up.
///
/// # Errors
/// A sentence: not HOST:PORT, too many.
pub fn check(collectors: &[String]) -> Result<(), String> {
    if collectors.len() > DESTINATIONS_MAX {
        return Err(format!("-n: at most {DESTINATIONS_MAX} collectors"));
    }
    collectors
        .iter()
        .try_for_each(|name| parts(name).map(|_| ()))
}

fn parts(collector: &str) -> Result<(&str, &str), String> {
    split(collector).ok_or_else(|| {
        format!("-n {collector}: write HOST:PORT, as 192.0.2.1:2055 or [2001:db8::1]:2055")
    })
}

fn address(collector: &str) -> Result<SocketAddr, String> {
    let (host, port) = parts(collector)?;
    let number = port.parse().ok().or_else(|| {
        let services = fs::read_to_string("/etc/services").unwrap_or_default();
        service(&services, port)
    });
    let Some(number) = number else {
        return Err(format!(
            "-n {collector}: write HOST:PORT; `{port}` is neither a number up to 65535 nor a name in /etc/services"
        ));
    };
    match (host, number).to_socket_addrs() {
        Ok(mut addresses) => addresses
            .next()
            .map(unmapped)
            .ok_or_else(|| format!("-n {collector}: the host has no address")),
        Err(error) => Err(format!(
            "-n {collector}: the host's address cannot be found ({error})"
        )),
    }
}

/// A v4-mapped address as what it is: datagrams to it are IPv4's, and so are the options of their socket.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        // IPv6's own may have a scope.
        IpAddr::V6(_) => address,
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
    }
}

fn split(collector: &str) -> Option<(&str, &str)> {
    let (host, port) = collector.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    (!host.is_empty() && !port.is_empty()).then_some((host, port))
}

/// The UDP port of a name in the text of services(5).
fn service(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let official = words.next()?;
        let number = words.next()?.strip_suffix("/udp")?;
        let named = official == name || words.any(|alias| alias == name);
        named.then(|| number.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_colon_divides() {
        for (collector, parts) in [
            ("192.0.2.1:2055", Some(("192.0.2.1", "2055"))),
            ("[2001:db8::1]:2055", Some(("2001:db8::1", "2055"))),
            ("2001:db8::1:2055", Some(("2001:db8::1", "2055"))),
            ("host:netflow", Some(("host", "netflow"))),
            ("host", None),
            ("host:", None),
            (":2055", None),
            ("[]:2055", None),
        ] {
            assert_eq!(split(collector), parts, "{collector}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_that_it_maps() {
        for (collector, found) in [
            ("[::ffff:192.0.2.1]:2055", "192.0.2.1:2055"),
            ("[2001:db8::1]:2055", "[2001:db8::1]:2055"),
        ] {
            assert_eq!(address(collector), Ok(found.parse().unwrap()));
        }
    }

    #[test]
    fn ports_may_have_names() {
        let services = "ssh 22/tcp\nntp\t\t123/udp\t# time\nsyslog 514/udp log # not 9\n";
        for (name, port) in [
            ("ntp", Some(123)),
            ("log", Some(514)),
            ("ssh", None),
            ("9", None),
        ] {
            assert_eq!(service(services, name), port, "{name}");
        }
    }

    #[test]
    fn addresses_are_looked_up_and_mistakes_named() {
        let address = |name: &str| addresses(&[name.to_owned()]);
        assert_eq!(address("127.0.0.1:9"), Ok(vec![([127, 0, 0, 1], 9).into()]));
        assert_eq!(address("::1:9"), Ok(vec!["[::1]:9".parse().unwrap()]));
        for wrong in ["127.0.0.1", "127.0.0.1:65536", "127.0.0.1:no-such-service"] {
            assert!(address(wrong).unwrap_err().contains("write HOST:PORT"));
        }
        let many = vec!["127.0.0.1:9".to_owned(); 17];
        assert!(addresses(&many).unwrap_err().contains("at most 16"));
    }
}
