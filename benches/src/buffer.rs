//! The size of receive buffers, which decides how long a burst may be: the same for all who are compared.

use std::fs;

use anyhow::{Context as _, Result};

/// What weir-collector asks for by itself; nfcapd is told.
pub const BUFFER_OCTETS: u64 = 32 << 20;

/// What a receive buffer may be, for nfcapd: weir-collector, as root, takes more without being asked.
/// Put back when dropped.
pub struct BufferLimit {
    before: String,
}

impl BufferLimit {
    const PATH: &str = "/proc/sys/net/core/rmem_max";

    /// Raises it to what weir-collector takes.
    pub fn raise() -> Result<Self> {
        let before = fs::read_to_string(Self::PATH)?;
        let octets: u64 = before.trim().parse().context(Self::PATH)?;
        fs::write(Self::PATH, octets.max(BUFFER_OCTETS).to_string())
            .with_context(|| format!("cannot write {}: run as root", Self::PATH))?;
        Ok(Self { before })
    }
}

impl Drop for BufferLimit {
    fn drop(&mut self) {
        let _ = fs::write(Self::PATH, self.before.trim());
    }
}
