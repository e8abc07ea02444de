//! What end-to-end tests, benches and the demo share: a traffic generator whose frames are counted
//! ([`traffic`]), datagrams of sFlow ([`sflow`]), filters at random ([`filters`]), changes to what was valid
//! ([`mutate`]), network namespaces that vanish with their owner ([`netns`]), raw sending ([`wire`]), what an
//! exporter sends ([`sent`]), a relay that loses datagrams and knows which ([`relay`]), child processes that end
//! with theirs ([`process`]), numbers of their accounts ([`account`]), a terminal that can be read ([`tmux`]),
//! one question to several engines ([`engines`]), ports that nobody has ([`port`]), the commands that documents show ([`documents`]), and the test
//! data beside the repository ([`testdata`]).
//! It links none of Weir's crates, so that `cargo xtask` builds in seconds.

pub mod account;
pub mod documents;
pub mod engines;
pub mod filters;
pub mod mutate;
pub mod netns;
pub mod port;
pub mod process;
pub mod relay;
pub mod sent;
pub mod sflow;
pub mod testdata;
pub mod tmux;
pub mod traffic;
pub mod wire;
