//! How long a carrier may wait for room: for each message, and for all of them until it may anew. What takes
//! nothing for as long as a message may wait is not waited for again before it takes something.

use std::{thread, time::Duration};

/// What is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For all messages, until there may be more.
    pub left: u32,
    /// The last message did not leave for want of room.
    pub stalled: bool,
    /// For a message.
    each: u32,
    /// For this message.
    now: u32,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            left: Self::EACH,
            stalled: false,
            each: Self::EACH,
            now: 0,
        }
    }
}

impl Waits {
    /// How long one is.
    pub const STEP: Duration = Duration::from_millis(2);
    /// For a message, and for all until the caller has it wait again: 40 ms.
    pub const EACH: u32 = 20;
    /// For a message where nothing comes after those that wait: a second.
    pub const EACH_AT_LAST: u32 = 500;

    /// A message is to leave.
    pub fn begin(&mut self) {
        self.now = if self.stalled {
            0
        } else {
            self.left.min(self.each)
        };
    }

    /// Waits a moment, if it still may; whether it did.
    pub fn wait(&mut self) -> bool {
        if self.now == 0 {
            return false;
        }
        self.now -= 1;
        self.left = self.left.saturating_sub(1);
        thread::sleep(Self::STEP);
        true
    }

    /// What was waited so far does not count any more.
    pub fn renew(&mut self) {
        (self.left, self.each) = (Self::EACH, Self::EACH);
    }

    /// Likewise, unless it was granted to all messages to the end.
    pub fn renew_unless_granted(&mut self) {
        if self.each == Self::EACH {
            self.left = Self::EACH;
        }
    }

    /// For all messages to the end, so long in all.
    pub fn grant(&mut self, waiting: Duration) {
        let steps = waiting.as_millis() / Self::STEP.as_millis();
        self.left = u32::try_from(steps).unwrap_or(u32::MAX);
        self.each = Self::EACH_AT_LAST;
        self.stalled = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits as often as it may with a message that finds no room.
    fn in_vain(waits: &mut Waits) -> u32 {
        waits.begin();
        let count = (0..u16::MAX).take_while(|_| waits.wait()).count();
        waits.stalled = true;
        u32::try_from(count).unwrap()
    }

    #[test]
    fn what_takes_nothing_is_waited_for_once() {
        let mut waits = Waits::default();
        assert_eq!(in_vain(&mut waits), Waits::EACH);
        waits.renew();
        assert_eq!(in_vain(&mut waits), 0);
        waits.stalled = false;
        assert_eq!(in_vain(&mut waits), Waits::EACH);
    }

    #[test]
    fn what_takes_a_little_is_waited_for_as_long_in_all() {
        let mut waits = Waits::default();
        let mut count = 0;
        for _ in 0..30 {
            waits.begin();
            count += u32::from(waits.wait());
            waits.stalled = false;
        }
        assert_eq!((count, waits.left), (Waits::EACH, 0));
        waits.renew();
        waits.begin();
        assert!(waits.wait());
    }

    #[test]
    fn what_is_granted_is_for_all_and_a_message_has_its_part() {
        let mut waits = Waits {
            stalled: true,
            ..Waits::default()
        };
        waits.grant(Waits::STEP * (Waits::EACH_AT_LAST + 7));
        assert_eq!(in_vain(&mut waits), Waits::EACH_AT_LAST);
        assert_eq!(in_vain(&mut waits), 0);
        waits.stalled = false;
        assert_eq!(in_vain(&mut waits), 7);
    }
}
