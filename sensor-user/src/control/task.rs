//! An answer that takes a look at the whole table, made in steps so that the thread can turn to its
//! other clients in between.

use super::view::View;
use crate::clock::Now;

/// An answer in the making.
pub trait Task: Send {
    /// Goes on a little, adding to the answer; returns whether there is more to come.
    fn step(&mut self, view: &View, now: &Now, output: &mut String) -> bool;
}
