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

/// Programs by their folders. Files of a package that are one program's are found by its name.
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
        Self::weir_of(built, &PROGRAMS.map(|(program, _)| program))
    }

    /// As much of it as some of the programs need.
    pub fn weir_of(built: &Built, names: &[&str]) -> Result<Self> {
        let wanted = PROGRAMS.iter();
        let wanted: Vec<_> = wanted
            .filter(|(program, _)| names.contains(program))
            .collect();
        let built_path = |program: &str| built.programs.join(program);
        let mut entries: Vec<Entry> = wanted
            .iter()
            .map(|(program, folder)| {
                let content = Content::Program(built_path(program));
                Entry::new(format!("{folder}/{program}"), content)
            })
            .collect();
        entries.extend(service(names));
        entries.extend(documents(names)?);
        entries.extend(generated(built, names)?);
        let programs = wanted.iter().map(|(program, _)| built_path(program));
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

/// Configuration, units and what they need, of some of the programs.
fn service(names: &[&str]) -> Vec<Entry> {
    let mut entries = vec![
        Entry::copy("usr/lib/sysusers.d/weir.conf", "sysusers.conf"),
        Entry::copy("usr/lib/tmpfiles.d/weir.conf", "tmpfiles.conf"),
    ];
    let unit = |name: &str| Entry::copy(format!("{UNITS}/{name}"), name);
    let example = |name: &str| Entry::copy(format!("etc/weir/{name}"), name);
    if names.contains(&"weir-sensor") {
        let pins = Content::Script(packaging("sensor-pins"));
        entries.extend([
            example("sensor.toml"),
            unit("weir-sensor@.service"),
            unit("weir-sensor-pins@.service"),
            Entry::new("usr/lib/weir/sensor-pins", pins),
        ]);
    }
    if names.contains(&"weir-collector") {
        entries.extend([example("collector.toml"), unit("weir-collector.service")]);
    }
    if names.contains(&"weir") {
        // Where it looks for what is its operator's.
        let folders = ["sets", "who", "signatures", "names"];
        entries.extend(folders.map(|name| Entry::new(format!("etc/weir/{name}"), Content::Folder)));
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

/// What is to be read by who has some of the programs.
fn documents(names: &[&str]) -> Result<Vec<Entry>> {
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
    let kinds: &[&str] = if names.contains(&"weir") {
        &["who", "signatures"]
    } else {
        &[]
    };
    for kind in kinds {
        for path in files(&root().join("report").join(kind))? {
            let name = name(&path)?;
            let target = format!("{folder}/examples/{kind}/{name}");
            entries.push(Entry::new(target, Content::Copy(path)));
        }
    }
    Ok(entries)
}

/// Man pages and completions of some of the programs.
fn generated(built: &Built, names: &[&str]) -> Result<Vec<Entry>> {
    let is_wanted = |stem: &str| owner(stem).is_some_and(|program| names.contains(&program));
    let mut entries = Vec::new();
    for path in files(&built.man)? {
        let name = name(&path)?;
        let (stem, section) = name.rsplit_once('.').context("a page's section")?;
        // Of other names the other package has links.
        if is_wanted(stem) {
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
            let name = name(&path)?;
            let stem = name.trim_start_matches('_').trim_end_matches(".fish");
            if is_wanted(stem) {
                let target = format!("{folder}/{name}");
                entries.push(Entry::new(target, Content::Copy(path)));
            }
        }
    }
    Ok(entries)
}

/// The program whose page or completion has this name: its own, or with a subcommand behind it.
fn owner(stem: &str) -> Option<&'static str> {
    let programs = PROGRAMS.iter().map(|(program, _)| *program);
    let owners = programs.filter(|program| {
        let rest = stem.strip_prefix(*program);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    owners.max_by_key(|program| program.len())
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

    /// A folder of what the generator writes, by names only.
    fn generated_in(folder: &Path) -> Built {
        let (man, completions) = (folder.join("man"), folder.join("completions"));
        let mut paths = [
            "weir-sensor.8",
            "softflowd.8",
            "weir-ctl.8",
            "softflowctl.8",
        ]
        .map(|page| man.join(page))
        .to_vec();
        paths.extend(["weir-collector.8", "weir-collector-import.8"].map(|page| man.join(page)));
        paths.extend(["weir.1", "weir-top.1"].map(|page| man.join(page)));
        for (program, _) in PROGRAMS {
            paths.push(completions.join("bash").join(program));
            paths.push(completions.join(format!("zsh/_{program}")));
            paths.push(completions.join(format!("fish/{program}.fish")));
        }
        for path in paths {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Built {
            programs: folder.to_owned(),
            man,
            completions,
        }
    }

    /// Both packages have between them what a sensor needs, and no file twice.
    #[test]
    fn a_package_has_what_is_of_its_programs() {
        let folder = tempfile::tempdir().unwrap();
        let built = generated_in(folder.path());
        let paths = |package: &Package| -> Vec<String> {
            let entries = package.entries.iter();
            entries.map(|entry| entry.path.clone()).collect()
        };
        let all = paths(&Package::weir(&built).unwrap());
        let sensors = Package::weir_of(&built, &["weir-sensor", "weir-ctl"]).unwrap();
        let sensors = paths(&sensors);
        let of_sensors = [
            "usr/sbin/weir-sensor",
            "usr/sbin/weir-ctl",
            "etc/weir/sensor.toml",
            "lib/systemd/system/weir-sensor@.service",
            "lib/systemd/system/weir-sensor-pins@.service",
            "usr/lib/weir/sensor-pins",
            "usr/share/man/man8/weir-sensor.8.gz",
            "usr/share/man/man8/weir-ctl.8.gz",
            "usr/share/bash-completion/completions/weir-ctl",
            "usr/share/zsh/vendor-completions/_weir-sensor",
            "usr/share/fish/vendor_completions.d/weir-sensor.fish",
            "usr/share/doc/weir/docs/sensor.md",
        ];
        let of_others = [
            "usr/sbin/weir-collector",
            "usr/bin/weir",
            "etc/weir/collector.toml",
            "etc/weir/sets",
            "lib/systemd/system/weir-collector.service",
            "usr/share/man/man8/weir-collector.8.gz",
            "usr/share/man/man8/weir-collector-import.8.gz",
            "usr/share/man/man1/weir.1.gz",
            "usr/share/man/man1/weir-top.1.gz",
            "usr/share/bash-completion/completions/weir",
            "usr/share/zsh/vendor-completions/_weir-collector",
            "usr/share/fish/vendor_completions.d/weir.fish",
        ];
        let has = |paths: &[String], path: &str| paths.iter().any(|found| found == path);
        for path in of_sensors {
            assert!(has(&all, path) && has(&sensors, path), "{path}");
        }
        for path in of_others {
            assert!(has(&all, path) && !has(&sensors, path), "{path}");
        }
        let mut both = [all, paths(&Package::softflowd())].concat();
        both.sort();
        let doubled = both.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(doubled, None);
        assert!(has(&both, "usr/share/man/man8/softflowd.8.gz"));
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
        let entries = super::documents(&[]).unwrap();
        for document in documents {
            let path = format!("usr/share/doc/weir/{document}");
            assert!(entries.iter().any(|entry| entry.path == path), "{path}");
        }
    }
}
