//! `cargo xtask screen`: `weir live` over real packets, as it is on a terminal. README shows one.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::{
    netns::{self, Pair},
    process::{self, Daemon},
    tmux::Screen,
    traffic::{self, Traffic},
    wire::Wire,
};

use crate::{
    build,
    run::{root, step},
    setup,
};

/// Columns and lines: what a browser shows of a README without scrolling.
const SIZE: (u16, u16) = (118, 20);
const CONVERSATIONS: u32 = 3000;
/// Packets a second.
const RATE: u64 = 5000;
const COLLECTOR: &str = "127.0.0.1:2055";
/// Looks until rates are what they stay.
const SETTLE: Duration = Duration::from_secs(5);
/// Around the screen in README.
const BEGIN: &str = "<!-- `cargo xtask screen --write` fills this in -->\n";
const END: &str = "<!-- until here -->\n";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Put it into README.md; it is printed anyway
    #[arg(long)]
    write: bool,
    /// The filter that is typed
    #[arg(long, default_value = "not port 53")]
    filter: String,
}

pub fn run(options: &Options) -> Result<()> {
    build::run(&build::Options { release: false })?;
    setup::iproute2()?;
    ensure!(
        netns::possible(),
        "packets are metered between two network namespaces: run as root"
    );
    let over = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&over))?;
    }
    let folder = tempfile::tempdir()?;
    let text = captured(folder.path(), options, &over)?;
    println!("{text}");
    if options.write {
        let path = root().join("README.md");
        let readme = fs::read_to_string(&path)?;
        fs::write(&path, with_screen(&readme, &text)?)?;
        step("README.md has it");
    }
    Ok(())
}

/// Meters traffic between two namespaces, and returns what `weir live` shows of it.
fn captured(folder: &Path, options: &Options, over: &AtomicBool) -> Result<String> {
    let binaries = process::binaries()?;
    let (flows, control) = (folder.join("flows"), folder.join("control"));
    let pair = Pair::new("s")?;
    let mut command = pair.command_in_b(&binaries.join("weir-collector"));
    command.arg("-w").arg(&flows).args(["-l", COLLECTOR]);
    let mut collector = Daemon::start(command, &folder.join("collector.log"))?;
    collector.wait_for("listening")?;
    let mut command = pair.command_in_b(&binaries.join("weir-sensor"));
    command.args(["-i", &pair.b, "-n", COLLECTOR, "-t", "tcp.fin=1", "-c"]);
    command.arg(&control);
    let mut sensor = Daemon::start(command, &folder.join("sensor.log"))?;
    sensor.wait_for("metering")?;
    // From within the folder: where it lies is nobody's concern.
    let live = format!(
        "cd '{}'; {} live -c control -r flows '{}'",
        folder.display(),
        binaries.join("weir").display(),
        options.filter.replace('\'', "")
    );
    let traffic = traffic::mix(CONVERSATIONS, 1);
    let text = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&pair.a, &traffic, over));
        let text = watch(&live, over);
        over.store(true, Ordering::Relaxed);
        let sent = sending.join();
        sent.map_err(|_| anyhow::anyhow!("the sending thread died"))??;
        text
    });
    for daemon in [sensor, collector] {
        daemon.stop()?;
    }
    text
}

/// What is on the screen once flows and rates are.
fn watch(live: &str, over: &AtomicBool) -> Result<String> {
    let screen = Screen::sized(live, SIZE)?;
    let is_full = |lines: &[String]| {
        let flows = lines.iter().filter(|line| line.starts_with("open "));
        flows.count() > usize::from(SIZE.1) / 2
    };
    screen.wait_for("open flows", is_full)?;
    thread::sleep(SETTLE);
    if over.load(Ordering::Relaxed) {
        bail!("interrupted; the namespaces are removed");
    }
    let text = screen.text()?;
    screen.press(&["q"])?;
    Ok(text)
}

/// Sends the frames again and again, at the rate, until it is over.
#[expect(clippy::disallowed_methods, reason = "it sends at a rate")]
fn send(a: &str, traffic: &Traffic, over: &AtomicBool) -> Result<()> {
    netns::enter(a)?;
    let wire = Wire::open(a)?;
    let start = Instant::now();
    for (frame, sent) in traffic.frames.iter().cycle().zip(1u64..) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        wire.send(frame)?;
        let due = Duration::from_nanos(sent * 1_000_000_000 / RATE);
        if let Some(ahead) = due.checked_sub(start.elapsed()) {
            thread::sleep(ahead);
        }
    }
    Ok(())
}

/// The README with another screen between its marks, as Markdown shows text.
fn with_screen(readme: &str, screen: &str) -> Result<String> {
    let place = "README.md has no place for the screen: two lines of comment, as xtask/src/screen.rs has them";
    let (before, rest) = readme.split_once(BEGIN).context(place)?;
    let (_, after) = rest.split_once(END).context(place)?;
    let screen = screen.trim_end();
    Ok(format!(
        "{before}{BEGIN}```text\n{screen}\n```\n{END}{after}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_takes_the_place_of_the_one_before() {
        let readme = format!("above\n{BEGIN}old\n{END}below\n");
        let expected = format!("above\n{BEGIN}```text\n a  b\n\nc\n```\n{END}below\n");
        let filled = with_screen(&readme, " a  b\n\nc\n\n\n").unwrap();
        assert_eq!(filled, expected);
        let again = with_screen(&filled, " a  b\n\nc").unwrap();
        assert_eq!(again, expected);
        assert!(with_screen("no marks\n", "a").is_err());
    }

    #[test]
    fn readme_has_a_place_for_it() {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        assert!(with_screen(&readme, "screen").is_ok());
    }
}
