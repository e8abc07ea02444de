//! Named sets: a few that are built in, and files of the operator's own.
//!
//! A set's file has items between spaces, commas or line ends: addresses, networks, ranges
//! (`192.0.2.1-192.0.2.9`), numbers, names of services, MAC addresses, or other sets (`@mail`). An item after a
//! minus is taken out again; items apply in their order. What follows a `#` is a comment.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::ranges::{self, Ranges};
use crate::names;

/// Sets within sets, at most.
const DEPTH_MAX: u32 = 8;
/// Sets read for one, at most: a few that name one another again and again would be read without an end in sight.
const READ_MAX: u32 = 1000;
/// Octets of a file of the operator's, at most, and of a set with all that are in it.
const FILE_OCTETS_MAX: u64 = 64 << 20;

/// What fits where a MAC address does.
pub const A_MAC: &str = "a MAC address such as 02:00:00:00:00:01 fits here";

/// Sets that need no file; one of the same name comes first.
const BUILT_IN: [(&str, &str); 5] = [
    // RFC 1918, RFC 4193
    (
        "private",
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
    ),
    ("multicast", "224.0.0.0/4 ff00::/8"),
    ("loopback", "127.0.0.0/8 ::1"),
    ("linklocal", "169.254.0.0/16 fe80::/10"),
    // RFC 6890: not forwardable or not globally reachable, and what was never assigned
    (
        "bogons",
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
         192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 \
         ::/128 ::1 100::/64 2001:db8::/32 fc00::/7 fe80::/10",
    ),
];

/// Where the operator's own sets and catalogues are.
#[derive(Clone, Debug)]
pub struct Library {
    folder: PathBuf,
}

/// What was read for a set so far.
#[derive(Debug, Default)]
struct SoFar {
    sets: u32,
    octets: u64,
}

impl Library {
    /// A library in a folder, which need not be there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A file of a shelf (`sets`, `who`), by its name, or by its path if the name has a slash in it.
    ///
    /// # Errors
    /// A sentence, if it is there and cannot be read.
    pub fn read(&self, shelf: &str, name: &str) -> Result<Option<String>, String> {
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            self.folder.join(shelf).join(name)
        };
        match read_text(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// The members of a named set.
    ///
    /// # Errors
    /// A sentence that names the set, and the line if one is wrong.
    pub fn set(&self, name: &str, items: Items) -> Result<Ranges, String> {
        self.set_within(name, items, 0, &mut SoFar::default())
    }

    /// The same of a set within so many others, where so much was read.
    fn set_within(
        &self,
        name: &str,
        items: Items,
        depth: u32,
        read: &mut SoFar,
    ) -> Result<Ranges, String> {
        read.sets += 1;
        if read.sets > READ_MAX {
            return Err(format!(
                "@{name} is one too many: a set is of {READ_MAX} sets at most, each counted as often as it is named"
            ));
        }
        if depth > DEPTH_MAX {
            return Err(format!(
                "@{name} is in more than {DEPTH_MAX} sets within one another"
            ));
        }
        let built_in = || BUILT_IN.iter().find(|(known, _)| *known == name);
        match self.read("sets", name)? {
            Some(text) => {
                read.octets += text.len() as u64;
                if read.octets > FILE_OCTETS_MAX {
                    return Err(format!(
                        "@{name} is too much: a set and the sets in it have 64 MiB at most, each counted as often as it is named"
                    ));
                }
                self.members(name, &text, items, depth, read)
            }
            None => match built_in() {
                Some((_, text)) => self.members(name, text, items, depth, read),
                None => Err(self.unknown(name)),
            },
        }
    }

    fn members(
        &self,
        name: &str,
        text: &str,
        items: Items,
        depth: u32,
        read: &mut SoFar,
    ) -> Result<Ranges, String> {
        let mut members = Ranges::default();
        let mut added = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default();
            let words = line
                .split([' ', '\t', ',', '\r'])
                .filter(|word| !word.is_empty());
            for word in words {
                let wrong = |says: String| format!("@{name}, line {number}: {says}");
                let (word, removed) = match word.strip_prefix('-') {
                    Some(word) => (word, true),
                    None => (word, false),
                };
                let found = match word.strip_prefix('@') {
                    Some(other) => {
                        let within = self.set_within(other, items, depth + 1, read)?;
                        within.pairs().to_vec()
                    }
                    None => items.item(word, |_| Vec::new()).map_err(wrong)?,
                };
                if removed {
                    members = members.union(&Ranges::new(std::mem::take(&mut added)));
                    members = members.difference(&Ranges::new(found));
                } else {
                    added.extend(found);
                }
            }
        }
        Ok(members.union(&Ranges::new(added)))
    }

    fn unknown(&self, name: &str) -> String {
        if name.contains('/') {
            return format!("there is no file {name}");
        }
        let folder = self.folder.join("sets");
        let mut known: Vec<String> = BUILT_IN
            .iter()
            .map(|(name, _)| format!("@{name}"))
            .collect();
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        known.extend(files.filter_map(|file| Some(format!("@{}", file.file_name().to_str()?))));
        known.sort();
        known.dedup();
        known.truncate(20);
        format!(
            "there is no set @{name} in {}; there are {}",
            folder.display(),
            known.join(", ")
        )
    }
}

/// Reads a file of the operator's.
///
/// # Errors
/// If it cannot be read, or is too large to be one.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut octets = Vec::new();
    // What is no plain file tells no length.
    let mut file = File::open(path)?.take(FILE_OCTETS_MAX + 1);
    if file.read_to_end(&mut octets)? as u64 > FILE_OCTETS_MAX {
        return Err(io::Error::other("it has more than 64 MiB"));
    }
    String::from_utf8(octets).map_err(|_| io::Error::other("it is no text (UTF-8)"))
}

/// What the items of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Addresses and networks.
    Addresses,
    /// Ports and services.
    Ports,
    /// Protocols.
    Protocols,
    /// MAC addresses.
    Macs,
    /// Other numbers.
    Numbers {
        /// The largest one there can be.
        most: u64,
    },
}

impl Items {
    /// The members that an item stands for, as ranges.
    ///
    /// # Errors
    /// A sentence.
    pub fn item(
        self,
        word: &str,
        resolve: impl Fn(&str) -> Vec<IpAddr>,
    ) -> Result<Vec<(u128, u128)>, String> {
        match self {
            Self::Addresses => addresses(word, resolve),
            Self::Ports => self.number_or_range(word, |name| names::port(name).map(u64::from)),
            Self::Protocols => {
                self.number_or_range(word, |name| names::protocol(name).map(u64::from))
            }
            Self::Macs => {
                let number = mac(word).ok_or(A_MAC)?;
                Ok(vec![(number.into(), number.into())])
            }
            Self::Numbers { .. } => self.number_or_range(word, |_| None),
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Addresses | Self::Macs => u64::MAX,
            Self::Ports => u16::MAX.into(),
            Self::Protocols => u8::MAX.into(),
            Self::Numbers { most } => most,
        }
    }

    fn number_or_range(
        self,
        word: &str,
        named: impl Fn(&str) -> Option<u64>,
    ) -> Result<Vec<(u128, u128)>, String> {
        let single = |word: &str| -> Result<u64, String> {
            let number = match number(word) {
                Some(number) => number,
                None => named(word).ok_or_else(|| self.refusal(word))?,
            };
            if number > self.most() {
                return Err(format!("at most {} fits here", self.most()));
            }
            Ok(number)
        };
        // Names may have a minus in them: they come before ranges.
        let range = match word.split_once('-') {
            Some(ends) if named(word).is_none() => Some(ends),
            _ => None,
        };
        let (first, last) = if let Some((first, last)) = range {
            (single(first)?, single(last)?)
        } else {
            let number = single(word)?;
            (number, number)
        };
        if first > last {
            return Err(format!("{word} ends before it begins"));
        }
        Ok(vec![(first.into(), last.into())])
    }

    fn refusal(self, word: &str) -> String {
        let near = |names: Vec<&'static str>| {
            super::error::nearest(word, names)
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default()
        };
        match self {
            Self::Addresses | Self::Macs | Self::Numbers { .. } => {
                format!("`{word}` is no number, as 1500, 10k, 2M and 0x1f are")
            }
            Self::Ports => format!(
                "`{word}` is neither a port nor a service with a name here{}",
                near(names::services().collect())
            ),
            Self::Protocols => format!(
                "`{word}` is neither a number nor a protocol with a name here{}",
                near(names::protocols().collect())
            ),
        }
    }
}

/// A number as nfdump has them: decimal with or without a factor, or hexadecimal.
#[must_use]
pub fn number(word: &str) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0x") {
        let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        return u64::from_str_radix(digits, 16).ok().filter(|_| all);
    }
    let (digits, factor) = match lower.bytes().next_back()? {
        b'k' => (&lower[..lower.len() - 1], 1000),
        b'm' => (&lower[..lower.len() - 1], 1_000_000),
        b'g' => (&lower[..lower.len() - 1], 1_000_000_000),
        b't' => (&lower[..lower.len() - 1], 1_000_000_000_000),
        _ => (&lower[..], 1),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Six octets in hexadecimal, as one number.
#[must_use]
pub fn mac(text: &str) -> Option<u64> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    if octets.len() != 6 {
        return None;
    }
    octets.into_iter().try_fold(0, |number, octet| {
        let is_octet =
            (1..=2).contains(&octet.len()) && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
        let octet = u64::from_str_radix(octet, 16).ok().filter(|_| is_octet)?;
        Some(number << 8 | octet)
    })
}

/// An address, a network, a range of addresses, or a host's name.
fn addresses(
    word: &str,
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<Vec<(u128, u128)>, String> {
    if let Some((address, length)) = word.split_once('/') {
        return network(address, length);
    }
    if let Ok(address) = word.parse() {
        let number = ranges::number_of(address);
        return Ok(vec![(number, number)]);
    }
    if let Some((first, last)) = word.split_once('-')
        && let (Ok(first), Ok(last)) = (first.parse::<IpAddr>(), last.parse::<IpAddr>())
    {
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(format!("{word} ends before it begins"));
        }
        return Ok(vec![(ranges::number_of(first), ranges::number_of(last))]);
    }
    // Numbers with dots are mistyped addresses, and no names.
    let is_name = word.bytes().any(|letter| letter.is_ascii_alphabetic()) && !word.contains(':');
    if !is_name {
        return Err("this is no IPv4 or IPv6 address".to_owned());
    }
    let found = resolve(word);
    if found.is_empty() {
        return Err(format!(
            "`{word}` is no address, and no host of that name is known"
        ));
    }
    let numbers = found.into_iter().map(ranges::number_of);
    Ok(numbers.map(|number| (number, number)).collect())
}

/// The members of a network, told as in [`prefix`].
///
/// # Errors
/// A sentence about the address or about the length.
pub fn network(address: &str, length: &str) -> Result<Vec<(u128, u128)>, String> {
    let (address, bits) = prefix(address, length)?;
    Ok(ranges::members(address, bits))
}

/// A network's address, and its length in bits, which for IPv4 may be told as a mask. Octets of IPv4 that are left
/// out are zero, as in nfdump's `172.16/12`.
///
/// # Errors
/// A sentence about the address or about the length.
pub fn prefix(address: &str, length: &str) -> Result<(IpAddr, u32), String> {
    let whole = address.parse().ok();
    let found: IpAddr = whole
        .or_else(|| abbreviated(address))
        .ok_or("this is no IPv4 or IPv6 address")?;
    let most = if found.is_ipv4() { 32 } else { 128 };
    let bits = length.parse::<u32>().ok().or_else(|| bits_of_mask(length));
    match bits {
        Some(bits) if bits <= most => Ok((found, bits)),
        Some(_) => Err(format!("at most {most} fits here")),
        None => Err("a prefix length or an IPv4 mask without gaps fits here".to_owned()),
    }
}

/// An IPv4 address of less than four octets.
fn abbreviated(address: &str) -> Option<IpAddr> {
    let mut octets = [0_u8; 4];
    let parts: Vec<&str> = address.split('.').collect();
    let places = octets.get_mut(..parts.len())?;
    for (octet, part) in places.iter_mut().zip(parts) {
        let is_number = part.bytes().all(|digit| digit.is_ascii_digit());
        *octet = part.parse().ok().filter(|_| is_number)?;
    }
    Some(octets.into())
}

/// Length of an IPv4 mask without gaps.
fn bits_of_mask(mask: &str) -> Option<u32> {
    let mask = u32::from(mask.parse::<std::net::Ipv4Addr>().ok()?);
    (mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> (tempfile::TempDir, Library) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sets")).unwrap();
        let library = Library::new(folder.path().to_owned());
        (folder, library)
    }

    fn of(text: &str) -> u128 {
        ranges::number_of(text.parse().unwrap())
    }

    #[test]
    fn sets_name_sets_and_take_out() {
        let (folder, library) = library();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join("sets").join(name), text).unwrap();
        };
        write("mail", "192.0.2.1, 192.0.2.2 # two\n2001:db8::/32\n");
        write("servers", "@mail 10.0.0.0/8 -10.1.0.0/16\n10.1.2.3\n");
        let set = library.set("servers", Items::Addresses).unwrap();
        for (address, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.3", false),
            ("2001:db8:1::", true),
            ("10.0.0.1", true),
            ("10.1.2.2", false),
            ("10.1.2.3", true),
        ] {
            assert_eq!(set.contains(of(address)), expected, "{address}");
        }
        write("web", "80 https 8000-8099");
        let set = library.set("web", Items::Ports).unwrap();
        assert_eq!(set.pairs(), [(80, 80), (443, 443), (8000, 8099)]);
        assert!(
            library
                .set("private", Items::Addresses)
                .unwrap()
                .contains(of("10.9.9.9"))
        );
        write("private", "192.0.2.0/24");
        assert!(
            !library
                .set("private", Items::Addresses)
                .unwrap()
                .contains(of("10.9.9.9"))
        );
    }

    #[test]
    fn what_is_wrong_with_a_set_is_named() {
        let (folder, library) = library();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join("sets").join(name), text).unwrap();
        };
        write("mail", "192.0.2.1\n192.0.2\n");
        write("loop", "@loop");
        write("numbers", "80 70000");
        // Three levels of ten are a thousand sets and more.
        for (name, inner) in [("wide", "@ten "), ("ten", "@tens "), ("tens", "@loopback ")] {
            write(name, &inner.repeat(10));
        }
        assert!(library.set("ten", Items::Addresses).is_ok());
        write("vast", &format!("192.0.2.1 #{}", "x".repeat(2 << 20)));
        write("vaster", &"@vast ".repeat(40));
        assert!(library.set("vast", Items::Addresses).is_ok());
        for (name, items, words) in [
            ("mail", Items::Addresses, "@mail, line 2: this is no IPv4"),
            ("loop", Items::Addresses, "sets within one another"),
            ("wide", Items::Addresses, "a set is of 1000 sets at most"),
            ("vaster", Items::Addresses, "@vast is too much"),
            ("numbers", Items::Ports, "@numbers, line 1: at most 65535"),
            (
                "nail",
                Items::Addresses,
                "there are @bogons, @linklocal, @loop, @loopback, @mail",
            ),
            (
                "/no/such/file",
                Items::Addresses,
                "there is no file /no/such/file",
            ),
            (".", Items::Addresses, "cannot read"),
        ] {
            let says = library.set(name, items).unwrap_err();
            assert!(says.contains(words), "@{name}: {says}");
        }
    }

    #[test]
    fn numbers_have_factors() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10k", Some(10_000)),
            ("2M", Some(2_000_000)),
            ("1g", Some(1_000_000_000)),
            ("3T", Some(3_000_000_000_000)),
            ("0x1F", Some(31)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999t", None),
            ("0x", None),
            ("0x-1", None),
            ("k", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn items_are_what_the_set_is_of() {
        let item = |items: Items, word: &str| items.item(word, |_| Vec::new());
        assert_eq!(item(Items::Ports, "ftp-data"), Ok(vec![(20, 20)]));
        assert_eq!(item(Items::Ports, "1000-1024"), Ok(vec![(1000, 1024)]));
        assert_eq!(item(Items::Protocols, "TCP"), Ok(vec![(6, 6)]));
        assert_eq!(
            item(Items::Addresses, "192.0.2.7/255.255.255.0"),
            item(Items::Addresses, "192.0.2.0/24")
        );
        assert_eq!(
            item(Items::Addresses, "192.0.2.1-192.0.2.9"),
            Ok(vec![(of("192.0.2.1"), of("192.0.2.9"))])
        );
        for (items, word, words) in [
            (Items::Ports, "htps", "did you mean `https`?"),
            (Items::Ports, "9-8", "ends before"),
            (Items::Protocols, "256", "at most 255"),
            (Items::Numbers { most: 10 }, "x", "no number"),
            (Items::Addresses, "1.2.3", "no IPv4 or IPv6 address"),
            (Items::Addresses, "1.2.3.4/33", "at most 32"),
            (Items::Addresses, "::/129", "at most 128"),
            (Items::Addresses, "1.2.3.4/255.0.255.0", "without gaps"),
            (Items::Addresses, "2.2.2.2-1.1.1.1", "ends before"),
            (Items::Addresses, "mail.example", "no host of that name"),
        ] {
            let says = item(items, word).unwrap_err();
            assert!(says.contains(words), "{word}: {says}");
        }
        let resolved =
            Items::Addresses.item("mail.example", |_| vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(resolved, Ok(vec![(of("192.0.2.1"), of("192.0.2.1"))]));
    }
}
