//! Inputs nobody meant, made from valid ones by a seed, a hundred thousand for most ways in. None may panic,
//! take long, hold much memory, or upset an account. Octets at random are for the proptests beside each parser;
//! `fuzz/` goes on where this ends.
#![expect(clippy::disallowed_methods, reason = "it measures what an input takes")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod entry;
mod inputs;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use entry::Collector;
use weir_tests::{mutate::mutated, traffic::Random};

const MANY: u32 = 100_000;
/// What are files takes longer.
const FILES: u32 = 10_000;
/// One input may take: far more than any does, and less than a loop without end.
const PATIENCE: Duration = Duration::from_secs(5);
/// All inputs together may add to this process's memory, KiB.
const MEMORY_MAX_KIB: u64 = 256 << 10;
/// Datagrams that a collector hears before there is another, which knows nothing.
const DATAGRAMS: u32 = 1000;

/// Says which input it was, if there was a panic.
struct Shown<'a>(u32, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(number, octets) = self;
            eprintln!("input {number} was {octets:02x?}");
        }
    }
}

/// Has `take` take so many inputs.
fn play(seed: u64, count: u32, inputs: &[Vec<u8>], mut take: impl FnMut(&[u8])) {
    let mut random = Random::new(seed);
    let before_kib = peak_kib();
    for number in 0..count {
        let input = mutated(&mut random, inputs);
        let _shown = Shown(number, &input);
        let began = Instant::now();
        take(&input);
        assert!(began.elapsed() < PATIENCE);
    }
    let grown_kib = peak_kib() - before_kib;
    assert!(grown_kib < MEMORY_MAX_KIB, "{grown_kib} KiB more");
}

/// The most memory this process had so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    words[1].parse().unwrap()
}

/// Datagrams for one collector after the other. All of the valid ones are applied, and give `records` flows, of which
/// `plain` may be read member by member.
fn play_datagrams(seed: u64, inputs: &[Vec<u8>], records: u64, plain: u64) {
    let mut collector = Collector::new(0);
    for input in inputs {
        collector.take(input);
    }
    assert_eq!(collector.finish(), (inputs.len() as u64, records, plain));
    entry::datagrams(&[], &inputs::framed(inputs));
    let mut collector = Collector::new(0);
    let mut heard = 0;
    play(seed, MANY, inputs, |input| {
        collector.take(input);
        heard += 1;
        if heard % DATAGRAMS == 0 {
            std::mem::replace(&mut collector, Collector::new(0)).finish();
        }
    });
}

#[test]
fn frames_end_the_walk() {
    let frames = inputs::frames();
    for frame in &frames {
        entry::packet(frame);
    }
    play(1, MANY, &frames, entry::packet);
}

#[test]
fn datagrams_of_one_layout_are_applied_or_refused() {
    // v1, v5: 60 each; v7, and fourteen aggregations of v8: 3 each.
    play_datagrams(2, &inputs::fixed(), 60 + 60 + 15 * 3, 0);
}

#[test]
fn datagrams_of_v9_are_applied_or_refused() {
    play_datagrams(3, &inputs::v9(), 60 + 120, 120);
}

#[test]
fn messages_of_ipfix_are_applied_or_refused() {
    let messages = inputs::ipfix();
    // The last two of a run are a set that is read record by record.
    play_datagrams(4, &messages, 60 + 120 + 2, 118);
    let streams = [messages.concat()];
    play(5, FILES, &streams, entry::stream);
}

#[test]
fn datagrams_of_sflow_are_applied_or_refused() {
    // A flow sample, an expanded one, and datagrams of counters only.
    play_datagrams(6, &inputs::sflow(), 2, 0);
}

#[test]
fn windows_are_read_as_far_as_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let windows = inputs::windows(folder.path());
    let path = folder.path().join("changed");
    for octets in &windows {
        assert_eq!(entry::window(&path, octets), 40);
    }
    play(7, FILES, &windows, |octets| {
        entry::window(&path, octets);
    });
}

/// Fault case D7 among others: lengths and counts in footers and pages.
#[test]
fn d07_closed_files_are_read_as_far_as_they_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let closed = inputs::closed(folder.path());
    let path = folder.path().join("changed");
    for octets in &closed {
        // What is changed is no longer than that.
        assert!(octets.len() < 1 << 16, "{} octets", octets.len());
        assert_eq!(entry::closed(&path, octets), 40);
    }
    play(10, FILES, &closed, |octets| {
        entry::closed(&path, octets);
    });
}

#[test]
fn other_programs_files_are_imported_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let archives = inputs::archives(folder.path());
    let path = folder.path().join("changed");
    for (octets, flows) in archives.iter().zip([Some(20), Some(20), Some(20), None]) {
        assert_eq!(entry::archive(&path, octets), flows);
    }
    play(9, FILES, &archives, |octets| {
        entry::archive(&path, octets);
    });
}

#[test]
fn captures_are_read_as_far_as_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed");
    let captures = inputs::captures();
    for (octets, frames) in captures.iter().zip([20, 40]) {
        assert_eq!(entry::capture_file(&path, octets), frames);
    }
    play(8, FILES, &captures, |octets| {
        entry::capture_file(&path, octets);
    });
}
