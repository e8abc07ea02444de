//! The sensor end to end, in one program: each file is a promise, or a group of fault cases.
#![expect(
    clippy::disallowed_methods,
    reason = "captures and exporters are of now"
)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../peer/mod.rs"]
mod peer;
#[path = "../site/mod.rs"]
#[expect(dead_code, reason = "a part of it is for other tests")]
mod site;
#[path = "../world/mod.rs"]
mod world;

mod adopted;
mod as_softflowd;
mod capture_clocks;
mod clsact;
mod combinations;
mod control;
mod export_ways;
mod extras;
mod fault_cases_export;
mod fault_cases_sensor;
mod fault_cases_service;
mod few_flows;
mod live_sensor;
mod metrics;
mod paths;
mod pcap_filters_live;
mod peers;
mod pins;
mod programs;
mod reload;
mod shipped;
mod signals;
mod softflowd_live_faults;
