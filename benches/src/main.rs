use aya::programs::{TestRun, TestRunOptions};
use weir_sensor::kernel::*;
use weir_sensor_common::*;
fn cpu() -> f64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t);
        t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
    }
}
fn main() -> anyhow::Result<()> {
    let mut k = Kernel::load(&ProgramOptions {
        shape: table::Shape {
            bucket_mask: weir_sensor::table::bucket_mask(65536),
            seed: [1, 2, 3, 4, 5],
            key_mask: KeyMask::FULL.0,
        },
        hook: 0,
        exact_clock: false,
        debug_log: false,
        ring_octets: 65536,
    })?;
    let mut f = vec![0u8; 60];
    f[12] = 8;
    f[14] = 0x45;
    f[17] = 46;
    f[23] = 6;
    let n = 2_000_000;
    for i in 0..8 {
        if i % 2 == 0 {
            f[13] = 6;
            f[12] = 8;
        } else {
            f[13] = 0;
        }
        let t = cpu();
        let r = k.program()?.test_run(TestRunOptions {
            data_in: Some(&f),
            repeat: n,
            ..TestRunOptions::new()
        })?;
        println!("{} {} ns", r.return_value, (cpu() - t) / n as f64);
    }
    Ok(())
}
