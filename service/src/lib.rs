//! What both of Weir's daemons need from the system around them, and nothing of their work: settings from
//! a file as from the command line ([`config`]), the service manager ([`notify`]), the background and
//! syslog ([`daemon`], [`syslog`]), what is said to people ([`lines`]), privileges and system calls that are
//! given up ([`privileges`], [`seccomp`]), and figures told to Prometheus ([`metrics`], [`http`]). And what
//! those who ask a sensor need to find it ([`control`]), and any program to know of [`signals`].

pub mod config;
pub mod control;
pub mod daemon;
pub mod http;
pub mod lines;
pub mod metrics;
pub mod notify;
pub mod privileges;
pub mod seccomp;
pub mod signals;
pub mod syslog;
