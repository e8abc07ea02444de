//! What a person sees and did: looks and keys come in, lines and words go out. Pure, but for what reads
//! a filter, which is handed in.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    grid::{self, Column, Level, Line},
    ledger::{Shown, Tuple},
    look::Look,
};
use crate::{
    filter::{Filter, reference},
    text,
};

/// Lines that a page key moves by.
const PAGE: usize = 20;
/// Characters of a filter that is typed, at most.
const TYPED_MAX: usize = 1000;

/// Everything there is to draw.
pub struct State {
    /// What was last seen.
    pub look: Arc<Look>,
    /// What the lines are.
    pub level: Level,
    /// Where Escape leads: levels, and the line that was entered.
    above: Vec<(Level, Option<Tuple>)>,
    /// What they are sorted by.
    pub sort: Column,
    /// Whether the least comes first.
    pub ascending: bool,
    /// The filter, as words and understood.
    filter: (String, Filter),
    /// A filter that is being typed, and the one before.
    typing: Option<(String, (String, Filter))>,
    /// Why what is typed is not understood.
    pub complaint: Option<String>,
    /// Looks are not taken.
    pub is_paused: bool,
    /// The person has enough.
    pub is_over: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Which of them is selected.
    pub selected: usize,
}

impl State {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(level: Level, sort: Column, filter: (String, Filter)) -> Self {
        Self {
            look: Arc::new(Look::default()),
            level,
            above: Vec::new(),
            sort,
            ascending: false,
            filter,
            typing: None,
            complaint: None,
            is_paused: false,
            is_over: false,
            lines: Vec::new(),
            selected: 0,
        }
    }

    /// When what is shown was seen, nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.look.at_ns
    }

    /// Takes a look, unless it stands still.
    pub fn take(&mut self, look: Arc<Look>) {
        if !self.is_paused {
            self.look = look;
            self.arrange();
        }
    }

    /// The filter as it is, or is being typed.
    #[must_use]
    pub fn filter_words(&self) -> &str {
        self.typing
            .as_ref()
            .map_or(&self.filter.0, |(typed, _)| typed)
    }

    /// Whether keys are letters of a filter.
    #[must_use]
    pub fn is_typing(&self) -> bool {
        self.typing.is_some()
    }

    /// The lines anew; the one that was selected stays so, wherever it is now.
    fn arrange(&mut self) {
        let selected = self.selected_tuple();
        let filter = &self.filter.1;
        let fits = |shown: &&Shown| reference::fits(filter, &shown.flow);
        let flows = self.look.flows.iter().filter(fits);
        self.lines = grid::lines(flows, self.level, self.sort, self.ascending);
        self.select(selected);
    }

    fn selected_tuple(&self) -> Option<Tuple> {
        // The first line stays the first one: who has most is what people look at.
        let line = self.lines.get(self.selected).filter(|_| self.selected > 0);
        line.map(|line| line.tuple)
    }

    fn select(&mut self, tuple: Option<Tuple>) {
        let found = tuple.and_then(|tuple| self.lines.iter().position(|line| line.tuple == tuple));
        let last = self.lines.len().saturating_sub(1);
        self.selected = found.unwrap_or(self.selected).min(last);
    }

    /// A key was pressed. `parse` reads a filter, or says why not.
    pub fn key(&mut self, key: KeyEvent, parse: &dyn Fn(&str) -> Result<Filter, String>) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => self.is_over = true,
            code if self.is_typing() => self.typed(code, parse),
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => {
                self.typing = Some((self.filter.0.clone(), self.filter.clone()));
            }
            KeyCode::Char('r') => {
                self.ascending = !self.ascending;
                self.arrange();
            }
            KeyCode::Left | KeyCode::Char('<') => self.sort_beside(false),
            KeyCode::Right | KeyCode::Char('>') => self.sort_beside(true),
            KeyCode::Down | KeyCode::Char('j') => self.move_to(self.selected.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.move_to(self.selected.saturating_sub(1)),
            KeyCode::PageDown => self.move_to(self.selected.saturating_add(PAGE)),
            KeyCode::PageUp => self.move_to(self.selected.saturating_sub(PAGE)),
            KeyCode::Home => self.move_to(0),
            KeyCode::End => self.move_to(usize::MAX),
            KeyCode::Enter => self.enter(),
            KeyCode::Esc | KeyCode::Backspace => self.leave(),
            KeyCode::Tab => {
                self.above.clear();
                self.go(match self.level {
                    Level::Flows => Level::Hosts,
                    _ => Level::Flows,
                });
            }
            _ => {}
        }
    }

    fn move_to(&mut self, line: usize) {
        self.selected = line.min(self.lines.len().saturating_sub(1));
    }

    /// Sorts by the column beside.
    fn sort_beside(&mut self, right: bool) {
        let columns = self.level.columns();
        let at = columns.iter().position(|column| *column == self.sort);
        let at = match (at, right) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % columns.len(),
            (Some(at), false) => (at + columns.len() - 1) % columns.len(),
        };
        self.sort = columns[at];
        self.arrange();
    }

    /// Hosts lead to their peers, peers to the flows between the two, a flow to all between its ends.
    fn enter(&mut self) {
        let Some(line) = self.lines.get(self.selected) else {
            return;
        };
        let tuple = line.tuple;
        let below = match self.level {
            Level::Hosts => Level::Peers(tuple.source),
            Level::Peers(host) => Level::Between(host, tuple.source),
            Level::Flows => Level::Between(tuple.source, tuple.destination),
            Level::Between(..) => return,
        };
        self.above.push((self.level, Some(tuple)));
        self.go(below);
    }

    fn leave(&mut self) {
        if let Some((level, entered)) = self.above.pop() {
            self.go(level);
            self.select(entered);
        }
    }

    fn go(&mut self, level: Level) {
        self.level = level;
        if !level.columns().contains(&self.sort) {
            self.sort = Column::Bits;
        }
        self.selected = 0;
        self.arrange();
    }

    /// A key while a filter is typed: what is understood applies at once.
    fn typed(&mut self, code: KeyCode, parse: &dyn Fn(&str) -> Result<Filter, String>) {
        let Some((mut words, before)) = self.typing.take() else {
            return;
        };
        match code {
            KeyCode::Enter if self.complaint.is_none() => return,
            KeyCode::Esc => {
                self.complaint = None;
                self.filter = before;
                self.arrange();
                return;
            }
            KeyCode::Backspace => {
                words.pop();
            }
            KeyCode::Char(letter) if !letter.is_control() && words.len() < TYPED_MAX => {
                words.push(letter);
            }
            _ => {
                self.typing = Some((words, before));
                return;
            }
        }
        match parse(&words) {
            Ok(filter) => {
                self.complaint = None;
                self.filter = (words.clone(), filter);
                self.arrange();
            }
            Err(says) => self.complaint = Some(says),
        }
        self.typing = Some((words, before));
    }

    /// What is shown, in a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let Look {
            source,
            open_flows,
            told_flows,
            at_ns,
            sampling_interval_max,
            ..
        } = &*self.look;
        let mut parts = vec![format!(
            "{} {} from {source}",
            text::count(self.lines.len() as u64),
            self.level.title()
        )];
        if let Some(open) = open_flows {
            parts.push(if open > told_flows {
                format!(
                    "the {} of {} open flows with most octets",
                    text::count(*told_flows),
                    text::count(*open)
                )
            } else {
                format!("{} open flows", text::count(*open))
            });
        }
        if let Some(since_ns) = self.look.silent_since_ns() {
            let since = text::time_to_second(since_ns);
            parts.push(format!("nothing received since {since} UTC"));
        }
        if *sampling_interval_max > 1 {
            let most = text::count((*sampling_interval_max).into());
            parts.push(format!(
                "of sampled packets, one in up to {most}, and not multiplied"
            ));
        }
        parts.push(format!("{} UTC", text::time_to_second(*at_ns)));
        parts.join(", ")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::live::ledger::{Rate, tests::flow};

    /// Hosts 1 to 3 sent to host 9, the last one most.
    pub fn state() -> State {
        let everything = (String::new(), Filter::everything());
        let mut state = State::new(Level::Flows, Column::Bits, everything);
        let flows = (1..=3).map(|from| Shown {
            flow: flow(from, 9, 100 * u64::from(from), 0),
            is_open: from != 2,
            rate: Some(Rate {
                bits: 1000 * u64::from(from),
                packets: 1,
            }),
        });
        state.take(Arc::new(Look {
            at_ns: 1_700_000_010_000_000_000,
            source: "/run/ctl".to_owned(),
            flows: flows.collect(),
            open_flows: Some(2),
            told_flows: 2,
            last_received_ns: None,
            sampling_interval_max: 1,
            trouble: None,
        }));
        state
    }

    fn parse(text: &str) -> Result<Filter, String> {
        let library = crate::filter::sets::Library::new("/no/such/folder".into());
        let around = crate::filter::Surroundings {
            now_ns: 0,
            library: &library,
            resolve: |_| Vec::new(),
        };
        crate::filter::parse(text, &around).map_err(|error| error.says().to_owned())
    }

    pub fn press(state: &mut State, codes: &[KeyCode]) {
        for code in codes {
            state.key(KeyEvent::from(*code), &parse);
        }
    }

    fn sources(state: &State) -> Vec<String> {
        let cells = state.lines.iter().map(|line| Column::Address.cell(line, 0));
        cells.map(|cell| cell.text()).collect()
    }

    #[test]
    fn lines_are_sorted_by_any_column_both_ways() {
        let mut state = state();
        assert_eq!(sources(&state), ["10.0.0.3", "10.0.0.2", "10.0.0.1"]);
        press(&mut state, &[KeyCode::Char('r')]);
        assert_eq!(sources(&state), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        press(&mut state, &[KeyCode::Left, KeyCode::Left]);
        assert_eq!(state.sort, Column::Source);
        for _ in 0..state.level.columns().len() {
            press(&mut state, &[KeyCode::Right]);
        }
        assert_eq!(state.sort, Column::Source);
    }

    #[test]
    fn where_nothing_comes_any_more_it_is_said_since_when() {
        let summary = |silent_s: i64| {
            let mut state = state();
            let at_ns = state.now_ns();
            state.take(Arc::new(Look {
                at_ns,
                source: "/var/lib/weir".to_owned(),
                last_received_ns: Some(at_ns - silent_s * 1_000_000_000),
                ..Look::default()
            }));
            state.summary()
        };
        assert_eq!(
            summary(60),
            "0 flows from /var/lib/weir, 2023-11-14 22:13:30 UTC"
        );
        assert_eq!(
            summary(61),
            "0 flows from /var/lib/weir, nothing received since 2023-11-14 22:12:29 UTC, 2023-11-14 22:13:30 UTC"
        );
    }

    #[test]
    fn a_filter_applies_while_it_is_typed() {
        let mut state = state();
        press(&mut state, &[KeyCode::Char('/')]);
        press(
            &mut state,
            &"src ip 10.0.0.2"
                .chars()
                .map(KeyCode::Char)
                .collect::<Vec<_>>(),
        );
        assert_eq!(
            (sources(&state), &state.complaint),
            (vec!["10.0.0.2".to_owned()], &None)
        );
        press(&mut state, &[KeyCode::Char('q'), KeyCode::Enter]);
        assert!(state.complaint.is_some() && state.is_typing() && !state.is_over);
        press(&mut state, &[KeyCode::Backspace, KeyCode::Enter]);
        assert!(!state.is_typing());
        assert_eq!(state.lines.len(), 1);
        press(
            &mut state,
            &[KeyCode::Char('/'), KeyCode::Backspace, KeyCode::Esc],
        );
        assert_eq!(
            (state.filter_words(), state.lines.len()),
            ("src ip 10.0.0.2", 1)
        );
    }

    #[test]
    fn keys_lead_from_hosts_to_peers_to_flows_and_back() {
        let mut state = state();
        press(&mut state, &[KeyCode::Tab]);
        assert_eq!(
            sources(&state),
            ["10.0.0.9", "10.0.0.3", "10.0.0.2", "10.0.0.1"]
        );
        press(&mut state, &[KeyCode::Enter, KeyCode::Down]);
        assert_eq!(sources(&state), ["10.0.0.3", "10.0.0.2", "10.0.0.1"]);
        assert!(state.level.narrowed().host.is_some());
        press(&mut state, &[KeyCode::Enter, KeyCode::Enter]);
        assert_eq!(sources(&state), ["10.0.0.2"]);
        assert_eq!(state.level.title(), "flows of 10.0.0.9 and 10.0.0.2");
        press(&mut state, &[KeyCode::Esc]);
        assert_eq!(state.selected, 1);
        press(&mut state, &[KeyCode::Esc, KeyCode::Esc]);
        assert_eq!(state.level, Level::Hosts);
    }

    #[test]
    fn a_pause_keeps_what_is_shown_and_q_ends() {
        let mut state = state();
        press(&mut state, &[KeyCode::Char('p'), KeyCode::End]);
        state.take(Arc::new(Look::default()));
        assert_eq!((state.lines.len(), state.selected), (3, 2));
        press(&mut state, &[KeyCode::Char('p')]);
        state.take(Arc::new(Look::default()));
        assert_eq!((state.lines.len(), state.selected), (0, 0));
        press(
            &mut state,
            &[KeyCode::Enter, KeyCode::Down, KeyCode::Char('q')],
        );
        assert!(state.is_over);
    }
}
