//! What passes between the control thread and the sensor's loop: orders one way, reports the other.

use crate::{clock::Ticks, expiry::Timeouts, ports::PortReport, statistics::Statistics};

/// What the loop is asked to do. Each order has one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Export everything and end.
    Shutdown,
    /// End without exporting what is in the table.
    Exit,
    /// Export everything in the table.
    ExpireAll,
    /// Throw everything in the table away.
    DeleteAll,
    /// Have the next datagrams carry the templates.
    SendTemplate,
    /// Tell the statistics.
    Statistics,
    /// Tell what it takes to understand the table.
    Outlook,
    /// Say what each sweep takes, or do not.
    Debug(bool),
    /// Meter, or do not.
    Gather(bool),
    /// Change a timeout, `name=time`.
    SetTimeout(String),
}

/// What the loop answers.
#[derive(Clone, Debug)]
pub enum Report {
    /// It is done.
    Done,
    /// It cannot be done, as a sentence.
    Refused(String),
    /// So many flows were taken.
    Flows(u64),
    /// The account as of now; what is still in the table is counted as left there.
    Statistics(Box<StatisticsReport>),
    /// What it takes to understand the table.
    Outlook(Box<Outlook>),
}

/// The account as of now.
#[derive(Clone, Debug)]
pub struct StatisticsReport {
    /// The account.
    pub statistics: Statistics,
    /// Frames that the cards had no room for.
    pub missed_frames: u64,
    /// Whether both directions of a conversation are one flow to who asks.
    pub in_pairs: bool,
}

/// What it takes to understand the table's flows.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// When they are over.
    pub timeouts: Timeouts,
    /// What their times are counted in.
    pub ticks: Ticks,
    /// Whether both directions of a conversation are over together.
    pub in_pairs: bool,
    /// One packet in so many is in them.
    pub sampling_interval: u32,
    /// Where they were seen, by number.
    pub interfaces: Vec<PortReport>,
}
