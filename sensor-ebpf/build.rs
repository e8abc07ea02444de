//! Tells the linker which instructions it may use.

fn main() {
    // Packet headers are not aligned. x86 and arm64 read such words at once, and the verifier lets
    // them; without this the compiler reads them octet by octet. Linkers that do not know the
    // feature say so and go on.
    println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
}
