//! Flows on their way to the writer. They become columns some at a time, while they are in the first cache of the core
//! that read them: by the thousand they would go through memory to the writer's core and once more through its own.

use std::time::Duration;

use anyhow::{Result, anyhow};
use weir_store::{
    columns::{FlowsBuilder, TOGETHER},
    schema::StoredFlow,
};

use crate::{exporters::Source, keeping::Sink, receiving::Common, writer::Message};

/// Flows that go to the writer at once, and those of one more datagram.
const FLOWS_MAX: usize = 16_384;
/// It is not bothered for fewer, since it writes as many as one message, unless the first has waited for so long.
const FLOWS_MIN: usize = 4096;
/// How long the first flow may wait.
pub const WAIT_MAX: Duration = Duration::from_millis(100);

/// Flows that the writer has not got yet.
#[derive(Default)]
pub struct Gathered {
    flows: Flows,
    /// When the first was received, nanoseconds since 1970-01-01 UTC.
    first_ns: Option<u64>,
}

/// Flows in the order in which they came: those in columns before those in rows.
#[derive(Default)]
struct Flows {
    columns: FlowsBuilder,
    rows: Vec<StoredFlow>,
    /// Whether something is done with each of them ([`Onward::passes`](crate::onward::Onward::passes)).
    are_passed_on: bool,
}

impl Sink for Flows {
    fn flows(&mut self) -> &mut Vec<StoredFlow> {
        &mut self.rows
    }

    fn columns(&mut self) -> Option<&mut FlowsBuilder> {
        if self.are_passed_on {
            return None;
        }
        self.settle();
        Some(&mut self.columns)
    }
}

impl Flows {
    fn count(&self) -> usize {
        self.columns.rows() + self.rows.len()
    }

    /// Makes columns of rows.
    fn settle(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        self.columns.take(&self.rows);
        self.rows.clear();
        // What a datagram of very many records made large is not kept. Room for one more datagram is: where flows are
        // passed on, all would be copied to get it each time.
        self.rows.shrink_to(2 * FLOWS_MIN);
    }
}

impl Gathered {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first_ns.is_none()
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.flows.count()
    }

    /// Whether they are to go to the writer: they are enough, or the first was received some time ago. A clock that was
    /// set back makes none wait for it.
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        let waits = |first_ns: u64| Duration::from_nanos(now_ns.abs_diff(first_ns)) >= WAIT_MAX;
        self.count() >= FLOWS_MIN || self.first_ns.is_some_and(waits)
    }

    /// Takes a datagram or message; false if nothing more will be taken of its connection.
    pub fn take(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        common: &Common,
    ) -> bool {
        if self.count() >= FLOWS_MAX {
            // It fails only if the thread died; the next one says so.
            let _ = self.hand_over(common);
        }
        self.flows.are_passed_on = common.onward.passes();
        let goes_on = common.take(octets, source, received_ns, &mut self.flows);
        if self.flows.count() == 0 {
            return goes_on;
        }
        self.first_ns.get_or_insert(received_ns);
        // Who passes flows on has a queue's cost for each time.
        let together = if self.flows.are_passed_on {
            FLOWS_MIN
        } else {
            TOGETHER
        };
        if self.flows.rows.len() >= together {
            self.settle(common);
        }
        goes_on
    }

    /// Passes flows on, and makes columns of them.
    fn settle(&mut self, common: &Common) {
        common.onward.pass(&mut self.flows.rows);
        self.flows.settle();
    }

    /// Gives all to the writer. It waits while the writer is behind; the socket's buffer then fills, and the kernel counts.
    ///
    /// # Errors
    /// If the writer's thread died.
    pub fn hand_over(&mut self, common: &Common) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.first_ns = None;
        self.settle(common);
        let rows = self.flows.columns.finish()?;
        common.writer.send(Message::Rows(rows)).map_err(|_| {
            anyhow!("the writing thread died: its last words are above, please report them")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_go_to_the_writer_when_they_are_many_or_have_waited() {
        const NOW_NS: u64 = 1_700_000_000_000_000_000;
        let is_due = |count: usize, first_ns: u64| {
            let flows = Flows {
                rows: vec![StoredFlow::default(); count],
                ..Flows::default()
            };
            let gathered = Gathered {
                flows,
                first_ns: (count > 0).then_some(first_ns),
            };
            gathered.is_due(NOW_NS)
        };
        assert!(!is_due(0, 0));
        assert!(!is_due(FLOWS_MIN - 1, NOW_NS));
        assert!(is_due(FLOWS_MIN, NOW_NS));
        assert!(!is_due(1, NOW_NS - 99_000_000));
        assert!(is_due(2, NOW_NS - 100_000_000));
        assert!(is_due(1, NOW_NS + 3_600_000_000_000));
    }
}
