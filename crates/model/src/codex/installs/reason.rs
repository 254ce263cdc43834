//! Why a command is not proposed.

use serde::{Deserialize, Serialize};

/// Why a command is not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutInstallReason {
    /// It runs a script that was downloaded.
    DownloadedScript,
    /// It contains a secret.
    Secret,
    /// It uses a variable whose value is not known.
    Variable,
    /// It reads from a file or another command, or writes to a file.
    Redirection,
    /// It is one of several alternatives.
    Alternative,
    /// It uses a file in a temporary folder.
    TemporaryFile,
    /// It runs in a folder outside of the repository, or uses files there.
    OutsideRepository,
    /// It adds a dependency to files of the repository.
    ChangesRepository,
    /// It contains control characters or invisible characters.
    HiddenCharacters,
    /// It is part of a loop, a condition or other syntax of the shell.
    Syntax,
    /// It is longer than 1000 bytes.
    TooLong,
    /// There are more than 100 commands.
    TooMany,
}

impl LeftOutInstallReason {
    /// Returns the reason as text for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::DownloadedScript => "runs a downloaded script",
            Self::Secret => "contains a secret",
            Self::Variable => "uses a variable that the setup may not have",
            Self::Redirection => "reads from another command or a file, or writes to a file",
            Self::Alternative => "one of several alternatives",
            Self::TemporaryFile => "uses a temporary file",
            Self::OutsideRepository => "runs outside of the repository",
            Self::ChangesRepository => "adds a dependency to the repository; merge the changes of the task instead",
            Self::HiddenCharacters => "contains invisible characters",
            Self::Syntax => "part of a longer script",
            Self::TooLong => "longer than 1000 bytes",
            Self::TooMany => "more than 100 commands",
        }
    }
}
