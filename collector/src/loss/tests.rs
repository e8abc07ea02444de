//! One case a test; `collector/tests/loss_model.rs` draws the rest.

use super::{sessions::SESSIONS_MAX, *};

const UNIX_MS: u64 = 1_700_000_000_000;
const UPTIME_MS: u32 = 500_000;

/// A datagram sent and received so many milliseconds after the first.
fn at(at_ms: u32, sequence: u32, units: u32) -> Numbered {
    Numbered {
        sequence,
        units,
        units_unread: 0,
        other: None,
        sent_ms: UNIX_MS + u64::from(at_ms),
        uptime_ms: Some(UPTIME_MS.wrapping_add(at_ms)),
        arrived_ms: UNIX_MS + u64::from(at_ms),
        port: 2055,
    }
}

/// From an exporter that booted so many milliseconds after the first one.
fn booted(after_ms: u32, at_ms: u32, sequence: u32, units: u32) -> Numbered {
    Numbered {
        uptime_ms: Some((UPTIME_MS + at_ms).wrapping_sub(after_ms)),
        ..at(at_ms, sequence, units)
    }
}

/// A datagram of IPFIX, from this port.
fn from(port: u16, datagram: Numbered) -> Numbered {
    Numbered {
        port,
        uptime_ms: None,
        ..datagram
    }
}

fn steps(numbering: Numbering, datagrams: &[Numbered]) -> (Vec<Step>, Counts) {
    let mut sequence = Sequence::new(numbering);
    let steps = datagrams.iter().map(|datagram| sequence.step(datagram));
    (steps.collect(), sequence.counts())
}

/// Datagrams of one unit, a millisecond apart.
fn run(numbers: &[u32]) -> Counts {
    let datagrams: Vec<_> = (0..)
        .zip(numbers)
        .map(|(ms, number)| at(ms, *number, 1))
        .collect();
    steps(Numbering::Datagrams, &datagrams).1
}

const NOTHING: Counts = Counts {
    lost: 0,
    reordered: 0,
    duplicated: 0,
    restarts: 0,
    doubtful: 0,
};

#[test]
fn c15_loss_is_exact_across_the_wrap() {
    assert_eq!(run(&[u32::MAX - 1, u32::MAX, 0, 1]), NOTHING);
    assert_eq!(run(&[u32::MAX - 1, 2, 3]), Counts { lost: 3, ..NOTHING });
    let counts = run(&[u32::MAX - 1, 2, u32::MAX, 0, 0]);
    let expected = Counts {
        lost: 1,
        reordered: 2,
        duplicated: 1,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

#[test]
fn c15_what_arrives_late_is_not_lost() {
    let counts = run(&[0, 1, 5, 3, 2, 4, 6]);
    assert_eq!(
        counts,
        Counts {
            reordered: 3,
            ..NOTHING
        }
    );
    // Also what was sent before the first that arrived.
    let counts = run(&[7, 6, 6, 8]);
    let expected = Counts {
        reordered: 1,
        duplicated: 1,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

#[test]
fn c15_what_arrives_twice_is_a_duplicate() {
    let counts = run(&[0, 1, 1, 4, 2, 2, 5]);
    let expected = Counts {
        lost: 1,
        reordered: 1,
        duplicated: 2,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

#[test]
fn c15_a_large_gap_is_loss_and_no_restart() {
    let counts = run(&[0, 1_500_000, 1_500_001]);
    assert_eq!(
        counts,
        Counts {
            lost: 1_499_999,
            ..NOTHING
        }
    );
    // Whatever became of the two that had to agree.
    let counts = run(&[0, 1_500_000, 1_500_000, 1_499_999, 1_500_001]);
    let expected = Counts {
        lost: 1_499_998,
        reordered: 1,
        duplicated: 1,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

#[test]
fn c15_a_restart_is_no_loss() {
    let (steps, counts) = steps(
        Numbering::Records,
        &[
            at(0, 70_000, 30),
            booted(50_000, 60_000, 0, 30),
            booted(50_000, 60_010, 30, 30),
            booted(50_000, 60_020, 90, 30),
        ],
    );
    assert_eq!(
        steps,
        [Step::InOrder, Step::Doubtful, Step::Restart, Step::Gap(30)]
    );
    let expected = Counts {
        lost: 30,
        restarts: 1,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

/// A daemon that counts sysUptime from the machine's boot: only number and clock tell.
#[test]
fn c10_a_restart_with_the_same_boot_time_whose_first_datagram_is_lost() {
    for last in [200, 70_000, 4_000_000_000] {
        let (steps, counts) = steps(
            Numbering::Records,
            &[
                at(0, last, 30),
                at(9000, 30, 30),
                at(9010, 60, 30),
                at(9020, 90, 30),
            ],
        );
        assert_eq!(
            steps,
            [Step::InOrder, Step::Doubtful, Step::Restart, Step::InOrder],
            "after {last}"
        );
        assert_eq!(
            counts,
            Counts {
                restarts: 1,
                ..NOTHING
            },
            "after {last}"
        );
    }
}

#[test]
fn c10_one_forged_number_is_not_adopted() {
    let forged = [
        at(5, 3_000_000, 30),
        at(5, 4_294_000_000, 30),
        booted(90_000, 5, 1000, 30),
        booted(90_000, 5, 0, 30),
    ];
    for forged in forged {
        let (steps, counts) = steps(
            Numbering::Records,
            &[at(0, 0, 30), forged, at(10, 30, 30), forged, at(20, 60, 30)],
        );
        assert_eq!(steps[2], Step::InOrder, "{forged:?}");
        assert_eq!(steps[4], Step::InOrder, "{forged:?}");
        assert_eq!(
            counts,
            Counts {
                doubtful: 2,
                ..NOTHING
            },
            "{forged:?}"
        );
    }
}

#[test]
fn c10_a_forged_copy_of_a_forged_number_does_not_agree_with_it() {
    let forged = at(5, 3_000_000, 30);
    let (_, counts) = steps(
        Numbering::Records,
        &[at(0, 0, 30), forged, forged, forged, at(10, 30, 30)],
    );
    assert_eq!(
        counts,
        Counts {
            doubtful: 3,
            ..NOTHING
        }
    );
}

#[test]
fn records_are_counted_by_their_datagrams_sizes() {
    let (steps, counts) = steps(
        Numbering::Records,
        &[
            at(0, 0, 30),
            at(1, 60, 29),
            at(2, 89, 30),
            at(3, 30, 30),
            at(4, 119, 0),
            at(5, 119, 30),
            at(6, 119, 0),
        ],
    );
    assert_eq!(
        steps,
        [
            Step::InOrder,
            Step::Gap(30),
            Step::InOrder,
            Step::Late,
            Step::InOrder,
            Step::InOrder,
            Step::Empty
        ]
    );
    assert_eq!(
        counts,
        Counts {
            reordered: 1,
            ..NOTHING
        }
    );
}

#[test]
fn memory_of_gaps_is_bounded_and_what_is_older_is_doubtful() {
    let gaps = u32::try_from(GAPS_MAX).unwrap();
    // Every other one is missing: two gaps more than are remembered.
    let mut numbers: Vec<_> = (0..gaps + 3).map(|number| 2 * number).collect();
    // The oldest two are forgotten, after what was before the first datagram; the third is not.
    numbers.extend([1, 5, 5]);
    let expected = Counts {
        lost: u64::from(gaps) + 1,
        reordered: 1,
        duplicated: 1,
        doubtful: 1,
        restarts: 0,
    };
    assert_eq!(run(&numbers), expected);
}

#[test]
fn stepped_clocks_and_a_wrapping_uptime_are_no_restarts() {
    let hour_ms = 3_600_000;
    let stepped = |datagram: Numbered| Numbered {
        sent_ms: datagram.sent_ms - hour_ms,
        ..datagram
    };
    let waited = |datagram: Numbered| Numbered {
        arrived_ms: datagram.arrived_ms + 20_000,
        ..datagram
    };
    // 49.7 days pass between the second and the third, but for some seconds.
    let later = u32::MAX - UPTIME_MS - 3000;
    let (_, counts) = steps(
        Numbering::Records,
        &[
            at(0, 0, 30),
            waited(at(10, 60, 30)),
            at(later, 90, 30),
            at(later + 2000, 150, 30),
            at(later + 3100, 210, 30),
            stepped(at(later + 3200, 240, 30)),
            stepped(at(later + 3300, 300, 30)),
        ],
    );
    assert_eq!(
        counts,
        Counts {
            lost: 120,
            ..NOTHING
        }
    );
}

#[test]
fn ipfix_numbers_that_count_their_own_records_are_no_loss() {
    let sizes = [20, 3, 17, 20, 1, 20];
    let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
    let mut before = 0;
    for (ms, size) in (0..).zip(sizes) {
        // softflowd 1.1.0: the number after this message.
        sequence.step(&Numbered {
            uptime_ms: None,
            ..at(ms, before + size, size)
        });
        before += size;
    }
    assert_eq!(sequence.counts(), NOTHING);
    // A lost message of three records is still seen.
    sequence.step(&Numbered {
        uptime_ms: None,
        ..at(100, before + 3 + 5, 5)
    });
    assert_eq!(sequence.counts(), Counts { lost: 3, ..NOTHING });
}

/// A short message, a gap, then longer ones: read the other way less would be missing.
#[test]
fn ipfix_is_not_read_the_other_way_since_less_would_be_missing() {
    let datagrams = [(100, 1), (105, 3), (108, 3), (111, 3)];
    let datagrams: Vec<_> = (0..)
        .zip(datagrams)
        .map(|(ms, (number, units))| from(1, at(ms, number, units)))
        .collect();
    let (_, counts) = steps(Numbering::RecordsEitherWay, &datagrams);
    assert_eq!(counts, Counts { lost: 4, ..NOTHING });
}

#[test]
fn ipfix_another_session_begins_anew_and_another_port_alone_is_none() {
    let (_, counts) = steps(
        Numbering::RecordsEitherWay,
        &[
            from(1, at(0, 1000, 20)),
            from(2, at(1, 1040, 20)),
            from(3, at(2, 0, 20)),
            from(3, at(3, 20, 20)),
        ],
    );
    let expected = Counts {
        lost: 20,
        restarts: 1,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

/// Line cards, or processes of one host, each of which sends one domain from a port of its own.
#[test]
fn ipfix_sessions_side_by_side_are_no_loss_however_close_their_numbers() {
    for begins in [[1000, 2_000_000], [1000, 1500], [1500, 1000], [1000, 1000]] {
        let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
        let mut ms = 0;
        for turn in 0..20 {
            for (port, begin) in (1..).zip(begins) {
                for index in 0..3 {
                    ms += 1;
                    let number = begin + 3 * turn + index;
                    sequence.step(&from(port, at(ms, number, 1)));
                }
            }
        }
        assert_eq!(sequence.counts(), NOTHING, "{begins:?}");
        // From the same port it is a gap.
        for number in [3_000_000, 3_000_001] {
            ms += 1;
            sequence.step(&from(2, at(ms, number, 1)));
        }
        let expected = Counts {
            lost: u64::from(3_000_000 - (begins[1] + 60)),
            ..NOTHING
        };
        assert_eq!(sequence.counts(), expected, "{begins:?}");
    }
}

/// Several softflowd on one host, say: of v5 and v9, too, which have no sessions.
#[test]
fn processes_side_by_side_that_say_the_same_domain_are_no_loss_in_any_version() {
    for numbering in [Numbering::Datagrams, Numbering::Records] {
        for begins in [[1000, 2_000_000], [1000, 1500], [1500, 1000]] {
            // The system starts both at once, or somebody the second one later.
            for later_ms in [0, 30_000] {
                let mut sequence = Sequence::new(numbering);
                let mut step = |turn: u32, port: u16, number: u32| {
                    let after_ms = if port == 1 { 0 } else { later_ms };
                    let at_ms = 2000 * turn + u32::from(port);
                    sequence.step(&Numbered {
                        port,
                        ..booted(after_ms, at_ms, number, 1)
                    });
                    sequence.counts()
                };
                for turn in 0..40 {
                    for (port, begin) in (1..).zip(begins) {
                        step(turn, port, begin + turn);
                    }
                }
                let case = format!("{numbering:?}, {begins:?}, {later_ms} ms");
                assert_eq!(step(40, 1, begins[0] + 40), NOTHING, "{case}");
                let lost = Counts { lost: 5, ..NOTHING };
                assert_eq!(step(41, 2, begins[1] + 45), lost, "{case}");
            }
        }
    }
}

#[test]
fn ipfix_sessions_side_by_side_lose_what_is_missing_and_one_may_change_its_port() {
    let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
    let mut ms = 0;
    for turn in 0..60_u32 {
        // One behind an address translator that gives it another port after five turns.
        let translated = 100 + u16::try_from(turn / 5).unwrap();
        for (port, begin) in [(1, 1000), (translated, 1500)] {
            for index in 0..3 {
                ms += 1;
                if begin == 1500 && turn % 10 == 9 && index == 1 {
                    continue;
                }
                sequence.step(&from(port, at(ms, begin + 3 * turn + index, 1)));
            }
        }
    }
    assert_eq!(sequence.counts(), Counts { lost: 6, ..NOTHING });
}

/// Sends datagrams of 20 records from these ports, but those that are lost.
fn of_one_line(ports: impl Fn(u32) -> u16, is_lost: impl Fn(u32) -> bool) -> Counts {
    let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
    for index in (0..299).filter(|index| !is_lost(*index)) {
        sequence.step(&from(ports(index), at(index, 20 * index, 20)));
    }
    sequence.counts()
}

#[test]
fn ipfix_whose_port_changes_is_one_line_and_what_is_missing_is_lost() {
    // An address translator gives another port after five datagrams; sometimes the first from there is lost.
    let translated = |index: u32| u16::try_from(index / 5).unwrap();
    let counts = of_one_line(translated, |index| index > 0 && index.is_multiple_of(20));
    let expected = Counts {
        lost: 14 * 20,
        ..NOTHING
    };
    assert_eq!(counts, expected);
    // Several ports take turns.
    let in_turn = |index: u32| u16::try_from(index % 3).unwrap();
    let counts = of_one_line(in_turn, |index| index % 10 == 9);
    let expected = Counts {
        lost: 29 * 20,
        ..NOTHING
    };
    assert_eq!(counts, expected);
}

#[test]
fn c10_ipfix_forged_from_a_hundred_thousand_ports_takes_no_memory_and_moves_no_count() {
    const FORGED: u32 = 100_000;
    for copies in [1, 2] {
        let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
        let (mut ms, mut number) = (0, 0);
        for forged in 0..FORGED {
            if forged.is_multiple_of(100) {
                sequence.step(&from(u16::MAX, at(ms, number, 30)));
                number += 30;
            }
            // Far from the real numbers, and from the ones before.
            let far = (1_u32 << 31) + ((forged % 2) << 30);
            let port = u16::try_from(forged % 65_000).unwrap();
            for copy in 0..copies {
                ms += 1;
                sequence.step(&from(port, at(ms, far + copy, 1)));
            }
        }
        let counts = sequence.counts();
        assert_eq!(counts.lost, 0);
        if copies == 1 {
            let expected = Counts {
                doubtful: u64::from(FORGED),
                ..NOTHING
            };
            assert_eq!(counts, expected);
        }
        let sessions = sequence.sessions.unwrap();
        assert!(sessions.known.len() <= SESSIONS_MAX);
        assert!(sessions.strangers.len() <= SESSIONS_MAX);
    }
}

#[test]
fn c12_sets_that_could_not_be_read_are_not_lost() {
    let unread = Numbered {
        units_unread: 400,
        ..at(1, 20, 0)
    };
    let (steps, counts) = steps(
        Numbering::Records,
        &[at(0, 0, 20), unread, at(2, 43, 20), at(3, 73, 20)],
    );
    assert_eq!(
        steps,
        [Step::InOrder, Step::InOrder, Step::InOrder, Step::Gap(10)]
    );
    assert_eq!(
        counts,
        Counts {
            lost: 10,
            ..NOTHING
        }
    );
}

/// Datagrams with so many records each, a millisecond apart, of an exporter of v9 that numbers records.
fn records_of_v9(counts: impl IntoIterator<Item = u32>) -> Vec<Numbered> {
    let mut number = 0_u32;
    let numbered = (0..).zip(counts).map(|(ms, units)| {
        let datagram = Numbered {
            other: Some(Units {
                units,
                units_unread: 0,
            }),
            ..at(ms, number, 1)
        };
        number += units;
        datagram
    });
    numbered.collect()
}

#[test]
fn an_exporter_that_numbers_records_in_v9_has_lost_nothing() {
    let mut datagrams = records_of_v9((0..200).map(|index| 2 + index % 7));
    let mut sequence = Sequence::new(Numbering::Datagrams);
    for datagram in &datagrams[..20] {
        sequence.step(datagram);
    }
    assert!(!sequence.counts_other_unit());
    assert!(sequence.counts().lost > 20);
    // One is lost, one is late, one comes twice.
    let lost = datagrams.remove(150);
    datagrams.swap(160, 161);
    datagrams.insert(171, datagrams[170]);
    for datagram in &datagrams[20..] {
        sequence.step(datagram);
    }
    assert!(sequence.counts_other_unit());
    let expected = Counts {
        lost: lost.other.unwrap().units.into(),
        reordered: 1,
        duplicated: 1,
        ..NOTHING
    };
    assert_eq!(sequence.counts(), expected);
}

#[test]
fn an_exporter_that_numbers_datagrams_in_ipfix_is_read_so() {
    let datagram = |number: u32| Numbered {
        uptime_ms: None,
        other: Some(Units {
            units: 1,
            units_unread: 0,
        }),
        ..at(number, number, 20)
    };
    let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
    for number in (0..100).chain(103..110) {
        sequence.step(&datagram(number));
    }
    assert!(sequence.counts_other_unit());
    assert_eq!(sequence.counts(), Counts { lost: 3, ..NOTHING });
}

/// One record in each datagram, which nobody can count, and then two.
#[test]
fn records_without_a_template_say_nothing_of_the_unit() {
    let datagram = |number: u32, units: u32, units_unread: u32| Numbered {
        units_unread,
        uptime_ms: None,
        other: Some(Units {
            units: 1,
            units_unread: 0,
        }),
        ..at(number, number, units)
    };
    let mut sequence = Sequence::new(Numbering::RecordsEitherWay);
    for number in 0..50 {
        sequence.step(&datagram(number, 0, 20));
    }
    for number in (50..250).step_by(2) {
        sequence.step(&datagram(number, 2, 0));
    }
    assert!(!sequence.counts_other_unit());
    assert_eq!(sequence.counts(), NOTHING);
}

/// What was counted before it changed stays.
#[test]
fn an_exporter_that_comes_to_number_datagrams_in_v9_is_read_so_again() {
    let mut datagrams = records_of_v9((0..100).map(|index| 2 + index % 7));
    datagrams.remove(70);
    let last = datagrams[98];
    let next = last.sequence + last.other.unwrap().units;
    let after = (1..100).map(|ms| Numbered {
        sequence: next + ms - 1,
        sent_ms: last.sent_ms + u64::from(ms),
        uptime_ms: last.uptime_ms.map(|uptime_ms| uptime_ms + ms),
        ..last
    });
    datagrams.extend(after);
    let mut sequence = Sequence::new(Numbering::Datagrams);
    for datagram in &datagrams[..99] {
        sequence.step(datagram);
    }
    assert!(sequence.counts_other_unit());
    let lost = sequence.counts().lost;
    assert!((1..9).contains(&lost), "{lost}");
    for datagram in &datagrams[99..] {
        sequence.step(datagram);
    }
    assert!(!sequence.counts_other_unit());
    assert_eq!(sequence.counts().lost, lost);
}

/// However much is lost, and if every second datagram goes to another collector.
#[test]
fn loss_is_not_taken_for_another_unit() {
    let mut state = 7_u32;
    let mut draw = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let of = |number: u32, records: u32| Numbered {
        other: Some(Units {
            units: records,
            units_unread: 0,
        }),
        ..at(number, number, 1)
    };
    for kept_percent in [2, 10, 50, 90] {
        let mut sequence = Sequence::new(Numbering::Datagrams);
        let (mut lost, mut pending, mut heard) = (0, 0, 0);
        for number in 0..200_000 {
            let records = 1 + draw(3);
            if draw(100) >= kept_percent {
                pending += u64::from(heard > 0);
                continue;
            }
            (lost, pending, heard) = (lost + pending, 0, heard + 1);
            sequence.step(&of(number, records));
        }
        assert!(!sequence.counts_other_unit(), "{kept_percent} %");
        assert_eq!(sequence.counts().lost, lost, "{kept_percent} %");
    }
    let mut sequence = Sequence::new(Numbering::Datagrams);
    for number in 0..1000 {
        sequence.step(&of(2 * number, 2));
    }
    assert!(!sequence.counts_other_unit());
    assert_eq!(sequence.counts().lost, 999);
}
