//! Which file of a package comes from where, and the tree that is packed.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::Built;
use crate::run::{root, shown};

/// A package to be.
pub struct Package {
    /// Its name, and that of its folder in `packaging/deb`.
    pub name: &'static str,
    /// Whether it is the same for all architectures.
    pub all: bool,
    /// Programs in it, unstripped: what its dependencies are computed of.
    pub programs: Vec<PathBuf>,
    entries: Vec<Entry>,
}

/// A file, a link or a folder, and where it is installed (no slash before it).
struct Entry {
    path: String,
    content: Content,
}

enum Content {
    /// A file as it is.
    Copy(PathBuf),
    /// A file that may be run.
    Script(PathBuf),
    /// A program, without its symbols.
    Program(PathBuf),
    /// A file, compressed.
    Gzip(PathBuf),
    /// A link to this.
    Link(String),
    /// An empty folder.
    Folder,
}

/// Programs by their folders.
const PROGRAMS: [(&str, &str); 4] = [
    ("weir-sensor", "usr/sbin"),
    ("weir-ctl", "usr/sbin"),
    ("weir-collector", "usr/sbin"),
    ("weir", "usr/bin"),
];
/// Where Debian 12 has units. Its softflowd has them here too, and dpkg knows nothing of `/lib` being a link:
/// under another name, replacing softflowd would remove them.
const UNITS: &str = "lib/systemd/system";
/// Names that man pages have links for: the other name, and the page.
const MAN_LINKS: [(&str, &str); 2] = [("softflowd", "weir-sensor"), ("softflowctl", "weir-ctl")];

impl Package {
    /// Weir itself.
    pub fn weir(built: &Built) -> Result<Self> {
        let programs = PROGRAMS.iter();
        let programs = programs.map(|(program, _)| built.programs.join(program));
        let mut entries: Vec<Entry> = PROGRAMS
            .iter()
            .map(|(program, folder)| {
                let content = Content::Program(built.programs.join(program));
                Entry::new(format!("{folder}/{program}"), content)
            })
            .collect();
        entries.extend(service());
        entries.extend(documents()?);
        entries.extend(generated(built)?);
        Ok(Self {
            name: "weir",
            all: false,
            programs: programs.collect(),
            entries,
        })
    }

    /// The names under which softflowd is found.
    pub fn softflowd() -> Self {
        let documents = "usr/share/doc/weir-softflowd";
        let mut entries = vec![
            Entry::new("usr/sbin/softflowd", Content::Link("weir-sensor".into())),
            Entry::new("usr/sbin/softflowctl", Content::Link("weir-ctl".into())),
            Entry::new(
                "lib/systemd/system-generators/softflowd-generator",
                Content::Script(packaging("softflowd-generator")),
            ),
            Entry::new("etc/softflowd", Content::Folder),
            Entry::new(
                format!("{documents}/changelog.gz"),
                Content::Gzip(root().join("CHANGELOG.md")),
            ),
            Entry::copy(
                format!("{documents}/examples/default.conf"),
                "softflowd-default.conf",
            ),
            Entry::copy(format!("{documents}/copyright"), "deb/weir/copyright"),
            Entry::copy(
                format!("{documents}/README.Debian"),
                "deb/weir-softflowd/README.Debian",
            ),
            Entry::copy(
                "usr/lib/tmpfiles.d/softflowd.conf",
                "softflowd-tmpfiles.conf",
            ),
        ];
        for unit in ["softflowd.service", "softflowd@.service"] {
            entries.push(Entry::copy(format!("{UNITS}/{unit}"), unit));
        }
        for (link, page) in MAN_LINKS {
            entries.push(Entry::new(
                format!("usr/share/man/man8/{link}.8.gz"),
                Content::Link(format!("{page}.8.gz")),
            ));
        }
        Self {
            name: "weir-softflowd",
            all: true,
            programs: Vec::new(),
            entries,
        }
    }

    /// Writes the tree, without dpkg's part.
    pub fn stage(&self, stage: &Path) -> Result<()> {
        folder(stage)?;
        for entry in &self.entries {
            entry
                .write(stage)
                .with_context(|| format!("{} of {}", entry.path, self.name))?;
        }
        Ok(())
    }
}

/// Units and what they need.
fn service() -> Vec<Entry> {
    let mut entries: Vec<Entry> = ["sensor.toml", "collector.toml"]
        .map(|name| Entry::copy(format!("etc/weir/{name}"), name))
        .into();
    for unit in [
        "weir-sensor@.service",
        "weir-sensor-pins@.service",
        "weir-collector.service",
    ] {
        entries.push(Entry::copy(format!("{UNITS}/{unit}"), unit));
    }
    entries.push(Entry::copy("usr/lib/sysusers.d/weir.conf", "sysusers.conf"));
    entries.push(Entry::copy("usr/lib/tmpfiles.d/weir.conf", "tmpfiles.conf"));
    entries.push(Entry::new(
        "usr/lib/weir/sensor-pins",
        Content::Script(packaging("sensor-pins")),
    ));
    // Where `weir` looks for what is its operator's.
    for folder in ["sets", "who", "signatures", "names"] {
        entries.push(Entry::new(format!("etc/weir/{folder}"), Content::Folder));
    }
    entries
}

/// README and the documents that it leads to, by their paths in the repository. They lie in the same folders
/// wherever they are installed, and under the same names, so that the links among them work.
pub fn linked_documents() -> Result<Vec<String>> {
    let mut documents =
        Vec::from(["README.md", "ARCHITECTURE.md", "report/FILTER.md"].map(str::to_owned));
    for folder in ["docs", "benches/record"] {
        for path in files(&root().join(folder))? {
            if matches!(path.extension(), Some(ending) if ending == "md" || ending == "svg") {
                documents.push(format!("{folder}/{}", name(&path)?));
            }
        }
    }
    Ok(documents)
}

/// What is to be read.
fn documents() -> Result<Vec<Entry>> {
    let folder = "usr/share/doc/weir";
    let mut entries = vec![Entry::copy(
        format!("{folder}/copyright"),
        "deb/weir/copyright",
    )];
    let changelog = Content::Gzip(root().join("CHANGELOG.md"));
    entries.push(Entry::new(format!("{folder}/changelog.gz"), changelog));
    for document in linked_documents()? {
        let content = Content::Copy(root().join(&document));
        entries.push(Entry::new(format!("{folder}/{document}"), content));
    }
    // The catalogues and signatures that are within `weir`, to write one's own by.
    for kind in ["who", "signatures"] {
        for path in files(&root().join("report").join(kind))? {
            let name = name(&path)?;
            let target = format!("{folder}/examples/{kind}/{name}");
            entries.push(Entry::new(target, Content::Copy(path)));
        }
    }
    Ok(entries)
}

/// Man pages and completions.
fn generated(built: &Built) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in files(&built.man)? {
        let name = name(&path)?;
        let (stem, section) = name.rsplit_once('.').context("a page's section")?;
        // The other package has links instead.
        if MAN_LINKS.iter().all(|(link, _)| *link != stem) {
            let target = format!("usr/share/man/man{section}/{name}.gz");
            entries.push(Entry::new(target, Content::Gzip(path)));
        }
    }
    for (shell, folder) in [
        ("bash", "usr/share/bash-completion/completions"),
        ("zsh", "usr/share/zsh/vendor-completions"),
        ("fish", "usr/share/fish/vendor_completions.d"),
    ] {
        for path in files(&built.completions.join(shell))? {
            let target = format!("{folder}/{}", name(&path)?);
            entries.push(Entry::new(target, Content::Copy(path)));
        }
    }
    Ok(entries)
}

/// A file of `packaging/`.
fn packaging(name: &str) -> PathBuf {
    root().join("packaging").join(name)
}

impl Entry {
    /// A file of `packaging/`, as it is.
    fn copy(path: impl Into<String>, source: &str) -> Self {
        Self::new(path, Content::Copy(packaging(source)))
    }

    fn new(path: impl Into<String>, content: Content) -> Self {
        Self {
            path: path.into(),
            content,
        }
    }

    fn write(&self, stage: &Path) -> Result<()> {
        let path = stage.join(&self.path);
        let mut above = stage.to_owned();
        for part in Path::new(&self.path).parent().into_iter().flatten() {
            above.push(part);
            folder(&above)?;
        }
        match &self.content {
            Content::Folder => return folder(&path),
            Content::Link(target) => return Ok(symlink(target, &path)?),
            Content::Copy(source) | Content::Script(source) => {
                fs::copy(source, &path).with_context(|| source.display().to_string())?;
            }
            Content::Program(source) => shown(
                Command::new("strip")
                    .args(["--remove-section=.comment", "--remove-section=.note", "-o"])
                    .arg(&path)
                    .arg(source),
            )?,
            Content::Gzip(source) => {
                let output = Command::new("gzip")
                    .args(["-9", "--no-name", "--stdout"])
                    .arg(source)
                    .output()?;
                anyhow::ensure!(output.status.success(), "gzip {}", source.display());
                fs::write(&path, output.stdout)?;
            }
        }
        let mode = match self.content {
            Content::Program(_) | Content::Script(_) => 0o755,
            _ => 0o644,
        };
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(mode),
        )?)
    }
}

/// Makes a folder that all may enter, whatever the umask.
fn folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// Files of a folder, by their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, io::Error>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.context("a name in UTF-8")?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    /// What a document's links are to, without those into the web and within it.
    fn links(document: &str) -> Vec<String> {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let folder = Path::new(document).parent().unwrap();
        let mut found = Vec::new();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.contains("://") || target.is_empty() {
                continue;
            }
            let mut path = PathBuf::new();
            for part in folder.join(target).components() {
                match part {
                    Component::ParentDir => assert!(path.pop(), "{document}: {target}"),
                    part => path.push(part),
                }
            }
            found.push(path.to_str().unwrap().to_owned());
        }
        found
    }

    #[test]
    fn what_documents_link_to_is_installed_beside_them() {
        let documents = linked_documents().unwrap();
        let links: Vec<_> = documents
            .iter()
            .filter(|document| document.ends_with("md"))
            .flat_map(|document| links(document))
            .collect();
        assert!(links.contains(&"docs/sensor.md".to_owned()), "{links:?}");
        for link in links {
            // A folder is installed with what is in it.
            let within = format!("{link}/");
            let is_installed = |path: &String| *path == link || path.starts_with(&within);
            assert!(
                documents.iter().any(is_installed),
                "{link} is not installed: name it without a link"
            );
        }
        let entries = super::documents().unwrap();
        for document in documents {
            let path = format!("usr/share/doc/weir/{document}");
            assert!(entries.iter().any(|entry| entry.path == path), "{path}");
        }
    }
}
