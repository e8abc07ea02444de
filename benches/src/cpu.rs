//! Processor time, which a busy machine does not change as it does wall time.
#![expect(unsafe_code, reason = "system calls")]
#![expect(clippy::disallowed_methods, reason = "measuring is what this is for")]

/// Processor time of this thread, in nanoseconds.
#[must_use]
pub fn thread_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid.
    unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
    }
    1e9 * time.tv_sec as f64 + time.tv_nsec as f64
}

/// Processor time of all children that have ended, in nanoseconds.
#[must_use]
pub fn children_ns() -> f64 {
    // SAFETY: all zeros are a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid.
    unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
    }
    let ns = |time: libc::timeval| 1e9 * time.tv_sec as f64 + 1e3 * time.tv_usec as f64;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// The middle one, or what lies between the two in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        f64::midpoint(figures[half - 1], figures[half])
    } else {
        figures[half]
    }
}
