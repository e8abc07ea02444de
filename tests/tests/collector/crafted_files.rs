//! Fault case D7, with the real programs: files of a few octets that claim to be very large are named, and the
//! rest is read. Each program has an address space of 8 GiB: whoever believes such a file is ended for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_tests::process::binaries;

use crate::site::{Site, expect, of, socket, v9_datagram};

/// Longer than any of it takes, and less than a loop without end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program within bounds: its exit status, and what it said.
fn bounded(program: &str, arguments: &[&str], path: &Path) -> (i32, String) {
    const ADDRESS_SPACE: &str = "--as=8589934592";
    let began = Instant::now();
    let mut command = Command::new("prlimit");
    command
        .arg(ADDRESS_SPACE)
        .arg(binaries().unwrap().join(program));
    let output = command.args(arguments).arg(path).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let status = output.status.code();
    let status = status.unwrap_or_else(|| panic!("{program} was ended: {}: {said}", output.status));
    assert!(!said.contains("panicked"), "{said}");
    (status, said)
}

/// A Parquet file of this footer and nothing else.
fn of_footer(footer: &[u8]) -> Vec<u8> {
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [&b"PAR1"[..], footer, &length, b"PAR1"].concat()
}

/// A site with a sound file of 1000 flows; and its path.
fn with_sound_file() -> (Site, PathBuf) {
    let site = Site::new();
    let daemon = site.start("-t 86400");
    let exporter = socket();
    for number in 0..50 {
        let datagram = v9_datagram(0, number, 20, true);
        exporter.send_to(&datagram, site.address()).unwrap();
    }
    let found = site.stop(daemon);
    expect(&found, "records_written=1000 kernel_drops=0");
    let path = site.closed().remove(0);
    (site, path)
}

#[test]
fn d07_files_that_claim_to_be_very_large_are_named_and_the_rest_is_read() {
    let (site, sound) = with_sound_file();
    let octets = fs::read(&sound).unwrap();
    // 2³¹ - 1 row groups, of which there is none.
    let row_groups = [
        &[0x15, 2, 0x19, 0x1c, 0x48, 1, b'r', 0, 0x16, 0, 0x19, 0xfc][..],
        &[0xff, 0xff, 0xff, 0xff, 7],
        &[0; 20],
    ];
    // A schema of fields in fields, a million deep.
    let field = [0x48, 1, b'r', 0x15, 2, 0x25, 0, 0].repeat(1_000_000);
    let nested = [
        &[0x15, 2, 0x19, 0xfc, 0xc0, 0x84, 0x3d][..],
        &field,
        &[0x16, 0, 0x19, 0x0c, 0],
    ];
    // A footer of 4 GiB, and one of all of the file.
    let mut beyond = octets.clone();
    let at = beyond.len() - 8;
    beyond[at..at + 4].fill(0xff);
    let mut all = octets.clone();
    let most = u32::try_from(all.len() - 8).unwrap().to_le_bytes();
    all[at..at + 4].copy_from_slice(&most);
    let crafted = [
        of_footer(&row_groups.concat()),
        of_footer(&nested.concat()),
        of_footer(&[0xff; 1000]),
        beyond,
        all,
    ];
    for (number, octets) in crafted.iter().enumerate() {
        let name = format!("flows-20260101T00000{number}Z.parquet");
        let path = sound.with_file_name(name);
        fs::write(&path, octets).unwrap();
        let (status, said) = bounded("weir-collector", &["verify"], &site.flows());
        assert_eq!(status, 1, "{number}: {said}");
        let expected = "1000 flows in 1 sound files, 1 damaged";
        assert!(said.contains(expected), "{number}: {said}");
        let (_, said) = bounded("weir", &["top", "--json", "-r"], &site.flows());
        let json = said.find('{').and_then(|start| said.get(start..));
        let answer = json.and_then(|json| {
            let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
            values.next()?.ok()
        });
        let answer = answer.unwrap_or_else(|| panic!("{number}: {said}"));
        assert_eq!(of(&answer["total"], "flows"), 1000, "{number}: {said}");
        let (_, said) = bounded("weir-collector", &["repair"], &site.flows());
        assert!(said.contains("kept as"), "{number}: {said}");
        assert!(!path.exists());
    }
    assert_eq!(site.totals(), (1000, 1000));
}

/// Archives to be imported: a header of 4 GiB, blocks of 4 GiB, and one that says it has records without end.
#[test]
fn d07_archives_that_claim_to_be_very_large_are_left_out() {
    let site = Site::new();
    let path = site.path("archive");
    let flows = site.flows();
    let into = ["import", "-w", flows.to_str().unwrap()];
    let header = |compression: u8| {
        let mut header = vec![0x0c, 0xa5, 2, 0, 0, 1, 7, 1];
        header.resize(40, 0);
        header[16] = compression;
        header
    };
    let block = |records: u32, length: u32, octets: &[u8]| {
        let head = [
            &records.to_le_bytes()[..],
            &length.to_le_bytes(),
            &[3, 0, 0, 0],
        ];
        [&head.concat()[..], octets].concat()
    };
    // LZO: a run of the first four octets, then a copy as long as 4 MiB of zeros say, 255 an octet.
    let lzo = [
        &[21][..],
        b"abcd",
        &[32],
        &vec![0; 4 << 20],
        &[1, 1, 0, 0x11, 0, 0],
    ]
    .concat();
    let octets = u32::try_from(lzo.len()).unwrap();
    for (archive, words) in [
        (
            [&[0xcf, 0x10, 1, 3][..], &[0xff; 4], &[0; 100]].concat(),
            "its header claims 4294967295 octets",
        ),
        (
            [header(0), block(1, u32::MAX, &[0; 100])].concat(),
            "a block of 4294967295 octets",
        ),
        (
            [header(0), block(u32::MAX, 100, &[0; 100])].concat(),
            "a record goes beyond its block",
        ),
        (
            [header(1), block(1, octets, &lzo)].concat(),
            "it is larger than any of nfdump's",
        ),
        (
            [header(4), block(1, 5 << 20, &[0; 100])].concat(),
            "it ends in the middle of a block",
        ),
    ] {
        fs::write(&path, archive).unwrap();
        let (status, said) = bounded("weir-collector", &into, &path);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(
            said.contains("0 flows of 0 files imported, 1 files left out"),
            "{said}"
        );
    }
    assert!(site.closed().is_empty());
}
