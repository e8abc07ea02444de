//! Shell completions, in files named as each shell looks for them.

use std::{fs, path::Path};

use anyhow::Result;
use clap_complete::{Generator, Shell, generate};

use crate::pages;

/// Shells that completions are made for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes a folder a shell: `bash/weir-ctl`, `zsh/_weir-ctl`, `fish/weir-ctl.fish`.
pub fn write(folder: &Path) -> Result<()> {
    for shell in SHELLS {
        let folder = folder.join(shell.to_string());
        fs::create_dir_all(&folder)?;
        for program in pages::programs() {
            let name = program.command.get_name().to_owned();
            let mut text: Vec<u8> = Vec::new();
            generate(shell, &mut program.command.clone(), &name, &mut text);
            fs::write(folder.join(file_name(shell, &name)), text)?;
        }
    }
    Ok(())
}

/// bash-completion wants the bare name.
fn file_name(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Bash => name.to_owned(),
        _ => shell.file_name(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_completes_each_program() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for (path, word) in [
            ("bash/weir-sensor", "--netflow-version"),
            ("zsh/_weir-ctl", "--control"),
            ("fish/weir-collector.fish", "recompact"),
            ("bash/weir", "signature"),
        ] {
            let text = fs::read_to_string(folder.path().join(path)).unwrap();
            assert!(text.contains(word), "{path} lacks {word}");
        }
    }
}
