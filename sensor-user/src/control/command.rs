//! The words a client may send: softflowctl's, as they are, and Weir's own.

use super::{live, order::Order, top::Query};
use crate::options::join;

/// The first lines are softflowd's.
pub const HELP: &str = "\
Valid control words are:
\tdebug+ debug- delete-all dump-flows exit expire-all
\tshutdown start-gather statistics stop-gather timeouts
\tsend-template
\tstatistics --json
\tflows [FILTER]
\ttop [by KEY] [sort octets|packets|flows] [N] [FILTER]
\tlive [host A [peer B]] [N]
\ttimeouts set NAME=TIME
\tinterfaces
";

/// Of an unknown word, as much as softflowd reads.
const WORD_OCTETS_MAX: usize = 63;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The words there are.
    Help,
    /// Something the loop does or knows, whose report is the answer.
    Plain(Order),
    /// The statistics, in softflowd's layout or as JSON.
    Statistics {
        /// As JSON.
        json: bool,
    },
    /// Every flow with both its directions, in softflowd's layout.
    DumpFlows,
    /// Every flow, a line each, or those that a filter expression means.
    Flows(Option<String>),
    /// Who has most.
    Top(Query),
    /// The flows with most, as objects.
    Live(live::Query),
    /// The timeouts.
    Timeouts,
    /// What is metered.
    Interfaces,
}

impl Command {
    /// Understands a line.
    ///
    /// # Errors
    /// The answer to one that is not understood.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["help"] => Self::Help,
            ["shutdown"] => Self::Plain(Order::Shutdown),
            ["exit"] => Self::Plain(Order::Exit),
            ["expire-all"] => Self::Plain(Order::ExpireAll),
            ["delete-all"] => Self::Plain(Order::DeleteAll),
            ["send-template"] => Self::Plain(Order::SendTemplate),
            ["debug+"] => Self::Plain(Order::Debug(true)),
            ["debug-"] => Self::Plain(Order::Debug(false)),
            ["start-gather"] => Self::Plain(Order::Gather(true)),
            ["stop-gather"] => Self::Plain(Order::Gather(false)),
            ["timeouts", "set", setting] => Self::Plain(Order::SetTimeout((*setting).to_owned())),
            ["timeouts"] => Self::Timeouts,
            ["statistics"] => Self::Statistics { json: false },
            ["statistics", "--json"] => Self::Statistics { json: true },
            ["dump-flows"] => Self::DumpFlows,
            ["interfaces"] => Self::Interfaces,
            ["flows", filter @ ..] => Self::Flows(join(filter)),
            ["top", rest @ ..] => Self::Top(Query::parse(rest)?),
            ["live", rest @ ..] => Self::Live(live::Query::parse(rest)?),
            _ => return Err(format!("Unknown control command \"{}\"\n", shown(line))),
        })
    }

    /// What the loop is asked for first.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        match self {
            Self::Help => None,
            Self::Plain(order) => Some(order.clone()),
            Self::Statistics { .. } => Some(Order::Statistics),
            Self::DumpFlows
            | Self::Flows(_)
            | Self::Top(_)
            | Self::Live(_)
            | Self::Timeouts
            | Self::Interfaces => Some(Order::Outlook),
        }
    }
}

/// An unknown line, as it may be sent back: as long as softflowd's, without control characters.
fn shown(line: &str) -> String {
    let mut shown = String::new();
    for c in line.chars() {
        if shown.len() + c.len_utf8() > WORD_OCTETS_MAX {
            break;
        }
        shown.push(if c.is_control() { '?' } else { c });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softflowctls_words_are_understood() {
        for (line, command) in [
            ("help", Command::Help),
            ("shutdown", Command::Plain(Order::Shutdown)),
            ("exit", Command::Plain(Order::Exit)),
            ("expire-all", Command::Plain(Order::ExpireAll)),
            ("delete-all", Command::Plain(Order::DeleteAll)),
            ("send-template", Command::Plain(Order::SendTemplate)),
            ("statistics", Command::Statistics { json: false }),
            ("debug+", Command::Plain(Order::Debug(true))),
            ("debug-", Command::Plain(Order::Debug(false))),
            ("stop-gather", Command::Plain(Order::Gather(false))),
            ("start-gather", Command::Plain(Order::Gather(true))),
            ("dump-flows", Command::DumpFlows),
            ("timeouts", Command::Timeouts),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn weirs_words_are_understood() {
        for (line, command) in [
            ("statistics --json", Command::Statistics { json: true }),
            ("flows", Command::Flows(None)),
            (
                "flows udp  and port 53",
                Command::Flows(Some("udp and port 53".to_owned())),
            ),
            ("interfaces", Command::Interfaces),
            (
                "timeouts set udp=30s",
                Command::Plain(Order::SetTimeout("udp=30s".to_owned())),
            ),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
        assert!(matches!(
            Command::parse("top by dstip 3"),
            Ok(Command::Top(_))
        ));
    }

    #[test]
    fn anything_else_is_answered_as_softflowd_answers_it() {
        let unknown = |line: &str| Command::parse(line).unwrap_err();
        assert_eq!(
            unknown("statistic"),
            "Unknown control command \"statistic\"\n"
        );
        assert_eq!(unknown(""), "Unknown control command \"\"\n");
        assert_eq!(unknown("a\u{1b}[2J"), "Unknown control command \"a?[2J\"\n");
        let long = unknown(&"é".repeat(200));
        assert_eq!(
            long,
            format!("Unknown control command \"{}\"\n", "é".repeat(31))
        );
        let refused = unknown("top by colour");
        assert!(refused.starts_with("Refused: "), "{refused}");
    }
}
