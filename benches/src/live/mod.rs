//! Live trials: [`frame`] and [`sequence`] say what is sent, [`generator`] sends it, [`receiver`]
//! counts it, [`trial`] runs both and [`machine`] takes the time, [`search`] chooses the next rate.

pub mod frame;
pub mod generator;
pub mod machine;
pub mod receiver;
pub mod search;
pub mod sequence;
pub mod trial;
