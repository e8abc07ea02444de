//! The operator's questions, over generated days in which the answers are planted: each is one short
//! command.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod attacks;
mod completeness;
mod times;
mod usage;
