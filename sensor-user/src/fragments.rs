//! The memory of first fragments for capture files: what the kernel program has in a map.

use std::collections::VecDeque;

use hashbrown::HashMap;
use weir_sensor_common::{
    Walked,
    fragment::{self, FragmentKey, Memory},
};

/// Protocol and ports of first fragments; the oldest give way.
#[derive(Debug, Default)]
pub struct Fragments {
    transports: HashMap<FragmentKey, u64>,
    order: VecDeque<FragmentKey>,
    most: usize,
}

impl Fragments {
    /// A memory for so many; 0: later fragments have no ports.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self {
            most: most as usize,
            ..Self::default()
        }
    }

    /// Gives a later fragment the protocol and ports of its first, and remembers a first one's.
    #[inline]
    pub fn join(&mut self, walked: &mut Walked) {
        if self.most != 0 && walked.fragment != 0 {
            self.join_piece(walked);
        }
    }

    fn join_piece(&mut self, walked: &mut Walked) {
        let (memory, key) = fragment::memory(walked);
        match memory {
            Memory::None => {}
            Memory::Keep => {
                let transport = fragment::transport(walked);
                if self.transports.insert(key, transport).is_none() {
                    self.order.push_back(key);
                }
                if self.order.len() > self.most
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.transports.remove(&oldest);
                }
            }
            Memory::Recall => {
                if let Some(transport) = self.transports.get(&key) {
                    fragment::inherit(walked, *transport);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_sensor_common::{
        FlowKey,
        walk::{FRAGMENT_OFFSET, MORE_FRAGMENTS},
    };

    fn piece(id: u32, fragment: u16) -> Walked {
        Walked {
            key: FlowKey {
                attributes: if fragment & FRAGMENT_OFFSET == 0 {
                    FlowKey::pack(7, 9, 17, 0, 0)
                } else {
                    FlowKey::pack(0, 0, 17, 0, 0)
                },
                ..FlowKey::default()
            },
            octets: 100,
            tcp_flags: 0,
            fragment,
            fragment_id: id,
            flow_label: 0,
            transport_offset: 34,
            headers_octets: 20,
        }
    }

    fn port_after(fragments: &mut Fragments, id: u32, fragment: u16) -> u16 {
        let mut walked = piece(id, fragment);
        fragments.join(&mut walked);
        walked.key.destination_port()
    }

    #[test]
    fn later_fragments_inherit_and_the_memory_is_bounded() {
        let mut fragments = Fragments::new(4);
        assert_eq!(port_after(&mut fragments, 1, 5), 0, "no first one yet");
        port_after(&mut fragments, 1, MORE_FRAGMENTS);
        assert_eq!(port_after(&mut fragments, 1, 5 | MORE_FRAGMENTS), 9);
        assert_eq!(port_after(&mut fragments, 2, 5), 0, "another packet");
        for id in 10..20 {
            port_after(&mut fragments, id, MORE_FRAGMENTS);
        }
        assert_eq!(port_after(&mut fragments, 1, 5), 0, "forgotten");
        assert_eq!((fragments.transports.len(), fragments.order.len()), (4, 4));
        assert_eq!(port_after(&mut Fragments::new(0), 19, 5), 0);
    }
}
