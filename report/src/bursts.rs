//! Bursts: hosts that have as many flows within some minutes as a pattern wants, whatever else they did. The engine puts
//! the flows in order, and spills; a host's last minutes slide by.

use std::collections::{HashSet, VecDeque};

use anyhow::{Result, bail};
use arrow::{
    array::AsArray as _,
    datatypes::{DataType, Int64Type, UInt64Type},
};
use datafusion::prelude::{DataFrame, cast, col, lit};
use futures::StreamExt as _;

use crate::{
    element::{KeyValue, key_value},
    signatures::{By, Signature},
    text,
};

/// Hosts with a burst, at most: they are held in memory.
const HOSTS_MAX: usize = 4_000_000;
const MINUTE_MS: i64 = 60_000;
const MILLISECOND_NS: i64 = 1_000_000;

/// Hosts that have a burst ([`Signature::burst`]) among flows that fit a signature.
///
/// # Errors
/// If the query fails, or there are too many.
pub async fn hosts(flows: &DataFrame, signature: &Signature) -> Result<HashSet<KeyValue>> {
    let mut hosts = HashSet::new();
    let Some((minutes, least)) = signature.burst() else {
        return Ok(hosts);
    };
    let address = match signature.by {
        By::Source => "src_addr",
        By::Destination => "dst_addr",
    };
    let since_ns = cast(col("flow_start"), DataType::Int64);
    let columns = vec![
        col(address).alias("host"),
        (since_ns / lit(MILLISECOND_NS)).alias("since_ms"),
        cast(col("flows"), DataType::UInt64).alias("often"),
    ];
    let order = ["host", "since_ms"].map(|column| col(column).sort(true, false));
    let flows = flows.clone().select(columns)?.sort(order.to_vec())?;
    let mut stream = flows.execute_stream().await?;
    let mut last = LastMinutes::new(minutes, least);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let since_ms = batch.column(1).as_primitive::<Int64Type>();
        let often = batch.column(2).as_primitive::<UInt64Type>();
        for row in 0..batch.num_rows() {
            let host = key_value(batch.column(0), row);
            if last.take(&host, since_ms.value(row), often.value(row)) {
                hosts.insert(host);
            }
        }
        if hosts.len() > HOSTS_MAX {
            bail!(
                "more than {} hosts have flows as often as {} wants them: ask for a shorter time",
                text::count(HOSTS_MAX as u64),
                signature.name
            );
        }
    }
    Ok(hosts)
}

/// The flows of a host that began in its last minutes. Those of a millisecond are one, so that memory is bounded by the
/// minutes, however many flows there are.
struct LastMinutes {
    length_ms: i64,
    /// So many are a burst.
    least: u128,
    host: KeyValue,
    within: VecDeque<(i64, u128)>,
    flows: u128,
}

impl LastMinutes {
    fn new(minutes: u64, least: u64) -> Self {
        let minutes = i64::try_from(minutes).unwrap_or(i64::MAX);
        Self {
            length_ms: minutes.saturating_mul(MINUTE_MS),
            least: least.into(),
            host: KeyValue::None,
            within: VecDeque::new(),
            flows: 0,
        }
    }

    /// Takes flows, host by host, each one's in their order; whether those of the last minutes are a burst.
    fn take(&mut self, host: &KeyValue, since_ms: i64, often: u64) -> bool {
        if self.host != *host {
            self.host = host.clone();
            self.within.clear();
            self.flows = 0;
        }
        let often = u128::from(often);
        self.flows += often;
        match self.within.back_mut() {
            Some((at_ms, flows)) if *at_ms == since_ms => *flows += often,
            _ => self.within.push_back((since_ms, often)),
        }
        while let Some((at_ms, flows)) = self.within.front().copied() {
            if since_ms.saturating_sub(at_ms) <= self.length_ms {
                break;
            }
            self.within.pop_front();
            self.flows -= flows;
        }
        self.flows >= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether flows at these times, in milliseconds, have two minutes with four of them.
    fn has_burst(times_ms: &[i64]) -> bool {
        let mut last = LastMinutes::new(2, 4);
        let host = KeyValue::Address(1);
        times_ms.iter().any(|at_ms| last.take(&host, *at_ms, 1))
    }

    #[test]
    fn a_burst_is_one_wherever_it_begins() {
        for begin_ms in [0, 1, 60_000, 119_999, 1_795_132_799_000] {
            let at = |times_ms: [i64; 5]| has_burst(&times_ms.map(|at_ms| begin_ms + at_ms));
            assert!(at([0, 60_000, 90_000, 120_000, 900_000]), "{begin_ms}");
            assert!(at([0, 100_000, 220_000, 220_000, 220_000]), "{begin_ms}");
            assert!(!at([0, 60_000, 90_000, 120_001, 900_000]), "{begin_ms}");
        }
    }

    #[test]
    fn each_host_has_bursts_of_its_own() {
        let mut last = LastMinutes::new(1, 3);
        let hosts = [1, 1, 2, 3, 3, 3].map(KeyValue::Address);
        let bursts = hosts.map(|host| last.take(&host, 7, 1));
        assert_eq!(bursts, [false, false, false, false, false, true]);
        // A record may stand for several flows, and for as many as there can be.
        assert!(last.take(&KeyValue::Address(4), 7, 3));
        assert!(last.take(&KeyValue::Address(4), 7, u64::MAX));
        assert!(!last.take(&KeyValue::Address(4), 70_000, 2));
    }
}
