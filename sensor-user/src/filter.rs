//! tc programs as filters of clsact, as before Linux 6.6, where tc has no links: they stay when the
//! process that put them there dies. Each of ours has one place at a hook, so that the next sensor
//! finds it and puts its own program there in one step, and no packet goes by between the two.
//!
//! Whether a filter's sensor is dead is asked of /proc: nobody else holds its program then.

use std::{fs, io, mem, path::Path, process};

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    Link as _, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};

use weir_service::daemon::program_name;

use crate::{interface, netlink, options::PROGRAMS};

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
        if at == TcAttachType::Egress && hook_is(ifindex, b"ingress") {
            bail!(
                "tc's `ingress` is on {name}, which has no place for what is sent, and the kernel takes no `clsact` beside it: `tc qdisc del dev {name} ingress` takes it off with its filters, or meter what is received only (--direction in)"
            );
        }
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

    /// Has it come off with the value, also if it was to stay.
    pub fn come_off(&mut self) {
        self.stays = false;
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

/// The hook that filters are put at, a queueing discipline, if it was not there before. It goes with the value, unless
/// somebody else has put a filter there.
pub struct Clsact {
    ifindex: u32,
}

impl Clsact {
    /// Adds it; `None` if it is there, or cannot be.
    #[must_use]
    pub fn add(name: &str) -> Option<Self> {
        tc::qdisc_add_clsact(name).ok()?;
        let ifindex = interface::ifindex(name)?;
        Some(Self { ifindex })
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        /// It always has this one.
        const HANDLE: u32 = 0xffff_0000;
        let mut filters = HOOKS.iter().map(|at| {
            let place = tc_message(self.ifindex, 0, parent(*at), 0);
            netlink::lists_nothing(libc::RTM_GETTFILTER, &place)
        });
        let is_empty = filters.all(|is_empty| is_empty.unwrap_or(false));
        // Somebody may have put the older one in its place.
        if is_empty && hook_is(self.ifindex, b"clsact") {
            let place = tc_message(self.ifindex, HANDLE, CLSACT, 0);
            let _ = netlink::order(libc::RTM_DELQDISC, &place);
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
    found(&netlink::ask(libc::RTM_GETTFILTER, &filter_place(ifindex, at)).ok()?)
}

/// Whether the hook on an interface is of this kind: `clsact`, or `ingress`, the older one, which takes filters for what is
/// sent, too, and runs them on what is received.
fn hook_is(ifindex: u32, wanted: &[u8]) -> bool {
    /// `TCA_KIND` (linux/rtnetlink.h).
    const KIND: u16 = 1;
    let place = tc_message(ifindex, 0, CLSACT, 0);
    let answer = netlink::ask(libc::RTM_GETQDISC, &place).unwrap_or_default();
    netlink::split(&answer).is_some_and(|(kind, body)| {
        kind == libc::RTM_NEWQDISC
            && body
                .get(PLACE_OCTETS..)
                .and_then(|attributes| netlink::attribute(attributes, KIND))
                .is_some_and(|name| name.starts_with(wanted))
    })
}

/// `TC_H_CLSACT`, which is `TC_H_INGRESS` too (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
/// Octets of what says where a filter is (`tcmsg`).
const PLACE_OCTETS: usize = 20;

fn filter_place(ifindex: u32, at: TcAttachType) -> Vec<u8> {
    /// `ETH_P_ALL`.
    const ALL_PROTOCOLS: u16 = 3;
    let info = u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS.to_be());
    tc_message(ifindex, u32::from(HANDLE), parent(at), info)
}

/// `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS` (linux/pkt_sched.h).
fn parent(at: TcAttachType) -> u32 {
    match at {
        TcAttachType::Ingress => 0xffff_fff2,
        TcAttachType::Egress => 0xffff_fff3,
        TcAttachType::Custom(parent) => parent,
    }
}

/// `tcmsg` (linux/rtnetlink.h), of any family.
fn tc_message(ifindex: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let words = [0, ifindex, handle, parent, info];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The filter in an answer.
fn found(answer: &[u8]) -> Option<Found> {
    /// `TCA_OPTIONS`, and within it `TCA_BPF_NAME` and `TCA_BPF_ID` (linux/rtnetlink.h, pkt_cls.h).
    const OPTIONS: u16 = 2;
    const BPF_NAME: u16 = 7;
    const BPF_ID: u16 = 11;
    let (kind, body) = netlink::split(answer)?;
    if kind != libc::RTM_NEWTFILTER {
        return None;
    }
    let options = netlink::attribute(body.get(PLACE_OCTETS..)?, OPTIONS)?;
    let name = netlink::attribute(options, BPF_NAME)?;
    let program = netlink::attribute(options, BPF_ID)?.first_chunk()?;
    Some(Found {
        program: u32::from_ne_bytes(*program),
        is_of_a_sensor: name.starts_with(NAME),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut octets = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn answer(name: &[u8]) -> Vec<u8> {
        let options = [
            nested(8, &1u32.to_ne_bytes()),
            nested(7, name),
            nested(11, &4711u32.to_ne_bytes()),
        ];
        let mut body = vec![0; PLACE_OCTETS];
        body.extend(nested(1, b"bpf\0"));
        // The kernel may mark it as nested.
        body.extend(nested(2 | 0x8000, &options.concat()));
        netlink::message(libc::RTM_NEWTFILTER, 0, &body)
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
        let octets = filter_place(9, TcAttachType::Egress);
        assert_eq!(octets.len(), PLACE_OCTETS);
        assert_eq!(octets[4..8], 9u32.to_ne_bytes());
        assert_eq!(octets[12..16], 0xffff_fff3u32.to_ne_bytes());
    }

    #[test]
    fn nobody_holds_a_program_that_is_not_there() {
        assert!(!is_held(u32::MAX));
    }
}
