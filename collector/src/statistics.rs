//! The collector's account: every datagram that reached the socket is in the files, or in a counter
//! with a name.

use serde_json::Value;

/// Defines the counters once: as fields, as JSON under the same names, and to be added up.
macro_rules! statistics {
    ($($(#[doc = $what:literal])* $name:ident,)+) => {
        /// Counts since the collector started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Statistics {
            $($(#[doc = $what])* pub $name: u64,)+
        }

        impl Statistics {
            /// As a JSON object.
            #[must_use]
            pub fn to_json(&self) -> Value {
                let counters = [$((stringify!($name).to_owned(), Value::from(self.$name)),)+];
                Value::Object(counters.into_iter().collect())
            }

            /// Each by its name, with what it counts.
            #[must_use]
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($what),*), self.$name)),+]
            }

            /// Adds another part's counts; those that exporters choose may wrap.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)+
            }
        }
    };
}

statistics! {
    /// Datagrams taken from sockets, and messages from streams: applied, or in one of the next six.
    datagrams,
    /// Of a version that is not known.
    unknown_version,
    /// They contradict themselves; nothing of them is applied.
    malformed,
    /// Their exporter is not on the list of those allowed.
    not_allowed,
    /// Their exporter is held to another source port.
    other_port,
    /// Messages of connections whose templates made room for others'; those are closed.
    forgotten_stream,
    /// Copies of datagrams that came before, octet for octet; what is in them is not taken again.
    copied_datagrams,
    /// Octets of all datagrams.
    datagram_octets,
    /// Datagrams the kernel dropped because a socket's buffer was full; not in `datagrams`.
    kernel_drops,
    /// Times that receiving from a socket failed and was tried again; what waits in its buffer stays there.
    receive_errors,
    /// v1, v5, v7 and v8 datagrams whose count and octets disagree; the records that both allow were
    /// taken.
    count_mismatches,
    /// IPFIX messages with octets in their datagram beyond the length they say. Those that their last set reaches into
    /// were read, any others left out.
    trailing_octets,
    /// Flow records decoded.
    records,
    /// Packets in them.
    packets,
    /// Octets in them.
    octets,
    /// Of the flow records, those of the other direction, beside the ones they came with.
    reverse_records,
    /// Flow records that did not say when; they end at the time of their export.
    untimed_records,
    /// Values in flow records that are in the files in part or not at all: those beyond the bounds of
    /// what is kept besides the columns of a flow.
    values_not_stored,
    /// sFlow's flow samples, and records that carry a packet's first octets in place of its addresses: each is a flow
    /// record, or in `samples_not_ip`.
    flow_samples,
    /// sFlow's counter samples, which are not read.
    counter_samples,
    /// Flow samples of packets that are not IP, or of which nothing tells.
    samples_not_ip,
    /// sFlow's samples of other kinds: of vendors, and events.
    other_samples,
    /// sFlow's samples whose fields go beyond them; nothing of them is taken.
    malformed_samples,
    /// Flow samples whose source is not accounted, for want of room.
    samples_unnumbered,
    /// Options records decoded.
    options_records,
    /// Options records of which something was not remembered, for want of room.
    announcements_refused,
    /// Templates seen.
    templates,
    /// Templates that made room for others of the same exporter.
    templates_forgotten,
    /// Templates that cannot be used; what had their id before is over all the same.
    templates_refused,
    /// Templates without fields: withdrawals, which mean something in connections only.
    templates_withdrawn,
    /// Data sets whose last record goes beyond them; nothing of them is taken.
    malformed_sets,
    /// Data sets that waited for their template and were then decoded.
    late_template_sets,
    /// Records in those.
    late_records,
    /// Data sets that waited for their template, and were more than is decoded at once when it came.
    late_sets_refused,
    /// Data sets without octets, or whose template did not come in time, or for which there was no room to wait.
    unknown_template_sets,
    /// Octets of those.
    unknown_template_octets,
    /// Sets of reserved kinds.
    reserved_sets,
    /// Exporters that made room for others; their counts stay in the sums.
    exporters_forgotten,
    /// Interfaces whose names made room for others'.
    interfaces_forgotten,
    /// Sources of samples whose numbers made room for others'; those of the same source are accounted anew.
    sources_forgotten,
    /// TCP connections accepted.
    streams,
    /// TCP connections refused, because there were too many or their exporter is not allowed.
    streams_refused,
    /// TCP connections closed because what came was no message.
    streams_broken,
    /// TCP connections that were silent for ten minutes and made room for others.
    streams_idle,
    /// TCP connections closed because their templates made room for others'.
    streams_forgotten,
    /// TCP connections that ended in the middle of a message.
    streams_cut_off,
    /// Octets of connections that are no whole message: they ended in its middle, or it was none.
    stream_octets_left,
}
