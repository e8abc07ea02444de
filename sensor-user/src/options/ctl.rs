//! weir-ctl's command line; softflowctl's, for whoever calls it so, is too short to be worth one.

use std::path::PathBuf;

use clap::Parser;

/// Asks a running sensor, or tells it something
#[derive(Debug, Parser)]
#[command(
    name = "weir-ctl",
    version,
    after_help = "\
Commands:
  statistics [--json]            counters, as softflowd has them, and Weir's account
  top [by KEY] [sort WHAT] [N] [FILTER]
                                 who has most now; KEY: srcip, dstip, srcport, dstport, proto,
                                 tos, vlan, interface; WHAT: octets, packets, flows; FILTER: of
                                 which flows, in tcpdump's language
  live [host A [peer B]] [N]     the flows with most octets, as JSON (what `weir live` asks)
  flows [FILTER]                 every flow in the table, a line each
  dump-flows                     every flow with both directions, as softflowd has it
  interfaces                     what is metered, and how
  timeouts [set NAME=TIME]       the timeouts; change one
  expire-all                     export every flow now
  delete-all                     throw every flow away, unexported
  send-template                  have the next datagrams carry the templates
  stop-gather, start-gather      take the programs off, put them on again
  debug+, debug-                 log what each sweep takes, or stop that
  shutdown                       export every flow and end
  exit                           end at once, flows unexported
  help                           the words that this sensor knows"
)]
pub struct Options {
    /// Socket of the sensor (left out: the one there is, /var/run/softflowd.ctl or
    /// /run/weir-sensor/NAME/ctl)
    #[arg(short = 'c', long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// What to ask or tell
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub words: Vec<String>,
}
