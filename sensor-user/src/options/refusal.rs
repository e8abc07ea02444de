//! Why a command line gives no settings, and how that is told.

use std::process::ExitCode;

use weir_service::config;

use super::softflowd;

/// Exit status of a command line that is wrong.
const USAGE_STATUS: u8 = 2;

/// Why there are no settings.
#[derive(Debug)]
pub enum Refusal {
    /// weir-sensor's own command line is wrong, or its help was asked for.
    Clap(clap::Error),
    /// softflowd's is, or was.
    Softflowd(softflowd::Refused),
    /// A file is wrong, or a word no text: one line that says where and what.
    File(String),
}

impl From<config::Refused> for Refusal {
    fn from(refused: config::Refused) -> Self {
        match refused {
            config::Refused::Line(error) => Self::Clap(error),
            config::Refused::File(sentence) => Self::File(sentence),
        }
    }
}

impl Refusal {
    /// Why there are no settings, as one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Clap(error) => config::sentence(error),
            Self::Softflowd(refused) => refused.message.clone(),
            Self::File(sentence) => sentence.clone(),
        }
    }

    /// Tells it; the exit status.
    #[must_use]
    pub fn tell(&self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                // If it cannot be told, there is nobody to tell that.
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { USAGE_STATUS } else { 0 })
            }
            Self::Softflowd(refused) => {
                if !refused.message.is_empty() {
                    eprintln!("{}", refused.message);
                }
                if refused.usage {
                    eprint!("{}", softflowd::USAGE);
                }
                // softflowd's own status; it is 0 for its help.
                ExitCode::from(u8::from(!refused.message.is_empty()))
            }
            Self::File(sentence) => {
                eprintln!("weir-sensor: {sentence}");
                ExitCode::from(USAGE_STATUS)
            }
        }
    }
}
