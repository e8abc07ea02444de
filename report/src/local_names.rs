//! Names from files of the operator's: hosts, networks, and countries and autonomous systems of a MaxMind
//! database. Nobody is asked over the network.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow};
use maxminddb::{PathElement, Reader};

use crate::{
    filter::{ranges, sets},
    question::Misasked,
};

static LOADED: OnceLock<LocalNames> = OnceLock::new();

/// What an address is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Its host's name, or that of the smallest network it is in.
    Name,
    /// Its country, by two letters (ISO 3166-1).
    Country,
    /// The organisation of its autonomous system.
    AsName,
}

/// All names.
#[derive(Default)]
pub struct LocalNames {
    hosts: HashMap<u128, String>,
    /// By the bits that are free in a network, then by its first address.
    networks: BTreeMap<u32, HashMap<u128, String>>,
    databases: Vec<Reader<Vec<u8>>>,
}

/// Loads these files and those of a folder, for this process; what was loaded first stays.
///
/// # Errors
/// If one cannot be read or understood.
pub fn load(files: &[PathBuf], folder: &Path) -> Result<()> {
    if LOADED.get().is_some() {
        return Ok(());
    }
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let meant = found.filter(|file| is_meant(&file.file_name()));
    let mut paths: Vec<_> = meant.map(|file| file.path()).collect();
    paths.sort();
    // Files of the command line come last: of two names for one thing the last counts.
    paths.extend_from_slice(files);
    let mut names = LocalNames::default();
    for path in &paths {
        names
            .read(path)
            .with_context(|| Misasked(format!("cannot take names from {}", path.display())))?;
    }
    // Nothing else loads them meanwhile.
    let _ = LOADED.set(names);
    Ok(())
}

/// Whether a file is there to be read: an editor that is open, or was, leaves others beside it.
fn is_meant(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b".") && !name.ends_with(b"~")
}

/// What is known of an address.
#[must_use]
pub fn of(what: What, address: u128) -> Option<String> {
    LOADED.get()?.of(what, address)
}

/// Refuses a question that nothing was loaded for.
///
/// # Errors
/// A sentence that says what to load.
pub fn require(what: What) -> Result<()> {
    let has = |names: &LocalNames| match what {
        What::Name => !names.hosts.is_empty() || !names.networks.is_empty(),
        What::Country | What::AsName => !names.databases.is_empty(),
    };
    if LOADED.get().is_some_and(has) {
        return Ok(());
    }
    let says = match what {
        What::Name => "no names are known: say --names FILE, a hosts file or lines of PREFIX,NAME",
        What::Country | What::AsName => {
            "countries and AS names come from a MaxMind database: say --names FILE.mmdb, or put it into the library's \
             folder names"
        }
    };
    Err(Misasked(says.to_owned()).into())
}

impl LocalNames {
    fn read(&mut self, path: &Path) -> Result<()> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("mmdb") => {
                self.databases.push(Reader::open_readfile(path)?);
                Ok(())
            }
            Some("csv") => self.add_lines(&sets::read_text(path)?, Self::add_network),
            _ => self.add_lines(&sets::read_text(path)?, Self::add_host),
        }
    }

    fn add_lines(
        &mut self,
        text: &str,
        add: impl Fn(&mut Self, &str) -> Result<(), String>,
    ) -> Result<()> {
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                add(self, line).map_err(|says| anyhow!("line {number}: {says}"))?;
            }
        }
        Ok(())
    }

    /// A line of hosts(5): an address, its name, other names.
    fn add_host(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let address = words.next().unwrap_or_default();
        // Addresses with a scope are another link's on another machine.
        if address.contains('%') {
            return Ok(());
        }
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is no address: write ADDRESS NAME"))?;
        let name = words.next().ok_or("a name is missing behind the address")?;
        self.hosts
            .insert(ranges::number_of(address), name.to_owned());
        Ok(())
    }

    /// `PREFIX,NAME`, which may be in quotes.
    fn add_network(&mut self, line: &str) -> Result<(), String> {
        let (prefix, name) = line.split_once(',').ok_or("write PREFIX,NAME")?;
        let (prefix, name) = (
            prefix.trim().trim_matches('"'),
            name.trim().trim_matches('"'),
        );
        let (address, length) = prefix
            .split_once('/')
            .ok_or_else(|| format!("`{prefix}` is no prefix: write 192.0.2.0/24,NAME"))?;
        let (address, bits) = sets::prefix(address, length)?;
        let (first, last) = ranges::network(address, bits);
        let free = u128::BITS - (last - first).leading_zeros();
        let networks = self.networks.entry(free).or_default();
        networks.insert(first, name.to_owned());
        Ok(())
    }

    fn of(&self, what: What, address: u128) -> Option<String> {
        match what {
            What::Name => self.name(address),
            What::Country => self.entry(
                address,
                &[PathElement::Key("country"), PathElement::Key("iso_code")],
            ),
            What::AsName => self.entry(
                address,
                &[PathElement::Key("autonomous_system_organization")],
            ),
        }
    }

    fn name(&self, address: u128) -> Option<String> {
        if let Some(name) = self.hosts.get(&address) {
            return Some(name.clone());
        }
        self.networks.iter().find_map(|(free, networks)| {
            let first = address & u128::MAX.checked_shl(*free).unwrap_or(0);
            networks.get(&first).cloned()
        })
    }

    /// Text at a place of an address's entry; of several databases the last that has it counts.
    fn entry(&self, address: u128, place: &[PathElement<'_>]) -> Option<String> {
        let address = Ipv6Addr::from(address).to_canonical();
        self.databases.iter().rev().find_map(|database| {
            let found = database.lookup(address).ok()?;
            found.decode_path::<String>(place).ok()?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> u128 {
        ranges::number_of(text.parse().unwrap())
    }

    #[test]
    fn a_host_comes_before_its_network_and_a_small_network_before_a_large_one() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        fs::write(
            &hosts,
            "# ours\n10.1.0.7 web www\nfe80::1%lo0 lo\n::1 localhost # v6\n",
        )
        .unwrap();
        let networks = folder.path().join("campus.csv");
        let text =
            "10.0.0.0/8,campus\n10.1.0.0/16,\"lab\"\n2001:db8::/32,v6 lab\n0.0.0.0/0,world\n";
        fs::write(&networks, text).unwrap();
        let mut names = LocalNames::default();
        names.read(&hosts).unwrap();
        names.read(&networks).unwrap();
        for (address, name) in [
            ("10.1.0.7", Some("web")),
            ("10.1.0.8", Some("lab")),
            ("10.2.0.8", Some("campus")),
            ("192.0.2.1", Some("world")),
            ("2001:db8::5", Some("v6 lab")),
            ("2001:db9::5", None),
            ("::1", Some("localhost")),
        ] {
            let found = names.of(What::Name, number(address));
            assert_eq!(found.as_deref(), name, "{address}");
        }
        assert_eq!(names.of(What::Country, number("10.1.0.7")), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, words) in [
            ("hosts", "\nwww 10.1.0.7\n", "line 2: `www` is no address"),
            ("hosts", "10.1.0.7\n", "line 1: a name is missing"),
            ("a.csv", "10.1.0.7,web\n", "`10.1.0.7` is no prefix"),
            ("a.csv", "10.0.0.0/33,web\n", "line 1: at most 32"),
            ("a.mmdb", "no database", ""),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let error = LocalNames::default().read(&path).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
        }
    }
}
