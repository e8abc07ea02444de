//! What README and `docs/` show is held against the programs' own command lines.

use clap::error::ErrorKind;
use weir_tests::documents::{self, Shown};

use crate::pages;

#[test]
fn the_programs_take_every_command_that_documents_show() {
    for page in pages::programs() {
        let program = page.command.get_name();
        let commands = documents::commands(program).unwrap();
        assert!(commands.len() > 3, "{program}: {commands:?}");
        for Shown { document, words } in &commands {
            let Err(error) = page.command.clone().try_get_matches_from(words) else {
                continue;
            };
            // What is missing may be in a file, or the sentence is about a part.
            let is_well = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::MissingRequiredArgument
            );
            assert!(is_well, "{}: {words:?}: {error}", document.display());
        }
    }
}
