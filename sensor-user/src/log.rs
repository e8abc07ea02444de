//! Where the kernel program's debug log goes: standard error, a line a message.

struct StandardError;

impl log::Log for StandardError {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("weir-sensor: kernel: {}", record.args());
    }

    fn flush(&self) {}
}

/// Makes it the log.
pub fn start() {
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
