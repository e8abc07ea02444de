//! What all commands share: where the flows are, which of them are asked for, and the engine.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use datafusion::prelude::{DataFrame, Expr, SessionContext};

use crate::{
    clock,
    data::{self, Coverage},
    engine::{Limits, Order},
    filter::{
        self, Filter, Surroundings,
        ast::{Comparison, Field, Test},
        plan,
        sets::{self, Library},
        times,
    },
    joined, local_names, output, progress,
    reading::Reading,
    spelling::{acl, nfilter},
};

/// Where sets and catalogues are, unless the command line says otherwise.
pub const LIBRARY: &str = "/etc/weir";
/// Where the flows are, likewise.
const FLOWS: &str = "/var/lib/weir";

/// From a file's text and a name to text of the filter language.
type Translate = fn(&str, &str) -> Result<String, String>;

/// Which flows an answer is about.
#[derive(Debug, Args)]
pub struct Source {
    /// Directory of the flows (the collector's -w); may be repeated: the flows of several collectors
    #[arg(short = 'r', short_alias = 'R', long = "read", value_name = "DIR", default_value = FLOWS)]
    pub directories: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Read the filter from this file too; both must fit
    #[arg(short = 'f', long, value_name = "FILE")]
    pub filter_file: Option<PathBuf>,
    /// Also as a definition in a file of flow-nfilter's says
    #[arg(short = 'F', long, num_args = 2, value_names = ["FILE", "NAME"])]
    pub nfilter: Vec<String>,
    /// Also as a Cisco access list in a file says; a standard one is about the source, as `dst:NAME` about
    /// the destination
    #[arg(long, num_args = 2, value_names = ["FILE", "NAME"])]
    pub acl: Vec<String>,
    /// Folder of named sets (sets/NAME), catalogues (who/NAME), signatures (signatures/NAME.toml) and names
    /// (names/FILE)
    #[arg(long, value_name = "DIR", default_value = LIBRARY)]
    pub library: PathBuf,
    /// Take this as the present: `last 2h` counts back from it, and flows that began later are left out
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub now: Option<i64>,
    /// Multiply octets and packets of sampled flows by their sampling interval, as nfdump does; else they are as
    /// exporters sent them
    #[arg(long)]
    pub scaled: bool,
    /// Do not show the answer through a pager ($PAGER, or less)
    #[arg(long)]
    pub no_pager: bool,
    /// Read names from this file too: hosts(5), lines of PREFIX,NAME (.csv), or a MaxMind database of
    /// countries or AS (.mmdb); may be repeated. Files in the library's folder names are read anyway
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Only flows that fit, as in `src net 10.0.0.0/8 and not (tcp or port 53) and last 2h`
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

fn instant(text: &str) -> Result<i64, String> {
    times::instant_ns(text, clock::unix_ns())
        .ok_or_else(|| "a time such as 2026-11-21T14:00 fits here".to_owned())
}

/// What is asked wrongly, beside filters and SQL: names that there are not, words that contradict one another, files
/// of the person's own that cannot be read or understood.
#[derive(Debug)]
pub struct Misasked(pub String);

impl fmt::Display for Misasked {
    fn fmt(&self, output: &mut fmt::Formatter<'_>) -> fmt::Result {
        output.write_str(&self.0)
    }
}

impl std::error::Error for Misasked {}

/// Reads a file that a question takes words from.
///
/// # Errors
/// If it cannot be read: it is a part of the question.
pub fn read_named(path: &Path) -> Result<String> {
    sets::read_text(path).with_context(|| Misasked(format!("cannot read {}", path.display())))
}

/// Flows that began before a time.
fn began_before(time_ns: i64) -> Filter {
    let at_ms = time_ns.div_euclid(1_000_000);
    Test::Time {
        field: Field::Start,
        comparison: Comparison::Less,
        at_ms,
    }
    .into()
}

/// What is asked, and of which flows.
pub struct Question {
    /// Flows that fit.
    pub flows: DataFrame,
    /// What they fit.
    pub filter: Filter,
    /// What was read.
    pub coverage: Coverage,
    /// The present, nanoseconds since 1970-01-01 UTC.
    pub now_ns: i64,
    /// The session they are asked in.
    pub session: SessionContext,
}

impl Source {
    /// The present.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.now.unwrap_or_else(clock::unix_ns)
    }

    /// Named sets and catalogues.
    #[must_use]
    pub fn library(&self) -> Library {
        Library::new(self.library.clone())
    }

    /// Parses a filter of this command.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(&self, text: &str) -> Result<Filter> {
        // Countries are asked of them.
        local_names::load(&self.names, &self.library.join("names"))?;
        let library = self.library();
        let around = Surroundings {
            now_ns: self.now_ns(),
            library: &library,
            resolve: filter::resolve,
        };
        Ok(filter::parse(text, &around)?)
    }

    /// The filter of the command line and that of the file, of flows that there were by then with --now.
    ///
    /// # Errors
    /// What does not fit, or if the file cannot be read.
    pub fn asked(&self) -> Result<Filter> {
        let mut asked = self.parse(&self.filter.join(" "))?;
        if let Some(path) = &self.filter_file {
            let text = read_named(path)?;
            let from_file = self
                .parse(&text)
                .with_context(|| format!("in {}", path.display()))?;
            asked = asked.and(from_file);
        }
        for (lists, translate) in [
            (&self.nfilter, nfilter::filter as Translate),
            (&self.acl, acl::filter as Translate),
        ] {
            for list in lists.chunks_exact(2) {
                asked = asked.and(self.listed(&list[0], &list[1], translate)?);
            }
        }
        // Only of a present that was said: an exporter's clock may be ahead of ours.
        if let Some(now_ns) = self.now {
            asked = asked.and(began_before(now_ns));
        }
        Ok(asked)
    }

    /// A list of another program's, by its file and name.
    fn listed(&self, file: &str, name: &str, translate: Translate) -> Result<Filter> {
        let text = read_named(Path::new(file))?;
        let filter =
            translate(&text, name).map_err(|says| Misasked(format!("in {file}: {says}")))?;
        let parsed = self.parse(&filter);
        parsed.with_context(|| format!("`{name}` in {file} is `{filter}`"))
    }

    /// A filter as a condition on the flows of a question: filters are of what is shown, with --scaled of scaled counts.
    ///
    /// # Errors
    /// If the engine does not take it.
    pub fn plan(&self, filter: &Filter) -> Result<Expr> {
        let planned = plan::plan(filter);
        if self.scaled {
            joined::scaled(planned)
        } else {
            Ok(planned)
        }
    }

    /// Opens the flows that are asked for.
    ///
    /// # Errors
    /// If the filter does not fit, or the directory cannot be listed.
    pub fn question(&self) -> Result<Question> {
        let asked = self.asked()?;
        self.question_of(asked)
    }

    /// Opens the flows that fit a filter.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn question_of(&self, filter: Filter) -> Result<Question> {
        self.question_in(Order::AsFound, filter)
    }

    /// Opens the flows that fit a filter, to be asked for in an order.
    ///
    /// # Errors
    /// If the directory cannot be listed, the folder to spill to cannot be used, or a file of names cannot
    /// be read.
    pub fn question_in(&self, order: Order, filter: Filter) -> Result<Question> {
        output::allow_pager(!self.no_pager);
        local_names::load(&self.names, &self.library.join("names"))?;
        let reading = Reading::default();
        let session = self.limits.session(order)?;
        let (flows, mut coverage) = data::open(&session, &self.directories, &filter, &reading)?;
        progress::follow(&reading);
        coverage.is_scaled = self.scaled;
        let flows = if self.scaled {
            data::scaled(flows)?
        } else {
            flows
        };
        let flows = if filter == Filter::everything() {
            flows
        } else {
            flows.filter(self.plan(&filter)?)?
        };
        Ok(Question {
            flows,
            filter,
            coverage,
            now_ns: self.now_ns(),
            session,
        })
    }
}
