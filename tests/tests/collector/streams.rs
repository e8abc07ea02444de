//! IPFIX over TCP: streams that are cut anywhere, that end, and too many of them.

use std::{io::Write as _, net::TcpStream, thread, time::Duration};

use crate::site::{Site, UNDER_WAY, expect, push_set};

/// Messages of a stream come out whole however they are cut; what is none ends the connection.
#[test]
fn c03_streams_of_ipfix_are_cut_into_messages() {
    let site = Site::new();
    let daemon = site.start(&format!("--tcp 127.0.0.1:{}", site.port));
    let message = |sequence: u32| {
        let mut message = vec![0, 10, 0, 0];
        message.extend([0x65, 0x53, 0xf1, 0]);
        message.extend(sequence.to_be_bytes());
        message.extend([0, 0, 0, 9]);
        push_set(&mut message, 2, &[1, 0, 0, 1, 0, 2, 0, 4]);
        let length = u16::try_from(message.len()).unwrap();
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    };
    let stream: Vec<_> = (0..50).flat_map(message).collect();
    let mut slow = TcpStream::connect(site.address()).unwrap();
    slow.set_nodelay(true).unwrap();
    let mut fast = TcpStream::connect(site.address()).unwrap();
    fast.write_all(&stream).unwrap();
    for piece in stream.chunks(7) {
        slow.write_all(piece).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    // An HTTP client that lost its way.
    let mut lost = TcpStream::connect(site.address()).unwrap();
    lost.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    thread::sleep(UNDER_WAY);
    drop((slow, fast));
    let found = site.stop(daemon);
    expect(
        &found,
        "datagrams=100 malformed=0 streams=3 streams_broken=1 streams_refused=0",
    );
    assert!(
        site.log().contains("begins with version 18245"),
        "{}",
        site.log()
    );
}

/// What has reached a hundred connections when the collector is told to end is taken; of what was cut off
/// there is a count.
#[test]
fn streams_are_read_to_their_end_when_the_collector_ends() {
    let site = Site::new();
    let daemon = site.start(&format!("--tcp 127.0.0.1:{}", site.port));
    let mut connections: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(site.address()).unwrap())
        .collect();
    thread::sleep(UNDER_WAY);
    daemon.signal(libc::SIGSTOP);
    // Messages without sets.
    let message = [0, 10, 0, 16, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    for connection in &mut connections {
        connection.write_all(&message.repeat(10)).unwrap();
    }
    connections[7].write_all(&message[..10]).unwrap();
    thread::sleep(UNDER_WAY);
    daemon.signal(libc::SIGTERM);
    daemon.signal(libc::SIGCONT);
    let found = site.stop(daemon);
    expect(
        &found,
        "datagrams=1000 malformed=0 streams=100 streams_cut_off=1 stream_octets_left=10",
    );
}

#[test]
fn connections_are_bounded() {
    let site = Site::new();
    let daemon = site.start(&format!("--tcp 127.0.0.1:{}", site.port));
    let connections: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(site.address()).unwrap())
        .collect();
    thread::sleep(UNDER_WAY);
    drop(connections);
    thread::sleep(UNDER_WAY);
    // There is room again.
    let _again = TcpStream::connect(site.address()).unwrap();
    let found = site.stop(daemon);
    expect(&found, "streams=257 streams_refused=44");
}
