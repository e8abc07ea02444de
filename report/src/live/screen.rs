//! Draws the state: a line of what it is, the table, a line of the filter, a line of keys.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line as Words, Text},
    widgets::{Cell, Paragraph, Row, Table},
};

use super::{grid::Line, state::State};
use crate::text::Align;

const KEYS: &str =
    "q quit  / filter  <> sort  r reverse  Enter into  Esc back  Tab flows/hosts  p pause";
const KEYS_TYPING: &str =
    "Enter keep  Esc as before    a filter as in: src net 10.0.0.0/8 and not port 53";

/// Between columns.
const SPACING: u16 = 2;

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let layout = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(1),
        Constraint::Length(1),
    ]);
    let [top, middle, filter, keys] = layout.areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let paused = if state.is_paused { "PAUSED  " } else { "" };
    let title = format!("weir live  {paused}{}", state.summary());
    frame.render_widget(Paragraph::new(title).style(bold), top);
    table(frame, state, middle);
    frame.render_widget(Paragraph::new(filter_line(state)), filter);
    let help = if state.is_typing() { KEYS_TYPING } else { KEYS };
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(help).style(reversed), keys);
}

/// The filter, or what is amiss.
fn filter_line(state: &State) -> String {
    let words = state.filter_words();
    let cursor = if state.is_typing() { "_" } else { "" };
    match (&state.complaint, &state.look.trouble) {
        (Some(says), _) => format!("filter: {words}{cursor}   {says}"),
        (None, Some(trouble)) => trouble.clone(),
        (None, None) if words.is_empty() && !state.is_typing() => "no filter".to_owned(),
        (None, None) => format!("filter: {words}{cursor}"),
    }
}

fn table(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let columns = state.level.columns();
    // Pages, so that only what is seen is made into text; the heading takes a line.
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let first = state.selected / height * height;
    let shown = state.lines.iter().skip(first).take(height);
    let lines: Vec<Vec<String>> = shown.map(|line| texts(state, line)).collect();
    let mut widths: Vec<usize> = Vec::new();
    let mut headings = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let mark = match (*column == state.sort, state.ascending) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        let heading = format!("{}{mark}", column.heading());
        let cells = lines.iter().map(|line| line[at].chars().count());
        widths.push(cells.chain([heading.chars().count()]).max().unwrap_or(0));
        headings.push(heading);
    }
    fit(&mut widths, usize::from(area.width));
    let row = |line: Vec<String>| {
        let cells = line.into_iter().zip(&widths).zip(columns);
        Row::new(cells.map(|((text, width), column)| cell(cut(text, *width), column.align())))
    };
    let header = row(headings);
    let rows = lines.into_iter().zip(first..).map(|(line, number)| {
        let row = row(line);
        if number == state.selected {
            row.style(Style::new().add_modifier(Modifier::REVERSED))
        } else {
            row
        }
    });
    let lengths = widths
        .iter()
        .map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(rows, lengths)
        .header(header.style(bold))
        .column_spacing(SPACING);
    frame.render_widget(table, area);
}

/// Takes from the widest columns until all have room.
fn fit(widths: &mut [usize], room: usize) {
    let spacing = usize::from(SPACING) * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + spacing > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 1 => *widest -= 1,
            _ => return,
        }
    }
}

/// What is cut says so: half of an address or number is another one.
fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

fn texts(state: &State, line: &Line) -> Vec<String> {
    let columns = state.level.columns().iter();
    let cells = columns.map(|column| column.cell(line, state.now_ns()));
    cells.map(|cell| cell.text()).collect()
}

fn cell(text: String, align: Align) -> Cell<'static> {
    let alignment = match align {
        Align::Left => Alignment::Left,
        Align::Right => Alignment::Right,
    };
    Cell::new(Text::from(Words::from(text)).alignment(alignment))
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyCode};

    use super::*;
    use crate::live::state::tests::{press, state};

    fn drawn(state: &State, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| -> String {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol().to_owned());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    fn words(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_screen_has_flows_filter_and_keys() {
        let state = state();
        let lines = drawn(&state, 140, 8);
        assert_eq!(
            lines[0],
            "weir live  3 flows from /run/ctl, 2 open flows, 2023-11-14 22:13:30 UTC"
        );
        assert_eq!(
            words(&lines[1]),
            "State Proto Source Destination bit/s▼ pkt/s Octets Packets Flags Age s Idle s"
        );
        assert_eq!(
            words(&lines[2]),
            "open tcp 10.0.0.3:1003 10.0.0.9:80 3,000 1 300 3 ........ 10.000 10.000"
        );
        assert!(words(&lines[3]).starts_with("export tcp 10.0.0.2:1002"));
        assert_eq!(lines[6], "no filter");
        assert!(lines[7].starts_with("q quit  / filter"));
    }

    #[test]
    fn what_is_typed_is_shown_and_small_screens_do_no_harm() {
        let mut state = state();
        press(
            &mut state,
            &[KeyCode::Char('/'), KeyCode::Char('x'), KeyCode::End],
        );
        let lines = drawn(&state, 100, 8);
        assert!(lines[6].starts_with("filter: x_   "), "{}", lines[6]);
        assert!(lines[7].starts_with("Enter keep"));
        for (width, height) in [(1, 1), (3, 2), (20, 3), (80, 4)] {
            drawn(&state, width, height);
        }
    }

    #[test]
    fn what_has_no_room_is_marked() {
        let lines = drawn(&state(), 93, 8);
        assert!(lines[1].contains("Idle s"), "{lines:?}");
        assert!(lines[2].contains("10.0.0.3…"), "{lines:?}");
        assert!(!lines[2].contains("10.0.0.3:1003"), "{lines:?}");
        let mut widths = [4, 20, 21, 6];
        fit(&mut widths, 40);
        assert_eq!(widths, [4, 12, 12, 6]);
        fit(&mut widths, 0);
        assert_eq!(widths, [1; 4]);
        assert_eq!(cut("10.0.0.3:443".to_owned(), 9), "10.0.0.3…");
    }

    #[test]
    fn the_selected_line_is_on_its_page() {
        let mut state = state();
        press(&mut state, &[KeyCode::End]);
        // Room for one line.
        let lines = drawn(&state, 140, 5);
        assert!(words(&lines[2]).contains("10.0.0.1:1001"), "{lines:?}");
    }
}
