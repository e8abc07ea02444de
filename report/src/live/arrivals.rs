//! Records as they arrive: the collector's open windows, read as they grow. A window that is closed is
//! read to its end, since its file was opened before.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

use arrow::{
    array::{Array, AsArray as _, RecordBatch},
    datatypes::{
        ArrowPrimitiveType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use weir_netflow::{Direction, EndReason, FlowRecord};
use weir_store::{StoreError, follow::Follower, read, schema::StoredFlow};

use crate::filter::ranges;

/// The windows of a directory.
pub struct Arrivals {
    /// The collector's directory.
    root: PathBuf,
    windows: BTreeMap<PathBuf, Follower>,
}

impl Arrivals {
    /// Follows a directory's windows, from the beginning of those that are open.
    #[must_use]
    pub fn of(root: PathBuf) -> Self {
        Self {
            root,
            windows: BTreeMap::new(),
        }
    }

    /// Shows what has arrived since the last call; what could not be read, as a sentence.
    pub fn read(&mut self, mut arrived: impl FnMut(&StoredFlow)) -> Option<String> {
        let mut trouble = None;
        let listed = match read::list_open(&self.root) {
            Ok(listed) => listed,
            Err(error) => {
                trouble = Some(error.to_string());
                Vec::new()
            }
        };
        for path in &listed {
            if !self.windows.contains_key(path) {
                match Follower::open(path) {
                    Ok(follower) => drop(self.windows.insert(path.clone(), follower)),
                    // It was closed between the list and the look.
                    Err(_) if !path.exists() => {}
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
        }
        for (path, window) in &mut self.windows {
            let ended = window.read_on(|batch| {
                flows(&batch, &mut arrived);
                Ok::<(), StoreError>(())
            });
            match ended {
                Ok(None) => {}
                Ok(Some(reason)) => trouble = Some(format!("{}: {reason}", path.display())),
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        // What is not listed any more was read to its end just now.
        self.windows.retain(|path, _| listed.contains(path));
        trouble
    }
}

/// The flows of a batch; what it has no column for stays as it is by default.
fn flows(batch: &RecordBatch, arrived: &mut impl FnMut(&StoredFlow)) {
    let time = |name: &str, row: usize| {
        let ns = value::<TimestampNanosecondType>(batch, name, row);
        u64::try_from(ns.unwrap_or(0)).unwrap_or(0)
    };
    let octet = |name: &str, row| value::<UInt8Type>(batch, name, row).unwrap_or(0);
    let short = |name: &str, row| value::<UInt16Type>(batch, name, row).unwrap_or(0);
    let word = |name: &str, row| value::<UInt32Type>(batch, name, row).unwrap_or(0);
    let long = |name: &str, row| value::<UInt64Type>(batch, name, row).unwrap_or(0);
    for row in 0..batch.num_rows() {
        let record = FlowRecord {
            source: address(batch, "src_addr", row),
            destination: address(batch, "dst_addr", row),
            next_hop: address(batch, "next_hop", row),
            v6: octet("ip_version", row) == 6,
            source_port: short("src_port", row),
            destination_port: short("dst_port", row),
            protocol: octet("protocol", row),
            tos: octet("tos", row),
            tcp_flags: short("tcp_flags", row),
            octets: long("octets", row),
            packets: long("packets", row),
            start_ns: time("flow_start", row),
            end_ns: time("flow_end", row),
            ingress_ifindex: word("ingress_ifindex", row),
            egress_ifindex: word("egress_ifindex", row),
            source_as: word("src_as", row),
            destination_as: word("dst_as", row),
            source_mask: octet("src_mask", row),
            destination_mask: octet("dst_mask", row),
            vlan: short("vlan", row),
            direction: if octet("direction", row) == 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            end_reason: EndReason::from_number(octet("end_reason", row)),
            sampling_interval: word("sampling_interval", row),
            ..FlowRecord::default()
        };
        arrived(&StoredFlow {
            record,
            received_ns: time("received", row),
            exporter: exporter(batch, row),
            source_id: word("source_id", row),
            version: octet("version", row),
        });
    }
}

fn value<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str, row: usize) -> Option<T::Native> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<T>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn address(batch: &RecordBatch, name: &str, row: usize) -> Ipv6Addr {
    let column = batch.column_by_name(name);
    let column = column.and_then(|column| column.as_fixed_size_binary_opt());
    let octets = column
        .filter(|column| column.is_valid(row))
        .and_then(|column| <[u8; 16]>::try_from(column.value(row)).ok());
    octets.map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

fn exporter(batch: &RecordBatch, row: usize) -> Ipv6Addr {
    let column = batch.column_by_name("exporter");
    let text = column.and_then(|column| column.as_string_opt::<i32>());
    let address = text.and_then(|text| text.value(row).parse::<IpAddr>().ok());
    address.map_or(Ipv6Addr::UNSPECIFIED, |address| {
        Ipv6Addr::from(ranges::number_of(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::tests::flow;
    use weir_store::{layout::Directory, window::Window};

    #[test]
    fn records_are_read_as_they_were_written_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut arrivals = Arrivals::of(folder.path().to_owned());
        let mut window = Window::create(&directory.window_path(1_795_237_200)).unwrap();
        let mut written = flow(1, 2, 700, 0);
        written.exporter = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        written.record.source_as = 64_500;
        window.append(&[written, flow(3, 4, 100, 1)]).unwrap();
        let mut seen = Vec::new();
        assert_eq!(arrivals.read(|flow| seen.push(*flow)), None);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], written);
        window.append(&[flow(5, 6, 100, 2)]).unwrap();
        std::fs::remove_file(window.path()).unwrap();
        assert_eq!(arrivals.read(|flow| seen.push(*flow)), None);
        assert_eq!(seen.len(), 3);
        assert!(arrivals.windows.is_empty());
    }
}
