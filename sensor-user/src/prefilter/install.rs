//! Makes a filter's program a step of a hook.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Result, anyhow};

use super::{
    classic::Program,
    load,
    translate::{Hook, Place, translate},
};

/// Places in the maps of steps (see the kernel programs' `main.rs`): the step that packets go on with
/// if they match,
const WANTED: u32 = 6;
/// and the filters, for frames with an Ethernet header and for those without.
const FILTER: u32 = 7;
const FILTER_RAW: u32 = 8;

/// What hooks and filters share.
#[derive(Clone, Copy, Debug)]
pub struct Hooks<'a> {
    /// The map of the hook's steps.
    pub steps: BorrowedFd<'a>,
    /// The map with the CPUs' counters.
    pub cpus: BorrowedFd<'a>,
    /// Whether received frames end here, whether they match or not.
    pub drop: bool,
}

impl Hooks<'_> {
    /// Has a program filter the frames that come to a hook, in place of the one that does.
    ///
    /// # Errors
    /// A sentence: it is too long, or the kernel refuses it.
    pub fn set_filter(&self, hook: Hook, raw: bool, program: &Program) -> Result<()> {
        let place = Place {
            hook,
            ethernet: !raw,
            verdict: verdict(hook, self.drop),
            steps: self.steps.as_raw_fd(),
            next_step: WANTED,
            cpus: self.cpus.as_raw_fd(),
        };
        let instructions = translate(program, &place).map_err(|_| {
            anyhow!(
                "the filter is too long for a program of the kernel's: join addresses into nets, or filter at the collector"
            )
        })?;
        let loaded = load::load(&instructions, hook).map_err(|(error, words)| {
            let words = words.unwrap_or_else(|| error.to_string());
            anyhow!("the kernel refuses the filter's program ({words}): leave the filter out, and filter at the collector")
        })?;
        let step = if raw { FILTER_RAW } else { FILTER };
        load::set_step(self.steps, step, &loaded)
            .map_err(|error| anyhow!("the filter cannot be put before the other programs: {error}"))
    }
}

/// What becomes of a packet at a hook: what the other steps say.
fn verdict(hook: Hook, drop: bool) -> i32 {
    /// linux/bpf.h.
    const XDP_DROP: i32 = 1;
    const XDP_PASS: i32 = 2;
    /// linux/pkt_cls.h.
    const TC_ACT_UNSPEC: i32 = -1;
    const TC_ACT_SHOT: i32 = 2;
    match (hook, drop) {
        (Hook::Xdp, true) => XDP_DROP,
        (Hook::Xdp, false) => XDP_PASS,
        (Hook::TcReceived, true) => TC_ACT_SHOT,
        (Hook::TcReceived, false) | (Hook::TcSent, _) => TC_ACT_UNSPEC,
    }
}
