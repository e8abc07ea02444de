//! The sensor's table, asked for over its control socket: `live [host A [peer B]] N`, answered with an
//! object a line, first the table's sums and then the flows with most octets.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Ipv6Addr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use weir_netflow::{
    Direction, FlowRecord,
    record::{display_address, mapped_address},
};
use weir_service::control;
use weir_store::schema::StoredFlow;

use super::{
    ledger::{Open, Table},
    look::Narrowed,
};

/// Patience with a sensor that says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Flows asked for: more than anybody reads, and few enough to be told in a moment.
const FLOWS_MAX: usize = 10_000;
/// Octets of an answer, at most.
const ANSWER_OCTETS_MAX: u64 = 32 << 20;

/// A sensor.
#[derive(Debug)]
pub struct Sensor {
    /// Its control socket.
    pub path: PathBuf,
}

/// What it told.
#[derive(Debug)]
pub struct Told {
    /// The flows with most octets.
    pub table: Table,
    /// How many flows there are that fit, told or not.
    pub flows: u64,
    /// One packet in so many is in them.
    pub sampling_interval: u32,
}

impl Sensor {
    /// Looks whether a sensor listens there.
    ///
    /// # Errors
    /// Why it cannot be asked, in a sentence.
    pub fn look_for(path: &Path) -> Result<(), String> {
        UnixStream::connect(path)
            .map(drop)
            .map_err(|error| control::unanswered(path, &error))
    }

    /// Asks for the table.
    ///
    /// # Errors
    /// A sentence.
    pub fn table(&self, narrowed: Narrowed) -> Result<Told, String> {
        let name = self.path.display();
        let failed = |error: std::io::Error| {
            format!("the sensor at {name} does not answer ({error}): is it stuck?")
        };
        let mut stream = UnixStream::connect(&self.path)
            .map_err(|error| control::unanswered(&self.path, &error))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream
            .write_all(question(narrowed).as_bytes())
            .map_err(failed)?;
        let mut lines = BufReader::new(stream.take(ANSWER_OCTETS_MAX)).lines();
        let head = lines
            .next()
            .unwrap_or_else(|| Ok(String::new()))
            .map_err(failed)?;
        let mut told = head_of(&head).map_err(|says| format!("the sensor at {name}: {says}"))?;
        for line in lines {
            let line = line.map_err(failed)?;
            let flow = flow_of(&line);
            told.table.flows.push(flow.ok_or_else(|| {
                format!("the sensor at {name} said what is no flow: is it of another version?")
            })?);
        }
        Ok(told)
    }
}

fn question(narrowed: Narrowed) -> String {
    let mut words = "live".to_owned();
    for (name, address) in [("host", narrowed.host), ("peer", narrowed.peer)] {
        if let Some(address) = address {
            let _ = write!(words, " {name} {}", display_address(address));
        }
    }
    format!("{words} {FLOWS_MAX}\n")
}

/// The first line of an answer.
fn head_of(line: &str) -> Result<Told, String> {
    if line.starts_with("Unknown control command") {
        return Err(
            "it is older than this weir, or softflowd, and cannot tell its flows".to_owned(),
        );
    }
    if let Some(sentence) = line.strip_prefix("Refused: ") {
        return Err(sentence.to_owned());
    }
    let head: Value = serde_json::from_str(line)
        .map_err(|_| "what it said is no table: is it of another version?".to_owned())?;
    let number = |name: &str| {
        let number = head[name].as_u64();
        number.ok_or_else(|| format!("it did not say `{name}`: is it of another version?"))
    };
    Ok(Told {
        table: Table {
            monotonic_ns: number("monotonic_ns")?,
            unix_ns: number("unix_ns")?,
            flows: Vec::new(),
        },
        flows: number("flows")?,
        // A sensor that is older than this does not say.
        sampling_interval: number("sampling_interval")
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(1),
    })
}

/// A flow's line.
fn flow_of(line: &str) -> Option<Open> {
    let flow: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| -> Option<Ipv6Addr> {
        let address = flow[name].as_str()?.parse().ok()?;
        Some(mapped_address(address))
    };
    let number = |name: &str| flow[name].as_u64();
    let short = |name: &str| u16::try_from(number(name)?).ok();
    let octet = |name: &str| u8::try_from(number(name)?).ok();
    let ifindex = u32::try_from(number("ifindex")?).ok()?;
    let leaves = flow["egress"].as_bool()?;
    let source = address("src")?;
    let record = FlowRecord {
        source,
        destination: address("dst")?,
        v6: source.to_ipv4_mapped().is_none(),
        source_port: short("src_port")?,
        destination_port: short("dst_port")?,
        protocol: octet("proto")?,
        tos: octet("tos")?,
        vlan: short("vlan")?,
        tcp_flags: short("flags")?,
        octets: number("octets")?,
        packets: number("packets")?,
        start_ns: number("first_ns")?,
        end_ns: number("last_ns")?,
        ingress_ifindex: if leaves { 0 } else { ifindex },
        egress_ifindex: if leaves { ifindex } else { 0 },
        direction: if leaves {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        ..FlowRecord::default()
    };
    let received_ns = record.end_ns;
    let flow_number = number("number")?;
    Some(Open {
        number: flow_number,
        flow: StoredFlow {
            record,
            received_ns,
            ..StoredFlow::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        r#"{"monotonic_ns":5,"unix_ns":6,"flows":7,"octets":8,"packets":9,"changing":0,"told":1}"#;
    const FLOW: &str = r#"{"number":3,"src":"10.0.0.1","dst":"10.0.0.2","src_port":1234,"dst_port":80,"proto":6,"tos":0,"vlan":0,"flags":18,"octets":1500,"packets":2,"first_ns":10,"last_ns":20,"ifindex":4,"egress":true}"#;

    #[test]
    fn an_answer_is_understood() {
        let told = head_of(HEAD).unwrap();
        assert_eq!(
            (told.table.monotonic_ns, told.table.unix_ns, told.flows),
            (5, 6, 7)
        );
        assert_eq!(told.sampling_interval, 1);
        let sampled = HEAD.replace(r#""changing""#, r#""sampling_interval":10,"changing""#);
        assert_eq!(head_of(&sampled).unwrap().sampling_interval, 10);
        let open = flow_of(FLOW).unwrap();
        assert_eq!(open.number, 3);
        let record = open.flow.record;
        assert_eq!(
            (record.octets, record.egress_ifindex, record.v6),
            (1500, 4, false)
        );
        assert_eq!(record.destination.to_ipv4_mapped(), "10.0.0.2".parse().ok());
    }

    #[test]
    fn another_answer_is_a_sentence() {
        for (line, words) in [
            (
                "Unknown control command \"live 10000\"",
                "older than this weir",
            ),
            ("Refused: no", "no"),
            ("", "no table"),
            ("{}", "`monotonic_ns`"),
        ] {
            let says = head_of(line).unwrap_err();
            assert!(says.contains(words), "{line}: {says}");
        }
        assert!(flow_of(&FLOW.replace("\"tos\":0", "\"tos\":256")).is_none());
        assert!(flow_of("[]").is_none());
    }

    #[test]
    fn the_question_names_whom_it_is_about() {
        let host = Some("::ffff:10.0.0.1".parse().unwrap());
        let peer = Some("2001:db8::1".parse().unwrap());
        assert_eq!(
            question(Narrowed { host, peer }),
            "live host 10.0.0.1 peer 2001:db8::1 10000\n"
        );
        assert_eq!(question(Narrowed::default()), "live 10000\n");
    }
}
