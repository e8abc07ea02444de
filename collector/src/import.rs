//! `weir-collector import`: files of nfdump and flow-tools into the store. A file becomes a file, seen when it
//! is whole; what it holds is held against what it says it holds, and a file of which that is not true is
//! left out, unless `--salvage` is given.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use weir_store::{
    StoreError, flow_tools, layout::Directory, new_file::NewFile, nfdump, schema::StoredFlow,
};

use crate::options::Files;

const NS_PER_S: u64 = 1_000_000_000;
/// Flows written at a time.
const BATCH_FLOWS: usize = 65_536;

/// What is imported.
#[derive(Debug, Args)]
pub struct Import {
    /// Files of nfdump 1.7 (layout 2) or flow-tools (version 5 or 1005)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Directory for the flows; no collector may be writing to it
    #[arg(short = 'w', long = "write", value_name = "DIR")]
    directory: PathBuf,

    /// What files are like in it.
    #[command(flatten)]
    into: Files,

    /// Take what can be read of damaged files too
    #[arg(long)]
    salvage: bool,
}

/// A file of either kind.
enum Archive {
    Nfdump(Box<nfdump::Reader>),
    FlowTools(flow_tools::Reader),
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let mut magic = Vec::new();
        File::open(path)
            .and_then(|file| file.take(2).read_to_end(&mut magic))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if magic == flow_tools::MAGIC {
            return Ok(Self::FlowTools(flow_tools::Reader::open(path)?));
        }
        // Of the other byte order, too: its reader says what to do.
        let [low, high] = nfdump::MAGIC;
        if magic == [low, high] || magic == [high, low] {
            return Ok(Self::Nfdump(Box::new(nfdump::Reader::open(path)?)));
        }
        bail!(
            "{} is a file of neither nfdump nor flow-tools",
            path.display()
        )
    }

    fn next_block(&mut self, flows: &mut Vec<StoredFlow>) -> Result<bool, StoreError> {
        match self {
            Self::Nfdump(reader) => reader.next_block(flows),
            Self::FlowTools(reader) => reader.next_block(flows),
        }
    }

    /// Whether more was found already than the file says it holds.
    fn exceeds(&self) -> bool {
        match self {
            Self::Nfdump(reader) => reader.exceeds(),
            Self::FlowTools(reader) => reader.exceeds(),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Nfdump(reader) => reader.check(),
            Self::FlowTools(reader) => reader.check(),
        }
    }

    /// What is noted in Weir's file, and said: where the flows come from, and what was lost before.
    fn origin(&self, path: &Path) -> serde_json::Value {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::Nfdump(reader) => json!({
                "file": name,
                "format": "nfdump",
                "sequence_failures": reader.stated().map(|stated| stated.sequence_failures),
            }),
            Self::FlowTools(reader) => {
                let stated = reader.stated();
                json!({
                    "file": name,
                    "format": "flow-tools",
                    "lost": stated.lost,
                    "misordered": stated.misordered,
                    "corrupt": stated.corrupt,
                    "resets": stated.resets,
                })
            }
        }
    }

    /// What somebody who compares counts has to know.
    fn remark(&self) -> String {
        match self {
            Self::Nfdump(reader) if reader.found().octets_behind > 0 => format!(
                " ({} octets behind the records that its blocks say they have are left out)",
                reader.found().octets_behind
            ),
            Self::Nfdump(reader) if reader.found().flows > reader.found().records => format!(
                " ({} flows, which nfdump had aggregated into {} records)",
                reader.found().flows,
                reader.found().records
            ),
            Self::Nfdump(reader) if reader.stated().is_none() => {
                " (nfcapd has not closed it: there are no counts to check)".to_owned()
            }
            Self::FlowTools(reader) if reader.stated().flows.is_none() => {
                " (its header has no count to check)".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// Does it.
///
/// # Errors
/// If the directory cannot be written.
pub fn run(options: &Import) -> Result<ExitCode> {
    let directory = Directory::lock(&options.directory)?.with_form(options.into.form());
    let (mut files, mut flows) = (0u64, 0u64);
    for path in &options.files {
        match import(&directory, path, options.salvage) {
            Ok(taken) => {
                files += 1;
                flows += taken;
            }
            Err(error) => eprintln!("weir-collector: {error:#}"),
        }
    }
    let left = options.files.len() as u64 - files;
    println!("{flows} flows of {files} files imported, {left} files left out or not whole");
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Imports a file; how many flows. A file that is salvaged is an error too, after what it had is kept.
fn import(directory: &Directory, path: &Path, is_salvaging: bool) -> Result<u64> {
    let shown = path.display();
    let mut archive = Archive::open(path)?;
    let mut flows = Vec::new();
    // The first flow says which hour the file goes to.
    let mut read = archive.next_block(&mut flows);
    while flows.is_empty() && matches!(read, Ok(true)) {
        read = archive.next_block(&mut flows);
    }
    if flows.is_empty() {
        read?;
        archive
            .check()
            .map_err(|wrong| anyhow::anyhow!("{shown}: {wrong}"))?;
        println!("{shown}: no flows");
        return Ok(0);
    }
    let start_s = flows.first().map_or(0, |flow| flow.received_ns / NS_PER_S);
    let origin = archive.origin(path).to_string();
    let notes = [("weir.imported".to_owned(), origin)];
    let mut file = NewFile::create(directory, i64::try_from(start_s)?, &notes)?;
    let taken = loop {
        // What a few octets expand to may be more than a disk holds.
        let is_hopeless = !is_salvaging && archive.exceeds();
        let is_end = is_hopeless || !matches!(read, Ok(true));
        if (is_end && !flows.is_empty()) || flows.len() >= BATCH_FLOWS {
            if let Err(error) = file.write(&flows) {
                file.abandon();
                return Err(error.into());
            }
            flows.clear();
        }
        if is_end {
            break read.map_err(|error| error.to_string());
        }
        read = archive.next_block(&mut flows);
    };
    let wrong = taken
        .and_then(|_| archive.check().map_err(|wrong| format!("{shown}: {wrong}")))
        .err();
    if let Some(wrong) = &wrong
        && !is_salvaging
    {
        file.abandon();
        bail!("{wrong}; nothing of it is imported: --salvage takes what can be read");
    }
    let (made, count) = file.finish()?;
    println!(
        "{shown}: {count} flows in {}{}",
        made.display(),
        archive.remark()
    );
    match wrong {
        None => Ok(count),
        Some(wrong) => bail!("{wrong}; {count} flows of it are imported"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weir_netflow::FlowRecord;
    use weir_store::read;

    use super::*;

    #[test]
    fn a_file_too_short_for_a_kind_is_of_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("short");
        for octets in [&b""[..], &nfdump::MAGIC[..1]] {
            fs::write(&path, octets).unwrap();
            let said = Archive::open(&path).err().unwrap().to_string();
            assert!(said.ends_with("of neither nfdump nor flow-tools"), "{said}");
        }
    }

    /// A file of nfdump's that says it holds a hundred flows, and goes on and on.
    #[test]
    fn d07_a_file_that_holds_more_than_it_says_is_left_soon() {
        const FLOWS: u64 = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nfcapd");
        let none = nfdump::Compression::None;
        let mut writer = nfdump::Writer::create(&path, none, 1_700_000_000).unwrap();
        for packets in 0..FLOWS {
            let flow = StoredFlow {
                record: FlowRecord {
                    packets,
                    start_ns: 1_700_000_000_000_000_000,
                    end_ns: 1_700_000_001_000_000_000,
                    ..FlowRecord::default()
                },
                received_ns: 1_700_000_002_000_000_000,
                ..StoredFlow::default()
            };
            writer.push(&flow).unwrap();
        }
        writer.finish().unwrap();
        let mut octets = fs::read(&path).unwrap();
        // The sums of flows are the first of the statistics' 18 numbers, at the end of the file.
        let at = octets.len() - 18 * 8;
        assert_eq!(octets[at..at + 8], FLOWS.to_le_bytes());
        octets[at..at + 8].copy_from_slice(&100u64.to_le_bytes());
        fs::write(&path, octets).unwrap();
        let store = folder.path().join("flows");
        let directory = Directory::lock(&store).unwrap();
        let refused = import(&directory, &path, false).unwrap_err().to_string();
        let found = refused.split("found were ").nth(1);
        let found = found.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(
            found.is_some_and(|found| found > 100 && found < FLOWS),
            "{refused}"
        );
        assert!(refused.contains("say 100 flows"), "{refused}");
        assert!(read::list(&store).unwrap().closed.is_empty());
        // Who wants all of it gets all of it.
        let salvaged = import(&directory, &path, true).unwrap_err().to_string();
        assert!(salvaged.contains(&format!("{FLOWS} flows of it are imported")));
    }
}
