//! Where sensors' control sockets are: softflowd's place, which is what a sensor takes by itself, and a folder
//! for each instance of the unit `weir-sensor@NAME`. Whoever asks a sensor looks at both.

use std::{
    error::Error,
    fmt, fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// A sensor's socket, unless it is told otherwise: softflowd's.
pub const DEFAULT: &str = "/var/run/softflowd.ctl";
/// The unit's instances have a folder each in here, by their names.
const INSTANCES: &str = "/run/weir-sensor";
/// An instance's socket in its folder.
const INSTANCE_SOCKET: &str = "ctl";

/// Octets of a request: enough for a filter with some hundred addresses. softflowd's are 63.
pub const LINE_OCTETS_MAX: usize = 4096;

/// Why it is not clear which sensor is meant. Both sentences end with what `-c` is for, so that whoever knows
/// of another way can go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Unclear {
    /// There is none.
    NoSensor,
    /// There are several, at these sockets.
    Several(Vec<PathBuf>),
}

impl fmt::Display for Unclear {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSensor => write!(
                to,
                "no sensor answers at {DEFAULT} or {INSTANCES}/NAME/{INSTANCE_SOCKET}: start one, or name its socket \
                 with -c PATH"
            ),
            Self::Several(sockets) => {
                let names: Vec<_> = sockets
                    .iter()
                    .map(|socket| socket.display().to_string())
                    .collect();
                let names = names.join(", ");
                write!(
                    to,
                    "there are several sensors ({names}): name one's socket with -c PATH"
                )
            }
        }
    }
}

impl Error for Unclear {}

/// Why a sensor cannot be asked at its socket, and what to do, in a sentence.
#[must_use]
pub fn unanswered(socket: &Path, error: &io::Error) -> String {
    let name = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "you may not ask the sensor at {name}: ask as root, or have root say `adduser NAME GROUP` with the group \
             of that socket (a unit's is weir), and log in again"
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no sensor answers at {name}: start it, or name another one's socket with -c PATH"
        ),
        _ => format!("the sensor at {name} cannot be asked ({error}): is it stuck?"),
    }
}

/// The socket of the only sensor there is.
///
/// # Errors
/// There is none, or there are several.
pub fn find() -> Result<PathBuf, Unclear> {
    only(there(Path::new(DEFAULT), Path::new(INSTANCES)))
}

/// Sockets that are there; one that links to another counts once.
fn there(default: &Path, instances: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(instances).into_iter().flatten().flatten();
    let mut found: Vec<_> = folders
        .map(|folder| folder.path().join(INSTANCE_SOCKET))
        .filter(|path| is_socket(path))
        .collect();
    found.sort();
    let is_known = |path: &Path| {
        let target = path.canonicalize().ok();
        found.iter().any(|path| path.canonicalize().ok() == target)
    };
    if is_socket(default) && !is_known(default) {
        found.insert(0, default.to_owned());
    }
    found
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn only(mut found: Vec<PathBuf>) -> Result<PathBuf, Unclear> {
    found.retain(|path| !is_left(path));
    match found.len() {
        0 => Err(Unclear::NoSensor),
        1 => Ok(found.remove(0)),
        _ => Err(Unclear::Several(found)),
    }
}

/// Whether a sensor that was killed left it: nobody listens. One that may not be asked, or has no time, is there.
fn is_left(path: &Path) -> bool {
    // One that does not block: a sensor that hangs has no room for a connection.
    mio::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn who_may_not_ask_is_told_how_to() {
        let says = |kind: io::ErrorKind| unanswered(Path::new("/s/ctl"), &kind.into());
        let refused = says(io::ErrorKind::PermissionDenied);
        assert!(
            refused.contains("/s/ctl: ask as root") && refused.contains("adduser"),
            "{refused}"
        );
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
            assert!(says(kind).starts_with("no sensor answers at /s/ctl"));
        }
    }

    #[test]
    fn the_only_sensor_is_found_wherever_it_is_and_several_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (default, instances) = (folder.path().join("default"), folder.path().join("units"));
        let find = || only(there(&default, &instances));
        assert_eq!(find(), Err(Unclear::NoSensor));
        let [first, second] = ["eth0", "eth1"].map(|name| instances.join(name).join("ctl"));
        for socket in [&first, &second] {
            fs::create_dir_all(socket.parent().unwrap()).unwrap();
        }
        // What is no socket, and what a killed sensor left, are none.
        fs::write(&first, "").unwrap();
        drop(UnixListener::bind(&second).unwrap());
        assert_eq!(find(), Err(Unclear::NoSensor));
        fs::remove_file(&first).unwrap();
        let _one = UnixListener::bind(&first).unwrap();
        assert_eq!(find(), Ok(first.clone()));
        // As somebody may have done who wanted softflowctl to find it.
        symlink(&first, &default).unwrap();
        assert_eq!(find(), Ok(first.clone()));
        fs::remove_file(&default).unwrap();
        let _other = UnixListener::bind(&default).unwrap();
        let unclear = find().unwrap_err();
        assert_eq!(
            unclear,
            Unclear::Several(vec![default.clone(), first.clone()])
        );
        let says = unclear.to_string();
        for words in [
            &*default.to_string_lossy(),
            &*first.to_string_lossy(),
            "-c PATH",
        ] {
            assert!(says.contains(words), "{says}");
        }
    }
}
