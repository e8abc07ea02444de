//! Which pages there are: one for each program and for each subcommand, and links for other names.

use std::{fs, path::Path};

use anyhow::Result;
use clap::CommandFactory as _;
use weir_collector::options::CommandLine;
use weir_sensor::options::{self, ctl};

use crate::{differences, page::Page};

/// A page for each program, its command not built yet.
pub fn programs() -> [Page; 4] {
    [
        Page {
            command: options::command(),
            section: "8",
            links: &["softflowd"],
            sections: [
                include_str!("../sections/weir-sensor.man"),
                &differences::section(),
                include_str!("../sections/weir-sensor-end.man"),
            ]
            .concat(),
        },
        Page {
            command: ctl::Options::command(),
            section: "8",
            links: &["softflowctl"],
            sections: include_str!("../sections/weir-ctl.man").to_owned(),
        },
        Page {
            command: CommandLine::command(),
            section: "8",
            links: &[],
            sections: include_str!("../sections/weir-collector.man").to_owned(),
        },
        Page {
            command: weir_report::command(),
            section: "1",
            links: &[],
            sections: include_str!("../sections/weir.man").to_owned(),
        },
    ]
}

/// Every page.
pub fn all() -> Vec<Page> {
    let mut pages = Vec::new();
    for mut page in programs() {
        page.command = page.command.disable_help_subcommand(true);
        page.command.build();
        let name = page.name().replace('-', "\\-");
        let see = format!(".SH \"SEE ALSO\"\n.BR {name} ({})\n", page.section);
        let section = page.section;
        pages.extend(page.command.get_subcommands().map(|subcommand| Page {
            command: subcommand.clone(),
            section,
            links: &[],
            sections: see.clone(),
        }));
        pages.push(page);
    }
    pages
}

/// Writes every page, and for each link one line that names the page.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for page in all() {
        let name = page.file_name();
        let section = page.section;
        fs::write(folder.join(&name), page.render()?)?;
        for link in page.links {
            let line = format!(".so man{section}/{name}\n");
            fs::write(folder.join(format!("{link}.{section}")), line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_long_option_is_in_the_page_of_its_command() {
        for page in all() {
            let text = page.render().unwrap();
            for argument in page.command.get_arguments() {
                if argument.is_hide_set() {
                    continue;
                }
                if let Some(long) = argument.get_long() {
                    let option = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(text.contains(&option), "{} lacks {option}", page.name());
                }
            }
            for subcommand in page.command.get_subcommands() {
                let name = subcommand.get_name().replace('-', "\\-");
                assert!(text.contains(&name), "{} lacks {name}", page.name());
            }
        }
    }

    #[test]
    fn pages_have_what_an_operator_looks_for() {
        for page in programs() {
            let name = page.name().to_owned();
            let text = page.render().unwrap();
            for section in [
                "NAME",
                "SYNOPSIS",
                "EXAMPLES",
                "FILES",
                "\"EXIT STATUS\"",
                "\"SEE ALSO\"",
            ] {
                let heading = format!("\n.SH {section}\n");
                assert!(text.contains(&heading), "{name} lacks {section}");
            }
        }
    }

    /// As `man` formats them, which says what is wrong with a page. Without man-db there is nobody to ask.
    #[test]
    fn man_has_no_warning() {
        if Command::new("man").arg("--version").output().is_err() {
            eprintln!("skipped: there is no man: install man-db and groff");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for page in all() {
            let output = Command::new("man")
                .args(["--warnings", "--local-file"])
                .arg(folder.path().join(page.file_name()))
                .env("LC_ALL", "C.UTF-8")
                .env("MANWIDTH", "80")
                .env("PAGER", "cat")
                .output()
                .unwrap();
            let wrong = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && wrong.is_empty(),
                "{}: {wrong}",
                page.name()
            );
            assert!(output.stdout.len() > 200, "{} is empty", page.name());
        }
    }
}
