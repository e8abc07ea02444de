//! Cisco's access lists, as flow-filter reads them and as routers have them, as text of the filter
//! language: numbered and named, standard and extended. The first line that fits decides; what none fits
//! is denied. They are about IPv4, `any` and `ip` too: IPv6 has access lists of its own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::rules;
use crate::names;

/// Cisco's names of ICMP's types, and of codes where a name is of one alone.
const ICMP: [(&str, u8, Option<u8>); 21] = [
    ("administratively-prohibited", 3, Some(13)),
    ("echo", 8, None),
    ("echo-reply", 0, None),
    ("host-unreachable", 3, Some(1)),
    ("mask-reply", 18, None),
    ("mask-request", 17, None),
    ("net-unreachable", 3, Some(0)),
    ("packet-too-big", 3, Some(4)),
    ("parameter-problem", 12, None),
    ("port-unreachable", 3, Some(3)),
    ("protocol-unreachable", 3, Some(2)),
    ("reassembly-timeout", 11, Some(1)),
    ("redirect", 5, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("source-quench", 4, None),
    ("time-exceeded", 11, None),
    ("timestamp-reply", 14, None),
    ("timestamp-request", 13, None),
    ("ttl-exceeded", 11, Some(0)),
    ("unreachable", 3, None),
];

/// The list of a name or a number, as a filter. A standard list is about the source; `dst:NAME` and
/// `next:NAME` have it about destination or next hop, as flow-filter's -D and -x.
///
/// # Errors
/// A sentence that names the line.
pub fn filter(text: &str, wanted: &str) -> Result<String, String> {
    let (field, name) = match wanted.split_once(':') {
        Some(("src", name)) => ("src", name),
        Some(("dst", name)) => ("dst", name),
        Some(("next", name)) => ("next", name),
        Some((side, _)) => {
            return Err(format!(
                "`{side}:` is no side: src:, dst: or next: fits before the list's name"
            ));
        }
        None => ("src", wanted),
    };
    let mut known = BTreeSet::new();
    let mut list = List::default();
    // The named list that lines without a name belong to, and whether it is an extended one.
    let mut current: Option<(String, bool)> = None;
    for (line, number) in text.lines().zip(1u32..) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |says: String| format!("line {number}: {says}");
        let (of, extended, rule): (&str, bool, &[&str]) = match words.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with(['!', '#']) => continue,
            ["access-list", of, rule @ ..] => (*of, is_extended(of), rule),
            ["ip", "access-list", kind, of, rule @ ..] => {
                let extended = match *kind {
                    "standard" => false,
                    "extended" => true,
                    kind => {
                        return Err(at(format!(
                            "`{kind}` is no kind of list: standard or extended fits here"
                        )));
                    }
                };
                current = Some(((*of).to_owned(), extended));
                (*of, extended, rule)
            }
            rule => match &current {
                Some((of, extended)) => (of.as_str(), *extended, rule),
                None => {
                    return Err(at(
                        "no list has begun: `ip access-list standard NAME` begins one".to_owned(),
                    ));
                }
            },
        };
        known.insert(of.to_owned());
        if of != name {
            continue;
        }
        list.is_there = true;
        list.is_extended |= extended;
        list.read(rule, extended).map_err(at)?;
    }
    if !list.is_there {
        let known: Vec<_> = known.into_iter().collect();
        return Err(format!(
            "it has no list `{name}`; there are {}",
            known.join(", ")
        ));
    }
    if list.is_extended {
        if wanted != name {
            return Err(format!(
                "`{name}` is an extended list, which tells both sides: leave `{field}:` out"
            ));
        }
        return Ok(rules::first_match(&list.lines, false));
    }
    // The first line holds against later ones.
    list.lines.reverse();
    Ok(rules::membership(field, &list.lines, false))
}

/// Numbers 100 to 199 and 2000 to 2699 are extended lists'.
fn is_extended(name: &str) -> bool {
    name.parse::<u32>()
        .is_ok_and(|number| matches!(number, 100..=199 | 2000..=2699))
}

#[derive(Default)]
struct List {
    is_there: bool,
    is_extended: bool,
    /// Of a standard list networks, of an extended one conditions.
    lines: Vec<(bool, String)>,
}

impl List {
    fn read(&mut self, rule: &[&str], extended: bool) -> Result<(), String> {
        // A line may have its own number.
        let rule = match rule {
            [number, rest @ ..] if number.bytes().all(|digit| digit.is_ascii_digit()) => rest,
            rule => rule,
        };
        let (permit, rest) = match rule {
            [] | ["remark", ..] => return Ok(()),
            ["permit", rest @ ..] => (true, rest),
            ["deny", rest @ ..] => (false, rest),
            [word, ..] => return Err(format!("`permit` or `deny` fits here, not `{word}`")),
        };
        let mut words = Words(rest);
        let said = if extended {
            words.extended()?
        } else {
            words.network()?.unwrap_or_else(|| "0.0.0.0/0".to_owned())
        };
        match words.0 {
            [] | ["log" | "log-input"] => {
                self.lines.push((permit, said));
                Ok(())
            }
            [word, ..] => Err(format!("`{word}` is not understood here")),
        }
    }
}

/// What of a line is still to be read.
struct Words<'a>(&'a [&'a str]);

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| format!("{what} is missing at the end"))?;
        self.0 = rest;
        Ok(first)
    }

    /// `any`, `host A`, `A` or `A WILDCARD`, as a network; `None` for any.
    fn network(&mut self) -> Result<Option<String>, String> {
        let word = self.next("an address")?;
        if word == "any" {
            return Ok(None);
        }
        if word == "host" {
            return Ok(Some(address(self.next("an address")?)?.to_string()));
        }
        let address = address(word)?;
        let wildcard = self
            .0
            .first()
            .and_then(|next| next.parse::<Ipv4Addr>().ok());
        let Some(wildcard) = wildcard else {
            return Ok(Some(address.to_string()));
        };
        self.0 = &self.0[1..];
        let ones = u32::from(wildcard);
        // Of the form 0…01…1, as a prefix leaves it.
        if ones & ones.wrapping_add(1) != 0 {
            return Err(format!(
                "the wildcard {wildcard} is of no prefix: write its networks one by one"
            ));
        }
        Ok(Some(format!("{address}/{}", ones.leading_zeros())))
    }

    /// `PROTOCOL SOURCE [PORTS] DESTINATION [PORTS] [established]`; of ICMP a type, by name or number, and a code.
    fn extended(&mut self) -> Result<String, String> {
        let protocol = self.next("a protocol")?;
        let mut parts = Vec::new();
        if !matches!(protocol, "ip" | "ipv4") {
            let number = protocol.parse::<u8>().ok();
            let number = number.or_else(|| names::protocol(protocol));
            let number = number.ok_or_else(|| format!("`{protocol}` is no protocol"))?;
            parts.push(format!("proto {number}"));
        }
        // Any address of IPv4, until one is named.
        let mut is_any = true;
        for side in ["src", "dst"] {
            if let Some(network) = self.network()? {
                is_any = false;
                parts.push(format!("{side} in [{network}]"));
            }
            parts.extend(self.ports(side)?);
        }
        if matches!(protocol, "icmp" | "1") {
            parts.extend(self.icmp());
        }
        if let ["established", rest @ ..] = self.0 {
            self.0 = rest;
            parts.push("(flags A or flags R)".to_owned());
        }
        if is_any {
            parts.insert(0, "ipv4".to_owned());
        }
        Ok(parts.join(" and "))
    }

    /// ICMP's type, and its code, if they stand here.
    fn icmp(&mut self) -> Option<String> {
        let (first, mut rest) = self.0.split_first()?;
        let named = ICMP.iter().find(|(name, ..)| name == first);
        let (kind, code) = if let Some((_, kind, code)) = named {
            (*kind, *code)
        } else {
            let kind = first.parse::<u8>().ok()?;
            let code = rest.first().and_then(|word| word.parse::<u8>().ok());
            rest = &rest[usize::from(code.is_some())..];
            (kind, code)
        };
        self.0 = rest;
        let code = code.map(|code| format!(" and icmp-code {code}"));
        Some(format!("icmp-type {kind}{}", code.unwrap_or_default()))
    }

    fn ports(&mut self, side: &str) -> Result<Option<String>, String> {
        let sign = match self.0.first() {
            Some(&"eq") => "=",
            Some(&"neq") => "!=",
            Some(&"lt") => "<",
            Some(&"gt") => ">",
            Some(&"range") => {
                self.0 = &self.0[1..];
                let (first, last) = (port(self.next("a port")?)?, port(self.next("a port")?)?);
                if last < first {
                    return Err(format!(
                        "ports {first} to {last} are none: the lower one stands first"
                    ));
                }
                return Ok(Some(format!("{side} port in [{first}-{last}]")));
            }
            _ => return Ok(None),
        };
        self.0 = &self.0[1..];
        let first = port(self.next("a port")?)?;
        // Several ports may stand behind `eq`.
        let mut ports = vec![first.to_string()];
        while let Some(other) = self.0.first().and_then(|word| word.parse::<u16>().ok()) {
            self.0 = &self.0[1..];
            ports.push(other.to_string());
        }
        match (sign, ports.as_slice()) {
            (sign, [one]) => Ok(Some(format!("{side} port {sign} {one}"))),
            ("=", several) => Ok(Some(format!("{side} port in [{}]", several.join(" ")))),
            (_, several) => Err(format!("one port fits here, not {}", several.len())),
        }
    }
}

fn address(word: &str) -> Result<IpAddr, String> {
    word.parse().map_err(|_| format!("`{word}` is no address"))
}

fn port(word: &str) -> Result<u16, String> {
    let number = word.parse().ok().or_else(|| names::port(word));
    number.ok_or_else(|| format!("`{word}` is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = "\
! campus
ip access-list standard not_mail
 remark everything else
 deny host 192.0.2.25
 deny 192.0.2.32 0.0.0.15
 permit 192.0.2.0 0.0.0.255 log
access-list 10 permit 10.0.0.0 0.255.255.255
access-list 10 permit any
ip access-list standard one permit host 10.0.0.1
ip access-list extended edge
 10 deny tcp any host 10.0.0.1 eq smtp
 20 permit tcp 10.0.0.0 0.0.0.255 gt 1023 any range 80 90 established
 30 permit udp any any eq 53 123
 40 permit ip any any
";

    #[test]
    fn lists_become_filters() {
        for (name, expected) in [
            (
                "not_mail",
                "src in [192.0.2.0/24] - [192.0.2.32/28 192.0.2.25]",
            ),
            (
                "dst:not_mail",
                "dst in [192.0.2.0/24] - [192.0.2.32/28 192.0.2.25]",
            ),
            ("10", "src in [0.0.0.0/0 10.0.0.0/8]"),
            ("next:one", "next in [10.0.0.1]"),
            (
                "edge",
                "(((proto 6 and src in [10.0.0.0/24] and src port > 1023 and dst port in [80-90] and (flags A or flags R)) or \
                 (ipv4 and proto 17 and dst port in [53 123]) or (ipv4)) and not ((proto 6 and dst in [10.0.0.1] and dst port = 25)))",
            ),
        ] {
            assert_eq!(filter(LISTS, name).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn icmp_has_types_by_name_and_number() {
        for (rule, expected) in [
            ("permit icmp any any echo", "proto 1 and icmp-type 8"),
            (
                "permit icmp any any port-unreachable log",
                "proto 1 and icmp-type 3 and icmp-code 3",
            ),
            ("permit icmp any any 11", "proto 1 and icmp-type 11"),
            (
                "permit 1 any any 3 13",
                "proto 1 and icmp-type 3 and icmp-code 13",
            ),
            (
                "permit icmp any host 10.0.0.1",
                "proto 1 and dst in [10.0.0.1]",
            ),
        ] {
            let found = filter(&format!("access-list 101 {rule}"), "101").unwrap();
            assert!(found.contains(expected), "{rule}: {found}");
            assert_eq!(found.contains("icmp"), expected.contains("icmp"), "{rule}");
        }
        let says = filter("access-list 101 permit udp any any echo", "101").unwrap_err();
        assert!(says.contains("`echo` is not understood"), "{says}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, name, words) in [
            (LISTS, "mail", "there are 10, edge, not_mail, one"),
            (LISTS, "dst:edge", "leave `dst:` out"),
            (LISTS, "up:edge", "no side"),
            ("permit any", "x", "line 1: no list has begun"),
            (
                "access-list 1 permit\n",
                "1",
                "line 1: an address is missing",
            ),
            (
                "\naccess-list 1 permit 10.0.0.0 0.255.0.255",
                "1",
                "line 2: the wildcard",
            ),
            ("access-list 1 allow any", "1", "line 1: `permit` or `deny`"),
            (
                "access-list 1 permit any any",
                "1",
                "`any` is not understood",
            ),
            (
                "access-list 101 permit tcp any eq blub any",
                "101",
                "`blub` is no port",
            ),
            (
                "access-list 101 permit tcp any range 9 8 any",
                "101",
                "lower one stands first",
            ),
            ("ip access-list magic x", "x", "standard or extended"),
        ] {
            let error = filter(text, name).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
