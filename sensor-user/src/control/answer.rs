//! What a client is answered once the loop has reported.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    command::{Command, HELP},
    flows::{Dump, Flows},
    live::Live,
    order::{Order, Outlook, Report, StatisticsReport},
    statistics::{self, Capture},
    task::Task,
    text::{Protocols, seconds, utc},
    top::Top,
    view::{Cursor, View},
};
use crate::clock::Now;

/// What is told of the sensor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its process number.
    pub pid: u32,
    /// When it started, nanoseconds since 1970-01-01 UTC.
    pub started_unix_ns: u64,
}

/// An answer.
pub enum Answer {
    /// This text.
    Text(String),
    /// What this comes to.
    Task(Box<dyn Task>),
}

impl Answer {
    /// The answer to a command, whose order was reported on.
    #[must_use]
    pub fn of(command: Command, report: Report, facts: Facts) -> Self {
        let Facts { pid, .. } = facts;
        match (command, report) {
            (_, Report::Refused(sentence)) => Self::Text(format!("Refused: {sentence}\n")),
            (Command::Plain(order), report) => {
                let said = plain(&order, &report);
                Self::Text(format!("softflowd[{pid}]: {said}\n"))
            }
            (Command::Statistics { json }, Report::Statistics(report)) => {
                Self::Task(Box::new(Count {
                    report: *report,
                    json,
                    facts,
                    cursor: Cursor::default(),
                    directions: 0,
                    flows: 0,
                }))
            }
            (Command::DumpFlows, Report::Outlook(outlook)) => {
                let heading = format!("softflowd[{pid}]: Dumping flow data:\n");
                Self::Task(Box::new(Headed(heading, Dump::new(*outlook))))
            }
            (Command::Flows(filter), Report::Outlook(outlook)) => {
                Self::if_understood(Flows::new(filter.as_deref(), *outlook))
            }
            (Command::Top(query), Report::Outlook(outlook)) => {
                Self::if_understood(Top::new(query, *outlook))
            }
            (Command::Live(query), Report::Outlook(outlook)) => {
                Self::Task(Box::new(Live::new(query, *outlook)))
            }
            (Command::Timeouts, Report::Outlook(outlook)) => Self::Text(timeouts(pid, &outlook)),
            (Command::Interfaces, Report::Outlook(outlook)) => {
                Self::Text(interfaces(pid, &outlook))
            }
            (Command::Help, _) => Self::Text(HELP.to_owned()),
            // The loop reports what it was asked for.
            (command, _) => Self::Text(format!("Refused: no report came for {command:?}\n")),
        }
    }

    /// What this comes to, or why it is not understood.
    fn if_understood(task: Result<impl Task + 'static, String>) -> Self {
        match task {
            Ok(task) => Self::Task(Box::new(task)),
            Err(sentence) => Self::Text(format!("Refused: {sentence}\n")),
        }
    }
}

/// softflowd's sentence about an order that was carried out.
fn plain(order: &Order, report: &Report) -> String {
    let flows = match report {
        Report::Flows(flows) => *flows,
        _ => 0,
    };
    match order {
        Order::Shutdown => "Shutting down gracefully...".to_owned(),
        Order::Exit => "Exiting now...".to_owned(),
        Order::ExpireAll => format!("Expired {flows} flows."),
        Order::DeleteAll => format!("Deleted {flows} flows."),
        Order::SendTemplate => "Template will be sent at next flow export".to_owned(),
        Order::Debug(true) => "Debug level increased.".to_owned(),
        Order::Debug(false) => "Debug level decreased.".to_owned(),
        Order::Gather(false) => "Data collection stopped.".to_owned(),
        Order::Gather(true) => "Data collection resumed.".to_owned(),
        Order::SetTimeout(setting) => format!("Set {setting}."),
        Order::Statistics | Order::Outlook => "Done.".to_owned(),
    }
}

fn timeouts(pid: u32, outlook: &Outlook) -> String {
    let timeouts = &outlook.timeouts;
    let mut text = format!("softflowd[{pid}]: Printing timeouts:\n");
    for (label, timeout_ns) in [
        ("TCP timeout", timeouts.tcp_ns),
        ("TCP post-RST timeout", timeouts.tcp_rst_ns),
        ("TCP post-FIN timeout", timeouts.tcp_fin_ns),
        ("UDP timeout", timeouts.udp_ns),
        ("ICMP timeout", timeouts.icmp_ns),
        ("General timeout", timeouts.general_ns),
        ("Maximum lifetime", timeouts.active_ns),
        ("Expiry interval", timeouts.sweep_ns),
    ] {
        let _ = writeln!(text, "{label:>22}: {}s", seconds(timeout_ns));
    }
    text
}

fn interfaces(pid: u32, outlook: &Outlook) -> String {
    let mut text = format!("softflowd[{pid}]: Printing interfaces:\n");
    for interface in &outlook.interfaces {
        let seen = interface.seen.as_deref().unwrap_or("nothing now");
        let _ = writeln!(
            text,
            "{:<15} ifIndex {:>6}: {seen}",
            interface.name, interface.ifindex
        );
    }
    text
}

/// `statistics`: counts the table's flows, then tells everything.
struct Count {
    report: StatisticsReport,
    json: bool,
    facts: Facts,
    cursor: Cursor,
    /// Flows in the table, which are of one direction.
    directions: u64,
    /// The same as who asks counts them.
    flows: u64,
}

impl Task for Count {
    fn step(&mut self, view: &View, _: &Now, output: &mut String) -> bool {
        let Self {
            report,
            cursor,
            directions,
            flows,
            ..
        } = self;
        let in_pairs = report.in_pairs;
        let more = view.look_on(cursor, |seen| {
            *directions += 1;
            let is_one = !in_pairs || view.conversation(seen.flow).is_some();
            *flows += u64::from(is_one);
        });
        if more {
            return true;
        }
        self.tell(output);
        false
    }
}

impl Count {
    fn tell(&self, output: &mut String) {
        let StatisticsReport {
            statistics,
            missed_frames,
            ..
        } = &self.report;
        let Facts {
            pid,
            started_unix_ns,
        } = self.facts;
        let (since, missed_frames) = (utc(started_unix_ns), *missed_frames);
        if self.json {
            let mut object = statistics::json(statistics, self.directions, missed_frames);
            object["pid"] = json!(pid);
            object["since"] = json!(format!("{since}Z"));
            let _ = writeln!(output, "{object:#}");
            return;
        }
        let _ = writeln!(
            output,
            "softflowd[{pid}]: Accumulated statistics since {since} UTC:"
        );
        output.push_str(&statistics::layout(
            statistics,
            self.flows,
            Some(Capture { missed_frames }),
            &Protocols::read(),
        ));
        // What softflowd does not tell.
        let _ = write!(output, "\nWeir's account:\n{}", statistics.to_text());
    }
}

/// An answer with a line before it.
struct Headed<T>(String, T);

impl<T: Task> Task for Headed<T> {
    fn step(&mut self, view: &View, now: &Now, output: &mut String) -> bool {
        output.push_str(&std::mem::take(&mut self.0));
        self.1.step(view, now, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{
            flows::tests::outlook,
            view::tests::{Packet, at, view},
        },
        statistics::Statistics,
    };

    const FACTS: Facts = Facts {
        pid: 77,
        started_unix_ns: 1_700_000_000_000_000_000,
    };

    fn answer(line: &str, report: Report) -> String {
        let view = view(&[
            Packet([1, 9], [1, 2], 6, 0, 1, 0),
            Packet([2, 9], [1, 2], 6, 0, 1, 0),
        ]);
        match Answer::of(Command::parse(line).unwrap(), report, FACTS) {
            Answer::Text(text) => text,
            Answer::Task(mut task) => {
                let mut output = String::new();
                while task.step(&view, &at(0), &mut output) {}
                output
            }
        }
    }

    #[test]
    fn sentences_are_softflowds() {
        for (line, report, sentence) in [
            ("shutdown", Report::Done, "Shutting down gracefully..."),
            ("exit", Report::Done, "Exiting now..."),
            ("expire-all", Report::Flows(3), "Expired 3 flows."),
            ("delete-all", Report::Flows(0), "Deleted 0 flows."),
            (
                "send-template",
                Report::Done,
                "Template will be sent at next flow export",
            ),
            ("debug+", Report::Done, "Debug level increased."),
            ("debug-", Report::Done, "Debug level decreased."),
            ("stop-gather", Report::Done, "Data collection stopped."),
            ("start-gather", Report::Done, "Data collection resumed."),
        ] {
            assert_eq!(answer(line, report), format!("softflowd[77]: {sentence}\n"));
        }
        let refused = Report::Refused("no such timeout".to_owned());
        assert_eq!(
            answer("timeouts set x=1", refused),
            "Refused: no such timeout\n"
        );
    }

    #[test]
    fn timeouts_are_laid_out_as_softflowds() {
        let mut outlook = outlook();
        outlook.timeouts.udp_ns = 1_500_000_000;
        let expected = "\
softflowd[77]: Printing timeouts:
           TCP timeout: 3600s
  TCP post-RST timeout: 120s
  TCP post-FIN timeout: 300s
           UDP timeout: 1.5s
          ICMP timeout: 300s
       General timeout: 3600s
      Maximum lifetime: 604800s
       Expiry interval: 60s
";
        assert_eq!(
            answer("timeouts", Report::Outlook(Box::new(outlook))),
            expected
        );
    }

    #[test]
    fn statistics_begin_with_softflowds_block_and_count_the_table() {
        let report = || {
            Report::Statistics(Box::new(StatisticsReport {
                statistics: Statistics::default(),
                missed_frames: 4,
                in_pairs: false,
            }))
        };
        let text = answer("statistics", report());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "softflowd[77]: Accumulated statistics since 2023-11-14T22:13:20 UTC:"
        );
        assert_eq!(lines[1], "Number of active flows: 2");
        assert!(
            text.contains("Packets dropped by interface: 4\n\n\nWeir's account:\n"),
            "{text}"
        );
        let object: serde_json::Value =
            serde_json::from_str(&answer("statistics --json", report())).unwrap();
        assert_eq!(
            (&object["active_flows"], &object["pid"]),
            (&json!(2), &json!(77))
        );
        assert_eq!(object["since"], "2023-11-14T22:13:20Z");
    }

    /// As `dump-flows` has them.
    #[test]
    fn a_conversation_is_one_active_flow_to_who_asks_softflowd() {
        let view = view(&[
            Packet([1, 9], [1, 2], 6, 0, 1, 0),
            Packet([9, 1], [2, 1], 6, 1, 1, 0),
            Packet([2, 9], [1, 2], 6, 0, 1, 0),
        ]);
        for (in_pairs, json, expected) in [
            (true, false, "Number of active flows: 2\n"),
            (false, false, "Number of active flows: 3\n"),
            (true, true, "\"active_flows\": 3"),
        ] {
            let report = Report::Statistics(Box::new(StatisticsReport {
                statistics: Statistics::default(),
                missed_frames: 0,
                in_pairs,
            }));
            let command = Command::Statistics { json };
            let Answer::Task(mut task) = Answer::of(command, report, FACTS) else {
                panic!("no task")
            };
            let mut output = String::new();
            while task.step(&view, &at(0), &mut output) {}
            assert!(output.contains(expected), "{in_pairs}: {output}");
        }
    }

    #[test]
    fn interfaces_and_dumps_have_their_heading() {
        let report = || Report::Outlook(Box::new(outlook()));
        assert_eq!(
            answer("interfaces", report()),
            "softflowd[77]: Printing interfaces:\neth0            ifIndex      2: nothing now\n"
        );
        let dump = answer("dump-flows", report());
        assert!(
            dump.starts_with("softflowd[77]: Dumping flow data:\nACTIVE seq:"),
            "{dump}"
        );
        assert_eq!(dump.matches("ACTIVE ").count(), 2);
        assert_eq!(answer("flows", report()).lines().count(), 3);
    }
}
