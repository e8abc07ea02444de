//! What is told of exporters: how many there are, what each sent and lost, what they call their interfaces.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_netflow::{record::display_address, sflow};

use super::{Exporters, Key};
use crate::{
    exporter::Exporter,
    sums::{Sums, Unit},
};

impl Exporters {
    /// Exporters heard that are known now.
    #[must_use]
    pub fn heard_count(&self) -> usize {
        let heard = self.map.iter();
        heard.filter(|(_, exporter)| exporter.datagrams > 0).count()
    }

    /// Units lost, over all exporters: records, and datagrams for v9 and sFlow.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        self.map.iter().fold(
            self.lost_by_forgotten,
            |(records, datagrams), (key, exporter)| {
                let lost = exporter.sequence.counts().lost;
                match Unit::of_stream(key.version, exporter.sequence.counts_other_unit()) {
                    Some(Unit::Datagrams) => (records, datagrams + lost),
                    _ => (records + lost, datagrams),
                }
            },
        )
    }

    /// Each stream's account, as JSON, in a stable order: its counts, and what its exporter said about itself.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Key, Value)> {
        let with_announced = |(key, (sums, exporters)): (Key, (Sums, Vec<&Exporter>))| {
            let mut account = account(&key, sums, &exporters);
            if let Value::Object(account) = &mut account {
                for exporter in exporters {
                    exporter.announced.add_to_json(account);
                }
                sums.counted.add_to_json(account);
            }
            (key, account)
        };
        self.streams().into_iter().map(with_announced).collect()
    }

    /// The counts alone.
    #[must_use]
    pub fn counts(&self) -> Vec<(Key, Value)> {
        let streams = self.streams().into_iter();
        let counts = streams.map(|(key, (sums, exporters))| (key, account(&key, sums, &exporters)));
        counts.collect()
    }

    /// Streams that were heard, with the counts of all their connections and what is known of those that last.
    fn streams(&self) -> BTreeMap<Key, (Sums, Vec<&Exporter>)> {
        let ended = self.ended.iter().map(|(key, sums)| (*key, *sums, None));
        let lasting = self
            .heard_ones()
            .map(|(key, exporter)| (key.stream(), Sums::of(exporter), Some(exporter)));
        let mut streams: BTreeMap<Key, (Sums, Vec<&Exporter>)> = BTreeMap::new();
        for (key, sums, exporter) in ended.chain(lasting) {
            let stream = streams.entry(key).or_default();
            stream.0.add(&sums);
            stream.1.extend(exporter);
        }
        streams
    }

    /// What exporters call their interfaces, of those that say, as JSON, in no order.
    #[must_use]
    pub fn interface_names(&self) -> Vec<(Key, Value)> {
        let names = self.heard_ones();
        let names = names.filter(|(_, exporter)| exporter.announced.interfaces() > 0);
        let names = names.map(|(key, exporter)| {
            let names = json!({
                "exporter": display_address(key.address).to_string(),
                "version": key.version,
                "source_id": key.domain,
                "interfaces": exporter.announced.interface_names(),
            });
            (*key, names)
        });
        names.collect()
    }

    fn heard_ones(&self) -> impl Iterator<Item = (&Key, &Exporter)> {
        let known = self.map.iter();
        known.filter(|(_, exporter)| exporter.datagrams > 0)
    }
}

fn account(key: &Key, sums: Sums, exporters: &[&Exporter]) -> Value {
    let mut account = sums.to_json(key);
    if let Value::Object(account) = &mut account
        && key.version == sflow::VERSION_NUMBER
    {
        for exporter in exporters {
            exporter.samples.add_to_json(account);
        }
    }
    account
}
