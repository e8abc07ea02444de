//! Filter expressions, as tcpdump has them: which packets are metered at all.
//!
//! libpcap compiles an expression to classic BPF ([`compile`]), which is checked ([`classic`]). For an interface
//! that is made eBPF ([`translate`], and `reads` where it reads packets; [`ebpf`] has the instructions), which is
//! loaded ([`load`]) and put before all steps that read packets ([`install`]). For a capture file it runs here
//! ([`run`]). It depends on the link layer, so there is one for each.

pub mod classic;
pub mod compile;
pub mod ebpf;
pub mod install;
pub mod load;
mod reads;
pub mod run;
pub mod translate;

use classic::Program;
use compile::Compiler;
use run::Packet;

/// `DLT_EN10MB` and `DLT_RAW` (pcap/dlt.h): what interfaces have.
const ETHERNET: i32 = 1;
const RAW: i32 = 12;

/// An expression, compiled for both kinds of interfaces; for one of them it may mean nothing
/// (`ether host` where there are no such addresses).
#[derive(Clone, Debug)]
pub struct PacketFilter {
    ethernet: Result<Program, String>,
    raw: Result<Program, String>,
}

impl PacketFilter {
    /// Compiles an expression; `interface` is whose netmask `ip broadcast` goes by.
    ///
    /// # Errors
    /// A sentence: libpcap is missing, or it takes the expression for neither.
    pub fn compile(expression: &str, interface: Option<&str>) -> Result<Self, String> {
        let compiler = Compiler::open()?;
        let netmask = interface.map_or(0, |interface| compiler.netmask(interface));
        let compile = |link| {
            let program = compiler.compile(expression, link, netmask);
            program.map_err(|reason| refusal(expression, &reason))
        };
        let (ethernet, raw) = (compile(ETHERNET), compile(RAW));
        if let (Err(sentence), Err(_)) = (&ethernet, &raw) {
            return Err(sentence.clone());
        }
        Ok(Self { ethernet, raw })
    }

    /// Programs of one's own, for tests.
    #[must_use]
    pub fn of(ethernet: Program, raw: Program) -> Self {
        Self {
            ethernet: Ok(ethernet),
            raw: Ok(raw),
        }
    }

    /// The program for frames with an Ethernet header, or for those without (`raw`).
    ///
    /// # Errors
    /// A sentence: it means nothing there.
    pub fn program(&self, raw: bool) -> Result<&Program, &str> {
        let program = if raw { &self.raw } else { &self.ethernet };
        program.as_ref().map_err(String::as_str)
    }
}

/// An expression for capture files, compiled for their link layers as they come.
#[derive(Clone, Debug)]
pub struct FileFilter {
    compiler: Compiler,
    expression: String,
    programs: Vec<(i32, Program)>,
}

impl FileFilter {
    /// Nothing is compiled yet.
    ///
    /// # Errors
    /// A sentence: libpcap is missing.
    pub fn new(expression: &str) -> Result<Self, String> {
        Ok(Self {
            compiler: Compiler::open()?,
            expression: expression.to_owned(),
            programs: Vec::new(),
        })
    }

    /// Whether a packet is wanted; `link` is the file's `LINKTYPE_…`.
    ///
    /// # Errors
    /// A sentence: libpcap does not take the expression for this link layer, or it asks for what files
    /// do not tell.
    pub fn wants(&mut self, link: i32, packet: Packet<'_>) -> Result<bool, String> {
        let known = self.programs.iter().position(|(known, _)| *known == link);
        let place = match known {
            Some(place) => place,
            None => self.add(link)?,
        };
        Ok(run::matches(&self.programs[place].1, packet))
    }

    fn add(&mut self, link: i32) -> Result<usize, String> {
        let refuse = |reason: &str| refusal(&self.expression, reason);
        let program = self.compiler.compile(&self.expression, data_link(link), 0);
        let program = program.map_err(|reason| refuse(&reason))?;
        if program.has_ancillary() {
            return Err(refuse(
                "a capture file does not tell interface and direction",
            ));
        }
        self.programs.push((link, program));
        Ok(self.programs.len() - 1)
    }
}

fn refusal(expression: &str, reason: &str) -> String {
    format!("the filter `{expression}` cannot be used: {reason}")
}

/// libpcap's number for a file's link layer: raw IP has one in files and another in memory (OpenBSD's
/// is a third), the rest are the same (<https://www.tcpdump.org/linktypes.html>). The upper bits tell
/// the length of a frame check sequence.
fn data_link(link: i32) -> i32 {
    match link & 0xffff {
        14 | 101 => RAW,
        link => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_may_mean_nothing_on_one_kind_of_interface() {
        let filter = PacketFilter::compile("ether src 02:00:00:00:00:01", None).unwrap();
        assert!(filter.program(false).is_ok());
        let sentence = filter.program(true).unwrap_err();
        assert!(sentence.starts_with("the filter `ether src "), "{sentence}");
        let sentence = PacketFilter::compile("port", None).unwrap_err();
        assert!(sentence.contains("syntax error"), "{sentence}");
    }

    #[test]
    fn each_link_layer_has_its_program() {
        let mut filter = FileFilter::new("ip proto 17").unwrap();
        let mut raw = [0; 20];
        (raw[0], raw[9]) = (0x45, 17);
        let mut ethernet = [0; 34];
        (ethernet[12], ethernet[14], ethernet[23]) = (8, 0x45, 17);
        let mut wants = |link, octets: &[u8]| {
            let packet = Packet {
                octets,
                wire_octets: 1500,
            };
            filter.wants(link, packet)
        };
        for (link, wanted) in [(1, false), (101, true), (12, true), (14, true)] {
            assert_eq!(wants(link, &raw), Ok(wanted), "{link}");
        }
        assert_eq!(wants(1, &ethernet), Ok(true));
        assert_eq!(wants(101, &ethernet), Ok(false));
        assert_eq!(wants(1, &ethernet[..23]), Ok(false));
    }

    #[test]
    fn files_tell_no_direction() {
        let mut filter = FileFilter::new("inbound").unwrap();
        let packet = Packet {
            octets: &[0; 60],
            wire_octets: 60,
        };
        let sentence = filter.wants(1, packet).unwrap_err();
        assert!(sentence.contains("direction"), "{sentence}");
    }
}
