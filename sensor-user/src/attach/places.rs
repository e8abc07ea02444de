//! Where links are attached, by what the kernel tells of their descriptors.

use std::{collections::HashMap, fs};

/// Where this process's links are attached: ifIndex by link id, 0 if nowhere any more (the kernel
/// tells it of each descriptor in `/proc/self/fdinfo`).
#[must_use]
pub fn places() -> HashMap<u32, u32> {
    let files = fs::read_dir("/proc/self/fdinfo").into_iter().flatten();
    files
        .flatten()
        .filter_map(|file| place(&fs::read_to_string(file.path()).ok()?))
        .collect()
}

fn place(fdinfo: &str) -> Option<(u32, u32)> {
    let field = |name: &str| {
        fdinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    Some((field("link_id:")?, field("ifindex:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_place_is_in_its_fdinfo() {
        let text = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tx\nprog_id:\t9\nifindex:\t12\n";
        assert_eq!(place(text), Some((7, 12)));
        assert_eq!(place("pos:\t0\n"), None);
    }
}
