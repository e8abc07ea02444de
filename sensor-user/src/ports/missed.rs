//! Frames that an interface's card had no room for, over a time in which it may go and come back: the sum never goes down.

/// What was counted while it was metered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// Whose count it was,
    ifindex: u32,
    /// and what it was at last.
    at_last: u64,
    so_far: u64,
}

impl Missed {
    /// Takes note of what the card of this interface counts by now, if it is there; returns the sum. What one counted
    /// before it was seen first is not of that; one that is reset, as by its driver, counts from 0 on.
    pub(super) fn count(&mut self, ifindex: u32, now: Option<u64>) -> u64 {
        if let Some(now) = now {
            if self.ifindex == ifindex {
                self.so_far += now.checked_sub(self.at_last).unwrap_or(now);
            }
            (self.ifindex, self.at_last) = (ifindex, now);
        }
        self.so_far
    }

    /// The sum at last.
    pub(super) fn so_far(self) -> u64 {
        self.so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_has_each_cards_own_and_never_goes_down() {
        let mut missed = Missed::default();
        assert_eq!(missed.count(3, Some(5000)), 0, "before it was metered");
        assert_eq!(missed.count(3, Some(5010)), 10);
        assert_eq!(missed.count(3, None), 10, "gone");
        assert_eq!(missed.count(3, Some(5012)), 12, "renamed, say");
        assert_eq!(missed.count(3, Some(4)), 16, "reset");
        assert_eq!(missed.count(4, Some(1)), 16, "another one of its name");
        assert_eq!(missed.count(4, Some(3)), 18);
        assert_eq!(missed.so_far(), 18);
    }
}
