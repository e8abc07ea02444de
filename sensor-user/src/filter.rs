//! tc programs as filters of clsact, as before Linux 6.6, where tc has no links: they stay when the
//! process that put them there dies. Each of ours has one place at a hook, so that the next sensor
//! finds it and puts its own program there in one step, and no packet goes by between the two.
//!
//! Whether a filter's sensor is dead is asked of /proc: nobody else holds its program then.
#![expect(unsafe_code, reason = "a system call")]

use std::{
    fs, io, mem,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
    process,
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    Link as _, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};

use weir_service::daemon::program_name;

use crate::{interface, options::PROGRAMS};

/// Our place at a hook: priority and handle, "weir" in letters.
const PRIORITY: u16 = 0x7765;
const HANDLE: TcHandle = TcHandle::new(0x7765, 0x6972);
/// What the names of our programs begin with.
const NAME: &[u8] = b"weir_";
const HOOKS: [TcAttachType; 2] = [TcAttachType::Ingress, TcAttachType::Egress];

/// A filter of ours.
pub struct Filter {
    ifindex: u32,
    at: TcAttachType,
    /// The program's id.
    program: u32,
    /// It comes off with this.
    link: Option<SchedClassifierLink>,
    stays: bool,
}

impl Filter {
    /// Puts a program at a hook, in the place of one that a dead sensor left, if there is one, which is
    /// told too. With `stays` it does not come off when the value is dropped.
    ///
    /// # Errors
    /// A sentence: a sensor that lives or another program has the place, or what the kernel says.
    pub fn attach(
        program: &mut SchedClassifier,
        name: &str,
        at: TcAttachType,
        stays: bool,
    ) -> Result<(Self, bool)> {
        let ifindex = interface::ifindex(name).context("the interface is gone")?;
        // The hook is a queueing discipline, which may have been added already.
        let _ = tc::qdisc_add_clsact(name);
        let ours = program.info()?.id();
        let found = find(ifindex, at);
        let link = match &found {
            None => {
                let options = NlOptions {
                    priority: PRIORITY,
                    handle: HANDLE,
                    classid: None,
                };
                program.attach_with_options(name, at, TcAttachOptions::Netlink(options))?
            }
            Some(found) if !found.is_of_a_sensor => bail!(
                "another program's tc filter has weir-sensor's place, priority {PRIORITY}: `tc filter del dev {name} {} pref {PRIORITY}` takes it off",
                word(at)
            ),
            Some(found) if found.program != ours && is_held(found.program) => {
                bail!("another weir-sensor that lives has its filter there: end it first")
            }
            // The kernel exchanges the programs.
            Some(_) => program.attach_to_link(place(name, at)?)?,
        };
        let filter = Self {
            ifindex,
            at,
            program: ours,
            link: Some(program.take_link(link)?),
            stays,
        };
        let replaced = found.is_some_and(|found| found.program != ours);
        Ok((filter, replaced))
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        find(self.ifindex, self.at).is_some_and(|found| found.program == self.program)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // Dropped, a link takes off whatever is in its place, which may be another sensor's filter by
        // now. This kind has no descriptor to close.
        if self.stays || !self.is_attached() {
            mem::forget(self.link.take());
        }
    }
}

/// Takes off what dead sensors left on an interface; how many filters that were.
///
/// # Errors
/// What the kernel says.
pub fn remove_dead(name: &str) -> Result<usize> {
    let Some(ifindex) = interface::ifindex(name) else {
        return Ok(0);
    };
    let mut removed = 0;
    for at in HOOKS {
        let dead = |found: &Found| found.is_of_a_sensor && !is_held(found.program);
        if find(ifindex, at).as_ref().is_some_and(dead) {
            place(name, at)?.detach()?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a sensor that lives has a filter on an interface.
#[must_use]
pub fn has_living(name: &str) -> bool {
    let lives = |found: Found| found.is_of_a_sensor && is_held(found.program);
    interface::ifindex(name).is_some_and(|ifindex| {
        let mut found = HOOKS.iter().filter_map(|at| find(ifindex, *at));
        found.any(lives)
    })
}

/// Whether there is a filter of a sensor's for what an interface receives.
#[must_use]
pub fn receives(ifindex: u32) -> bool {
    find(ifindex, TcAttachType::Ingress).is_some_and(|found| found.is_of_a_sensor)
}

/// Our place at a hook, as aya names what is in it.
fn place(name: &str, at: TcAttachType) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, at, PRIORITY, HANDLE, None)
}

fn word(at: TcAttachType) -> &'static str {
    match at {
        TcAttachType::Egress => "egress",
        TcAttachType::Ingress | TcAttachType::Custom(_) => "ingress",
    }
}

/// Whether a process holds a program. Our own are looked at first: mostly it is us. A sensor with other
/// privileges than ours may not be looked into; it may hold the program, so it does.
fn is_held(program: u32) -> bool {
    let line = format!("prog_id:\t{program}");
    let own = Path::new("/proc").join(process::id().to_string());
    let holds = |process: &Path| {
        let tells = |text: io::Result<String>| match text {
            Ok(text) => text.lines().any(|found| found == line),
            Err(error) => {
                error.kind() == io::ErrorKind::PermissionDenied
                    && process != own
                    && program_name(process, &PROGRAMS).is_some()
            }
        };
        match fs::read_dir(process.join("fdinfo")) {
            Ok(files) => files
                .flatten()
                .any(|file| tells(fs::read_to_string(file.path()))),
            Err(error) => tells(Err(error)),
        }
    };
    let processes = || fs::read_dir("/proc").into_iter().flatten().flatten();
    holds(&own) || processes().any(|process| holds(&process.path()))
}

/// What is in our place at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The program's id.
    program: u32,
    /// Whether its name is one of ours.
    is_of_a_sensor: bool,
}

/// Asks the kernel for the filter in our place (rtnetlink(7), `RTM_GETTFILTER`). Where there is no
/// clsact, or the kernel does not say, there is none.
fn find(ifindex: u32, at: TcAttachType) -> Option<Found> {
    // SAFETY: the call takes no pointers.
    let socket = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if socket < 0 {
        return None;
    }
    // SAFETY: a fresh descriptor of our own.
    let socket = UnixDatagram::from(unsafe { OwnedFd::from_raw_fd(socket) });
    let mut answer = [0; 8192];
    socket.send(&request(ifindex, at)).ok()?;
    let octets = socket.recv(&mut answer).ok()?;
    found(&answer[..octets])
}

/// Octets of a message's header (`nlmsghdr`), and of what says where a filter is (`tcmsg`).
const HEADER_OCTETS: usize = 16;
const PLACE_OCTETS: usize = 20;

fn request(ifindex: u32, at: TcAttachType) -> Vec<u8> {
    /// `NLM_F_REQUEST`.
    const REQUEST: u16 = 1;
    /// `ETH_P_ALL`.
    const ALL_PROTOCOLS: u16 = 3;
    /// `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS` (linux/pkt_sched.h).
    const INGRESS: u32 = 0xffff_fff2;
    const EGRESS: u32 = 0xffff_fff3;
    let parent = match at {
        TcAttachType::Ingress => INGRESS,
        TcAttachType::Egress => EGRESS,
        TcAttachType::Custom(parent) => parent,
    };
    let words = [
        36, // Octets of all this.
        u32::from_ne_bytes(pair(libc::RTM_GETTFILTER, REQUEST)),
        1, // The request's number,
        0, // and it is for the kernel.
        0, // Of any family.
        ifindex,
        u32::from(HANDLE),
        parent,
        u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS.to_be()),
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn pair(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

/// The filter in an answer.
fn found(answer: &[u8]) -> Option<Found> {
    /// `TCA_OPTIONS`, and within it `TCA_BPF_NAME` and `TCA_BPF_ID` (linux/rtnetlink.h, pkt_cls.h).
    const OPTIONS: u16 = 2;
    const BPF_NAME: u16 = 7;
    const BPF_ID: u16 = 11;
    let (header, body) = answer.split_at_checked(HEADER_OCTETS)?;
    if u16::from_ne_bytes([header[4], header[5]]) != libc::RTM_NEWTFILTER {
        return None;
    }
    let options = attribute(body.get(PLACE_OCTETS..)?, OPTIONS)?;
    let name = attribute(options, BPF_NAME)?;
    let program = attribute(options, BPF_ID)?.first_chunk()?;
    Some(Found {
        program: u32::from_ne_bytes(*program),
        is_of_a_sensor: name.starts_with(NAME),
    })
}

/// The value of the first attribute of a kind (`nlattr`: length with this header, kind, value; the
/// next one begins on four octets).
fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    const KIND: u16 = 0x3fff;
    while let [l0, l1, k0, k1, ..] = *octets {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = octets.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & KIND == wanted {
            return Some(value);
        }
        octets = octets.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut octets = [&pair(length, kind)[..], value].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn answer(name: &[u8]) -> Vec<u8> {
        let options = [
            nested(8, &1u32.to_ne_bytes()),
            nested(7, name),
            nested(11, &4711u32.to_ne_bytes()),
        ];
        let mut octets = vec![0; HEADER_OCTETS + PLACE_OCTETS];
        octets[4..6].copy_from_slice(&libc::RTM_NEWTFILTER.to_ne_bytes());
        octets.extend(nested(1, b"bpf\0"));
        // The kernel may mark it as nested.
        octets.extend(nested(2 | 0x8000, &options.concat()));
        octets
    }

    #[test]
    fn a_filter_is_known_by_its_programs_name() {
        for (name, is_of_a_sensor) in [(&b"weir_egress\0"[..], true), (b"other\0", false)] {
            let expected = Found {
                program: 4711,
                is_of_a_sensor,
            };
            assert_eq!(found(&answer(name)), Some(expected));
        }
    }

    #[test]
    fn answers_that_are_cut_or_errors_are_none() {
        let whole = answer(b"weir_egress\0");
        for octets in 0..whole.len() {
            assert_eq!(found(&whole[..octets]), None, "{octets}");
        }
        let mut error = whole;
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(found(&error), None);
    }

    #[test]
    fn a_request_names_the_place() {
        let octets = request(9, TcAttachType::Egress);
        assert_eq!(octets.len(), HEADER_OCTETS + PLACE_OCTETS);
        assert_eq!(octets[..4], 36u32.to_ne_bytes());
        assert_eq!(octets[20..24], 9u32.to_ne_bytes());
        assert_eq!(octets[28..32], 0xffff_fff3u32.to_ne_bytes());
    }

    #[test]
    fn nobody_holds_a_program_that_is_not_there() {
        assert!(!is_held(u32::MAX));
    }
}
