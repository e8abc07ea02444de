//! How long an interface that cannot be attached to is left alone: each try may reset its card, and where
//! received packets can be seen and sent ones cannot, it puts a program on and takes it off.

/// Counted in looks at the interfaces, of which there is one a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    /// Which one could not be: another of its name has its turn at once.
    ifindex: u32,
    /// From one try to the next.
    looks: u32,
    /// Until the next one.
    left: u32,
}

impl Pause {
    const LOOKS_MAX: u32 = 60;

    /// Of one that could not be attached to just now.
    pub(super) fn begun(ifindex: u32) -> Self {
        Self {
            ifindex,
            looks: 1,
            left: 1,
        }
    }

    /// Whether it is tried at this look.
    pub(super) fn is_over(&mut self, ifindex: u32) -> bool {
        if self.ifindex != ifindex {
            *self = Self {
                ifindex,
                ..Self::default()
            };
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// It could not be attached to; whether for the first time.
    pub(super) fn grow(&mut self) -> bool {
        let is_first = self.looks == 0;
        self.looks = (2 * self.looks).clamp(1, Self::LOOKS_MAX);
        self.left = self.looks;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many looks it is tried, if none of the tries succeeds.
    fn tries(pause: &mut Pause, ifindex: u32, looks: u32) -> Vec<u32> {
        let mut tried = Vec::new();
        for look in 0..looks {
            if pause.is_over(ifindex) {
                pause.grow();
                tried.push(look);
            }
        }
        tried
    }

    #[test]
    fn pauses_grow_to_a_minute_and_another_interface_does_not_wait() {
        let mut pause = Pause::default();
        let tried = tries(&mut pause, 7, 250);
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert_eq!(tries(&mut pause, 8, 4), [0, 1, 3]);
    }
}
