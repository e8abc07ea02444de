//! The collector's account: every datagram that reached the socket is in the files, or in a counter
//! with a name.

use serde_json::{Value, json};

/// Counts since the collector started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Datagrams taken from the socket.
    pub datagrams: u64,
    /// Octets of those.
    pub octets: u64,
    /// Datagrams the kernel dropped because the socket's buffer was full.
    pub kernel_drops: u64,
    /// Datagrams of a version that is not known, or too short for any.
    pub unknown_version: u64,
    /// Datagrams that contradict themselves; nothing of them is applied.
    pub malformed: u64,
    /// v5 datagrams whose count and octets disagree; the records that both allow were taken.
    pub count_mismatches: u64,
    /// Data FlowSets whose template is not known.
    pub unknown_template_sets: u64,
    /// Datagrams from exporters beyond the limit that took another's place.
    pub exporters_forgotten: u64,
    /// Flow records decoded.
    pub records: u64,
    /// Packets in them.
    pub packets: u64,
    /// Octets in them.
    pub flow_octets: u64,
    /// Options records decoded.
    pub options_records: u64,
    /// Templates seen.
    pub templates: u64,
    /// Templates there was no room for.
    pub templates_refused: u64,
    /// `FlowSet`s of reserved kinds.
    pub reserved_sets: u64,
}

impl Statistics {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self {
            datagrams,
            octets,
            kernel_drops,
            unknown_version,
            malformed,
            count_mismatches,
            unknown_template_sets,
            exporters_forgotten,
            records,
            packets,
            flow_octets,
            options_records,
            templates,
            templates_refused,
            reserved_sets,
        } = self;
        json!({
            "datagrams": datagrams,
            "datagram_octets": octets,
            "kernel_drops": kernel_drops,
            "unknown_version": unknown_version,
            "malformed": malformed,
            "count_mismatches": count_mismatches,
            "unknown_template_sets": unknown_template_sets,
            "exporters_forgotten": exporters_forgotten,
            "records": records,
            "packets": packets,
            "octets": flow_octets,
            "options_records": options_records,
            "templates": templates,
            "templates_refused": templates_refused,
            "reserved_sets": reserved_sets,
        })
    }
}
