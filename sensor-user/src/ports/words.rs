//! Ports, as people are told of them.

use std::fmt::Write as _;

use crate::attach::Port;

/// What is seen on a port, and how.
#[must_use]
pub fn seen(port: &Port) -> String {
    let reason = port
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let received = port
        .received
        .map(|mode| format!("received packets with {mode}{reason}"));
    let sent = port.sent.then(|| "sent ones with tc".to_owned());
    let how: Vec<_> = received.into_iter().chain(sent).collect();
    how.join(", ")
}

/// The same as a sentence, with advice.
#[must_use]
pub fn description(port: &Port) -> String {
    let mut sentence = format!("metering {}: {}", port.name, seen(port));
    if port.dead_filters > 0 {
        let _ = write!(
            sentence,
            "; tc filters that a dead weir-sensor had left there, replaced or taken off: {}",
            port.dead_filters
        );
    }
    if port.may_miss_vlan_tags() {
        let name = &port.name;
        let _ = write!(
            sentence,
            "; if the card strips VLAN tags, XDP does not see them: `ethtool -K {name} rxvlan off`"
        );
    }
    if port.may_see_uncut_packets() {
        let _ = sentence.write_str(
            "; what a guest leaves to be cut up counts as one packet: --xdp off counts each",
        );
    } else if port.may_see_merged_packets() {
        let name = &port.name;
        let _ = write!(
            sentence,
            "; packets merged on receipt (GRO) count as one: `ethtool -K {name} gro off`, or --xdp off, which counts each"
        );
    }
    sentence
}
