//! The control socket's place in the file system: taken at the start, given back at the end, and left
//! alone where somebody else is.
#![expect(unsafe_code, reason = "a system call")]

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf, absolute},
};

use anyhow::{Context as _, Result, bail};

/// A listening socket, and the file that is its address.
#[derive(Debug)]
pub struct Socket {
    /// Does not block.
    pub(super) listener: UnixListener,
    pub(super) place: Place,
}

/// The file; it is removed when the value is dropped, if it is still ours.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Socket {
    /// Listens at a path, for its owner or also a group. A socket there that nobody listens at is
    /// replaced. Only while the process has one thread: it changes what new files are made with.
    ///
    /// # Errors
    /// A sentence: someone answers there, it is no socket, there is no such group or folder.
    pub fn open(path: &Path, group: Option<&str>) -> Result<Self> {
        const OWNER_ONLY: libc::mode_t = 0o177;
        const OWNER: u32 = 0o600;
        const GROUP_TOO: u32 = 0o660;
        // The background's folder is another.
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        let group = group.map(group_number).transpose()?;
        make_way(&path)?;
        // SAFETY: the calls take no pointers.
        let before = unsafe { libc::umask(OWNER_ONLY) };
        let listener = UnixListener::bind(&path);
        // SAFETY: as above.
        unsafe { libc::umask(before) };
        let listener = listener.with_context(|| format!("cannot listen at {}", path.display()))?;
        let metadata = fs::symlink_metadata(&path)?;
        let place = Place {
            identity: (metadata.dev(), metadata.ino()),
            path,
        };
        if let Some(group) = group {
            chown(&place.path, None, Some(group)).with_context(|| {
                format!("cannot give {} to group {group}", place.path.display())
            })?;
        }
        let mode = if group.is_some() { GROUP_TOO } else { OWNER };
        fs::set_permissions(&place.path, fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what a sensor that was killed has left.
fn make_way(path: &Path) -> Result<()> {
    let name = path.display();
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata
            .with_context(|| format!("cannot look at {name}"))?
            .file_type(),
    };
    // Debian's softflowd has links for sockets, from one place to another, which may both be empty.
    if kind.is_symlink() && !path.exists() {
        return fs::remove_file(path)
            .with_context(|| format!("cannot remove {name}, a link to nothing"));
    }
    if !fs::metadata(path).is_ok_and(|target| target.file_type().is_socket()) {
        bail!("{name} is there and is no socket: remove it, or give another path with -c");
    }
    // One that does not block: a sensor that hangs has no room for a connection.
    match mio::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .with_context(|| format!("cannot remove {name}, which a dead sensor has left")),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(error).with_context(|| format!("cannot see whether a sensor answers at {name}"))
        }
        _ => bail!(
            "another sensor answers at {name}: `weir-ctl -c {name} shutdown` ends it; or give this one another path with -c"
        ),
    }
}

/// A group's number, by number or by the name it has in /etc/group.
fn group_number(group: &str) -> Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    find_group(&groups, group).with_context(|| {
        format!("there is no group `{group}` in /etc/group: `addgroup --system {group}` makes it")
    })
}

/// `name:password:number:members`, see group(5).
fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let number = fields.nth(1)?.parse().ok()?;
        found.then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixStream};

    /// A folder of the test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn it_is_for_its_owner_and_goes_with_its_value() {
        let folder = Folder::new("owner");
        let path = folder.0.join("ctl");
        let socket = Socket::open(&path, None).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_may_be_let_in() {
        let folder = Folder::new("group");
        let path = folder.0.join("ctl");
        let group = fs::metadata(&folder.0).unwrap().gid();
        let _socket = Socket::open(&path, Some(&group.to_string())).unwrap();
        assert_eq!(
            (mode(&path), fs::metadata(&path).unwrap().gid()),
            (0o660, group)
        );
        let error = Socket::open(&folder.0.join("other"), Some("no such group")).unwrap_err();
        assert!(error.to_string().contains("there is no group"), "{error}");
        let groups = "root:x:0:\nadm:x:4:syslog,weir\n";
        assert_eq!(find_group(groups, "adm"), Some(4));
        assert_eq!(find_group(groups, "weir"), None);
    }

    #[test]
    fn links_to_nothing_make_way_and_links_to_a_sensor_do_not() {
        let folder = Folder::new("links");
        let (path, other) = (folder.0.join("ctl"), folder.0.join("other"));
        symlink(&other, &path).unwrap();
        let first = Socket::open(&path, None).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        symlink(&path, &other).unwrap();
        let error = Socket::open(&other, None).unwrap_err();
        assert!(
            error.to_string().contains("another sensor answers"),
            "{error}"
        );
        drop(first);
        Socket::open(&other, None).unwrap();
    }

    #[test]
    fn what_a_dead_sensor_left_is_replaced_and_what_is_alive_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("ctl");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file");
        let first = Socket::open(&path, None).unwrap();
        let error = Socket::open(&path, None).unwrap_err();
        assert!(
            error.to_string().contains("another sensor answers"),
            "{error}"
        );
        assert!(UnixStream::connect(&path).is_ok(), "it was left alone");
        // Someone puts another file there: that is not ours to remove.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        drop(first);
        assert!(path.exists());
        let error = Socket::open(&path, None).unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_is_named() {
        for path in ["/no/such/folder/ctl", &"x".repeat(200)] {
            let error = Socket::open(Path::new(path), None).unwrap_err();
            assert!(format!("{error:#}").contains(path), "{error:#}");
        }
    }
}
