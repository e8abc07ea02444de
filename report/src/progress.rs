//! A bar on standard error while a query takes long, if a person is watching. It goes before anything
//! else is written to the terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{interrupt, reading::Reading};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);
/// Ticks before it appears: who gets an answer within a second needs none.
const TICKS_HIDDEN: u32 = 10;

/// The bar, or the place where it may appear.
#[derive(Clone, Debug, Default)]
pub struct Bar(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    drawn: Option<ProgressBar>,
}

impl Bar {
    /// Takes it away for good.
    pub fn hide(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        if let Some(bar) = state.drawn.take() {
            bar.finish_and_clear();
        }
    }

    /// Moves it; false once it is over.
    fn tick(&self, ticks: u32, (read, octets): (u64, u64)) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_over {
            return false;
        }
        if ticks >= TICKS_HIDDEN && octets > 0 {
            let bar = state.drawn.get_or_insert_with(|| {
                let style = ProgressStyle::with_template(
                    "reading {bar:30} {binary_bytes} of {binary_total_bytes}, {eta} to go",
                );
                // The template is ours; should it be wrong, a plain bar does.
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(octets).with_style(style)
            });
            bar.set_length(octets);
            bar.set_position(read);
        }
        true
    }
}

/// Follows a reading until its bar is hidden, or to the end of the process.
pub fn follow(reading: &Reading) {
    if !io::stderr().is_terminal() {
        return;
    }
    let bar = reading.bar().clone();
    interrupt::before_exit(move || bar.hide());
    let reading = reading.clone();
    thread::spawn(move || {
        let mut ticks = 0u32;
        while reading.bar().tick(ticks, reading.progress()) {
            thread::sleep(TICK);
            ticks = ticks.saturating_add(1);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_appears_after_a_second_and_not_again() {
        let bar = Bar::default();
        let is_drawn = || bar.0.lock().unwrap().drawn.is_some();
        assert!(bar.tick(0, (1, 10)) && !is_drawn());
        assert!(
            bar.tick(TICKS_HIDDEN, (0, 0)) && !is_drawn(),
            "nothing to read yet"
        );
        assert!(bar.tick(TICKS_HIDDEN, (1, 10)) && is_drawn());
        bar.hide();
        assert!(!is_drawn() && !bar.tick(TICKS_HIDDEN, (2, 10)) && !is_drawn());
    }
}
