//! What softflowd 1.1.0 does wrong while it runs: Debian's does it, and weir-sensor by its name does not.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::unix::{fs::symlink, net::UnixStream, process::ExitStatusExt as _},
    path::Path,
    thread,
    time::Duration,
};

use weir_tests::{
    process::{Daemon, binaries},
    traffic::flood_frames,
};

use crate::world::{COLLECTOR, Sink, UNDER_WAY, World, inside};

/// Longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does the same with softflowd and with Weir by its name, one after the other, in the foreground.
fn both<R>(world: &World, arguments: &str, work: impl Fn(Daemon) -> R) -> [R; 2] {
    let ours = world.path("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    [Path::new("softflowd"), &ours].map(|program| {
        // It may have been left.
        let _ = fs::remove_file(world.control());
        let mut command = world.pair.command_in_b(program);
        command.args(["-d", "-i", &world.pair.b, "-c"]);
        command.arg(world.control());
        command.args(arguments.split_whitespace());
        let mut daemon = Daemon::start(command, &world.path("log")).unwrap_or_else(|error| {
            panic!("{error:#}; `cargo xtask setup --peers` installs softflowd")
        });
        daemon.wait_for("starting data collection").unwrap();
        work(daemon)
    })
}

/// What is answered, if it is.
fn ask(world: &World, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(world.control())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let world = World::new("lf1");
    let is_answered = both(&world, "", |daemon| {
        let silent = UnixStream::connect(world.control()).unwrap();
        thread::sleep(UNDER_WAY);
        let answer = ask(&world, "timeouts");
        drop((silent, daemon));
        answer.is_ok_and(|answer| answer.contains("Maximum lifetime"))
    });
    assert_eq!(is_answered, [false, true]);
}

#[test]
fn a_client_that_leaves_before_its_answer_ends_nothing() {
    let world = World::new("lf2");
    let ended_by = both(&world, "", |mut daemon| {
        for _ in 0..20 {
            // Nobody is there any more if one of them ended it.
            if let Ok(mut stream) = UnixStream::connect(world.control()) {
                let _ = stream.write_all(b"statistics\n");
            }
        }
        // By then all of them had their turn.
        let _ = ask(&world, "timeouts");
        daemon.wait(UNDER_WAY).ok()?.signal()
    });
    assert_eq!(ended_by, [Some(libc::SIGPIPE), None]);
}

/// Ten packets are less than what libpcap hands over by itself.
#[test]
fn few_packets_are_seen_and_a_signal_has_their_flows_exported() {
    let world = World::new("lf3");
    let found = both(&world, &format!("-n {COLLECTOR}"), |mut daemon| {
        let sink = Sink::open(&world.pair.b);
        world.send(&flood_frames(0..10));
        thread::sleep(2 * UNDER_WAY);
        let statistics = ask(&world, "statistics").unwrap();
        daemon.signal(libc::SIGTERM);
        daemon.wait(Duration::from_secs(20)).unwrap();
        let is_seen = statistics.contains("\nPackets processed: 10\n");
        (is_seen, sink.decode().sums().0, world.control().exists())
    });
    assert_eq!(found, [(false, 0, true), (true, 10, false)]);
}

/// softflowd dies of it; Weir looks for the collector.
#[test]
fn a_collector_that_closes_its_connection_ends_nothing() {
    const PLACE: &str = "127.0.0.1:2057";
    let world = World::new("lf4");
    let listener = inside(&world.pair.b, || TcpListener::bind(PLACE).unwrap());
    let comes_again = || {
        listener.set_nonblocking(true).unwrap();
        let mut tries = (0..100).map(|_| thread::sleep(Duration::from_millis(50)));
        let came = tries.any(|()| listener.accept().is_ok());
        listener.set_nonblocking(false).unwrap();
        came
    };
    let ended_by = both(&world, &format!("-P tcp -n {PLACE}"), |mut daemon| {
        drop(listener.accept().unwrap());
        // More than libpcap keeps back, twice: the second message finds the connection closed.
        for first in [0, 3000] {
            world.send(&flood_frames(first..first + 3000));
            thread::sleep(UNDER_WAY);
            let _ = ask(&world, "expire-all");
        }
        if let Ok(status) = daemon.wait(UNDER_WAY) {
            return status.signal();
        }
        assert!(comes_again(), "{}", daemon.log());
        None
    });
    assert_eq!(ended_by, [Some(libc::SIGPIPE), None]);
}
