//! One man page: what the command says of itself, in man(7)'s order, and sections that were written by hand.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;

/// A man page to be.
#[derive(Debug)]
pub struct Page {
    /// The command, built.
    pub command: Command,
    /// The section of the manual: 1 or 8.
    pub section: &'static str,
    /// Other names the program is called by, which have links to the page.
    pub links: &'static [&'static str],
    /// What stands behind the options, in roff.
    pub sections: String,
}

impl Page {
    /// The page's name: the program's, with a subcommand's behind it.
    pub fn name(&self) -> &str {
        self.command
            .get_display_name()
            .unwrap_or_else(|| self.command.get_name())
    }

    /// The page's file.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name(), self.section)
    }

    /// The page, in roff.
    pub fn render(&self) -> Result<String> {
        let man = Man::new(self.command.clone())
            .section(self.section)
            .source(format!("Weir {}", env!("CARGO_PKG_VERSION")))
            .manual("Weir");
        let mut octets: Vec<u8> = Vec::new();
        man.render_title(&mut octets)?;
        self.name_section(&mut octets)?;
        man.render_synopsis_section(&mut octets)?;
        man.render_description_section(&mut octets)?;
        man.render_options_section(&mut octets)?;
        if has_subcommands(&self.command) {
            man.render_subcommands_section(&mut octets)?;
        }
        let mut text = String::from_utf8(octets).context("a page in UTF-8")?;
        if let Some(help) = self.command.get_after_help() {
            after_help(&mut text, &help.to_string())?;
        }
        text.push_str(&self.sections);
        // tbl(1) is asked for in the first line, by who needs it.
        if text.contains("\n.TS\n") {
            text.insert_str(0, "'\\\" t\n");
        }
        Ok(text)
    }

    /// As whatis(1) reads it: every name, a dash, one sentence.
    fn name_section(&self, octets: &mut Vec<u8>) -> Result<()> {
        let about = self.command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        let about = about.lines().next().unwrap_or_default();
        let about = about.trim_end_matches('.');
        let mut names = self.name().to_owned();
        for link in self.links {
            write!(names, ", {link}")?;
        }
        let line = format!(".SH NAME\n{} \\- {}\n", escaped(&names), escaped(about));
        octets.extend(line.into_bytes());
        Ok(())
    }
}

/// Whether there are any that are not clap's own.
fn has_subcommands(command: &Command) -> bool {
    command
        .get_subcommands()
        .any(|subcommand| !subcommand.is_hide_set())
}

/// What the help has behind the options: its lines as they are if its first is a heading, else a paragraph.
fn after_help(text: &mut String, help: &str) -> Result<()> {
    match help.split_once(":\n") {
        Some((heading, lines)) if !heading.contains('\n') => {
            let heading = heading.to_uppercase();
            write!(text, ".SH {heading}\n.EX\n")?;
            for line in lines.lines() {
                writeln!(text, "{}", escaped(line))?;
            }
            text.push_str(".EE\n");
        }
        _ => write!(text, ".SH NOTES\n{}\n", escaped(help))?,
    }
    Ok(())
}

/// Text as roff: hyphens are to be found and copied as they are typed, and no line is a request.
pub fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text.replace('\'', "\\(aq").replace('`', "\\(ga");
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix('.') {
            Some(rest) => format!("\\&.{rest}"),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_request_and_keeps_its_hyphens() {
        assert_eq!(escaped("-v 9"), "\\-v 9");
        assert_eq!(escaped(".SH\nit's"), "\\&.SH\nit\\(aqs");
        assert_eq!(escaped("a\\b"), "a\\eb");
    }
}
